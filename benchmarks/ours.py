"""Triptych's own lists for the requests of a benchmark, from runs that are there or that it trains."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.heldout_lists import DEPTH
from pipelines import metrics, train
from pipelines.config import Config
from pipelines.evaluate import held_out_requests
from pipelines.heldout import with_targets
from pipelines.hybrid import trained_scorer
from pipelines.queries import Queries
from pipelines.run_folder import RunFolder
from pipelines.session import load_trained
from tfrecs.errors import DataError


def trained(records: Path, work: Path, config: Config, seeds: Sequence[int]) -> list[Path]:
    """Trains a run a seed under `work`, or continues what is there; each configuration has a folder of its own."""
    runs = []
    folder = work / hashlib.sha256(config.to_yaml().encode()).hexdigest()[:12]
    for seed in seeds:
        out = folder / f"seed{seed}"
        train.run(train.TrainJob(records, out, config.model_copy(update={"seed": seed})))
        runs.append(out)
    return runs


def lists(run: Path, expected: Queries) -> np.ndarray:
    """int32 [Q, DEPTH], the run's answers to the test requests, in their order.

    Raises:
      DataError: the run was trained on records with another split than `expected`, the benchmark's own.
    """
    session = load_trained(RunFolder(run))
    requests = held_out_requests(session)
    queries = with_targets(requests.queries)
    if not same(queries, expected):
        raise DataError(
            f"{run}: its test requests are not those of this benchmark; train it on the benchmark's records"
        )
    settings = session.config.evaluate
    scorer = trained_scorer(session, requests)
    return metrics.rank(scorer, queries, num_items=len(session.catalogue), depth=DEPTH, batch=settings.batch).items


def same(one: Queries, other: Queries) -> bool:
    """Whether two sets of requests ask the same of the same catalogue, in the same order."""
    if len(one) != len(other) or (one.user_ids != other.user_ids).any() or (one.times != other.times).any():
        return False
    pairs = [*zip(one.histories, other.histories, strict=True), *zip(one.targets, other.targets, strict=True)]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
