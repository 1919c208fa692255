"""The held-out requests that all models of a benchmark answer, their slices, and the metrics of ranked lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.quality.peers.interface import TrainingData
from pipelines.item_item.content_features import content_features
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Choose, Queries, make_requests, with_targets
from pipelines.scoring.sampling import draw_sample
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_catalogue, load_histories
from tfrecs.schema import Manifest

DEPTH = 50
METRICS = ("recall@20", "ndcg@20", "recall@10", "ndcg@10", "mrr")
COMPARED_METRICS = ("recall@20", "ndcg@20")
TUNING_METRIC = "ndcg@20"
SLICES = ("all", "warm", "cold")


@dataclass(frozen=True)
class BenchmarkSplit:
    """One data set as all models of a benchmark see it.

    Attributes:
      manifest: of the records.
      training: what peers learn from.
      queries: "valid" and "test" -> requests with at least one target.
      kinds: item feature -> its kind, of the features that peers can read.
    """

    manifest: Manifest
    training: TrainingData
    queries: dict[str, Queries]
    kinds: dict[str, str]


def load_split(
    records: Path, *, limits: Mapping[str, int] = MappingProxyType({}), seed: int = 0, with_content: bool = True
) -> BenchmarkSplit:
    """Load records for a benchmark.

    Args:
      records: the folder.
      limits: split -> its largest number of requests, drawn under `seed`; without an entry all of them.
      seed: of the draw.
      with_content: whether peers get the items' content.

    Raises:
      DataError: a held-out split is empty.
    """
    manifest = Manifest.load(records)
    catalogue = load_catalogue(records, manifest)
    queries = {}
    for split in ("valid", "test"):
        histories = load_histories(records, manifest, split, catalogue.ids)
        choose = _drawn(limits.get(split), seed)
        queries[split] = with_targets(make_requests(histories, manifest.schema_, choose=choose).queries)
        if not len(queries[split]):
            raise DataError(f"{records}: the {split} split is empty; change `split` in dataset.yaml and build again")
    windows = load_histories(records, manifest, "train", catalogue.ids)
    window_items = [window.items[window.target & window.positive] for window in windows]
    user_ids, window_users = np.unique([window.user_id for window in windows], return_inverse=True)
    users = np.repeat(window_users, [len(items) for items in window_items]).astype(np.int32)
    by_user = np.argsort(users, kind="stable")
    items = np.concatenate(window_items)[by_user]
    content = content_features(manifest.schema_, catalogue) if with_content else {}
    kinds = {feature.name: feature.kind for feature in manifest.schema_.items if feature.name in content}
    training = TrainingData(user_ids.astype(np.str_), users[by_user], items, len(catalogue), content)
    return BenchmarkSplit(manifest, training, queries, kinds)


def _drawn(limit: int | None, seed: int) -> Choose:
    """Choose as the evaluation draws its sample (`evaluate.max_requests`)."""
    return lambda users, targets: draw_sample(len(users), len(users) if limit is None else limit, {}, 0, seed).chosen


def slice_queries(queries: Queries, warm: np.ndarray, name: str) -> tuple[Queries, np.ndarray]:
    """Select the requests of a slice; the whole catalogue is still ranked for them.

    Args:
      queries: Q requests.
      warm: bool [N], items with a training event.
      name: "all"; or "warm" or "cold", which keep only targets with or without a training event.

    Returns:
      The requests that still have a target, and their positions, int64.
    """
    if name == "all":
        return queries, np.arange(len(queries))
    in_slice = warm if name == "warm" else ~warm
    targets = [target[in_slice[target]] for target in queries.targets]
    rows = np.flatnonzero([len(target) > 0 for target in targets])
    sliced = Queries(queries.user_ids, queries.times, queries.histories, targets, queries.rows).take(rows)
    return sliced, rows


def metric_values(lists: np.ndarray, queries: Queries, rows: np.ndarray, num_items: int) -> dict[str, np.ndarray]:
    """Compute the metrics of each request of a slice.

    Args:
      lists: int32 [Q, depth], the ranked items of all requests.
      queries, rows: a slice from `slice_queries`.
      num_items: N.

    Returns:
      Metric -> float64 [slice].
    """
    ranking = Ranking(lists[rows], num_items)
    return {metric: metrics.per_query(ranking, queries, metric) for metric in METRICS}
