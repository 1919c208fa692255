"""Triptych's own lists for the requests of a benchmark, from runs that are there or that it trains."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.heldout_lists import DEPTH, SLICES, TUNED_BY, Split, sliced, values
from pipelines.config import Config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import all_validation_requests, held_out_requests
from pipelines.scoring.requests import Queries, with_targets
from pipelines.training import trainer as train
from tfrecs.errors import DataError

EXPLORES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Answers:
    """`lists`: int32 [Q, DEPTH], -1 in the rows of requests outside the slice; `explore`: the value of `hybrid.explore`."""

    lists: np.ndarray
    explore: float


def trained(records: Path, work: Path, config: Config, seeds: Sequence[int]) -> list[Path]:
    """Trains a run a seed under `work`, or continues what is there; each configuration has a folder of its own."""
    runs = []
    folder = work / hashlib.sha256(config.to_yaml().encode()).hexdigest()[:12]
    for seed in seeds:
        out = folder / f"seed{seed}"
        train.run(train.TrainJob(records, out, config.model_copy(update={"seed": seed})))
        runs.append(out)
    return runs


def lists(run: Path, split: Split) -> dict[str, Answers]:
    """Slice -> the run's answers to the test requests, in their order; as it is exported for "all".

    For "cold", `hybrid.explore` is chosen on its validation requests, as a peer's parameters are.

    Raises:
      DataError: the run was trained on records with another split than the benchmark's own.
    """
    session = load_trained(RunFolder(run))
    requests = {"test": held_out_requests(session), "valid": all_validation_requests(session)}
    for name, found in requests.items():
        if not same(with_targets(found.queries), split.queries[name]):
            raise DataError(
                f"{run}: its {name} requests are not those of this benchmark; train it on the benchmark's records"
            )
    scorers = {name: session.scorer(found) for name, found in requests.items()}
    count, batch, learned = len(session.catalogue), session.config.evaluate.batch, scorers["test"].hybrid

    def ranked(name: str, queries: Queries, explore: float) -> np.ndarray:
        hybrid = None if learned is None else learned.exploring(explore)
        scorer = replace(scorers[name], hybrid=hybrid)
        return metrics.rank(scorer, queries, num_items=count, depth=DEPTH, batch=batch).items

    result = {}
    for name in SLICES:
        asked = {part: sliced(split.queries[part], split.training.warm, name) for part in requests}
        tunes = name == "cold" and learned is not None and all(len(queries) for queries, _ in asked.values())
        chosen = 0.0
        if tunes:
            valid, rows = asked["valid"][0], np.arange(len(asked["valid"][0]))
            reached = [values(ranked("valid", valid, one), valid, rows, count)[TUNED_BY].mean() for one in EXPLORES]
            chosen = EXPLORES[int(np.argmax(reached))]
        answers = np.full((len(split.queries["test"]), DEPTH), -1, np.int32)
        queries, rows = asked["test"]
        answers[rows] = ranked("test", queries, chosen)
        result[name] = Answers(answers, chosen)
    return result


def same(one: Queries, other: Queries) -> bool:
    """Whether two sets of requests ask the same of the same catalogue, in the same order."""
    if len(one) != len(other) or (one.user_ids != other.user_ids).any() or (one.times != other.times).any():
        return False
    pairs = [*zip(one.histories, other.histories, strict=True), *zip(one.targets, other.targets, strict=True)]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
