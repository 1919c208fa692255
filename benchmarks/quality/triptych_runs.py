"""Triptych's ranked lists for the requests of a benchmark, from given runs or from runs that are trained here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.heldout import DEPTH, SLICES, TUNING_METRIC, BenchmarkSplit, metric_values, slice_queries
from pipelines.config import Config
from pipelines.evaluation import systems
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import all_validation_requests, held_out_requests
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries, Scorer, with_targets
from pipelines.training import trainer as train
from tfrecs.errors import DataError

EXPLORE_GRID = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class SliceLists:
    """Ranked lists for one slice.

    Attributes:
      lists: int32 [Q, DEPTH], -1 in the rows of requests outside the slice.
      explore: the value of `hybrid.explore`.
    """

    lists: np.ndarray
    explore: float


def train_runs(records: Path, work: Path, config: Config, seeds: Sequence[int]) -> list[Path]:
    """Train one run per seed below `work`, or continue it; each configuration has its own folder."""
    runs = []
    folder = work / hashlib.sha256(config.to_yaml().encode()).hexdigest()[:12]
    for seed in seeds:
        out = folder / f"seed{seed}"
        train.run(train.TrainJob(records, out, config.model_copy(update={"seed": seed})))
        runs.append(out)
    return runs


def rank_queries(session: TrainedRun, scorer: Scorer, queries: Queries) -> Ranking:
    """Rank the catalogue for each query with the session's evaluation settings."""
    return systems.rank(scorer, queries, len(session.catalogue), session.config.evaluate)


def ranked_lists(run: Path, split: BenchmarkSplit) -> dict[str, SliceLists]:
    """Rank the test requests with a trained run.

    Args:
      run: the run folder.
      split: the requests.

    Returns:
      Slice -> ranked lists. "all" and "warm" are ranked as exported; for "cold", `hybrid.explore` is chosen on the
      validation requests of the slice, as the parameters of a peer are.

    Raises:
      DataError: the run was trained on another split.
    """
    session = load_trained(RunFolder(run))
    requests = {"test": held_out_requests(session), "valid": all_validation_requests(session)}
    for name, run_requests in requests.items():
        if not same_queries(with_targets(run_requests.queries), split.queries[name]):
            raise DataError(
                f"{run}: its {name} requests are not those of this benchmark; train it on the benchmark's records"
            )
    scorers = {name: session.scorer(run_requests) for name, run_requests in requests.items()}
    count, batch, hybrid = len(session.catalogue), session.config.evaluate.batch, scorers["test"].hybrid

    def rank(name: str, queries: Queries, explore: float) -> np.ndarray:
        exploring = None if hybrid is None else hybrid.exploring(explore)
        scorer = replace(scorers[name], hybrid=exploring)
        return metrics.rank(scorer, queries, num_items=count, depth=DEPTH, batch=batch).items

    result = {}
    for name in SLICES:
        sliced = {part: slice_queries(split.queries[part], split.training.warm, name) for part in requests}
        explore = 0.0
        if name == "cold" and hybrid is not None and all(len(queries) for queries, _ in sliced.values()):
            valid, rows = sliced["valid"][0], np.arange(len(sliced["valid"][0]))
            ndcg = [
                metric_values(rank("valid", valid, value), valid, rows, count)[TUNING_METRIC].mean()
                for value in EXPLORE_GRID
            ]
            explore = EXPLORE_GRID[int(np.argmax(ndcg))]
        lists = np.full((len(split.queries["test"]), DEPTH), -1, np.int32)
        queries, rows = sliced["test"]
        lists[rows] = rank("test", queries, explore)
        result[name] = SliceLists(lists, explore)
    return result


def same_queries(queries: Queries, other: Queries) -> bool:
    """Return whether two sets of requests are equal, in the same order."""
    if len(queries) != len(other) or (queries.user_ids != other.user_ids).any() or (queries.times != other.times).any():
        return False
    pairs = [*zip(queries.histories, other.histories, strict=True), *zip(queries.targets, other.targets, strict=True)]
    return all(np.array_equal(items, other_items) for items, other_items in pairs)
