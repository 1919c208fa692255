"""The held-out requests that every model of a benchmark answers, their slices, and what a list is worth on each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality.peers.base import Training
from pipelines.item_item.content_features import content_features
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries, make_requests, with_targets
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_catalogue, load_histories
from tfrecs.schema import Manifest

DEPTH = 50
METRICS = ("recall@20", "ndcg@20", "recall@10", "ndcg@10", "mrr")
COMPARED = ("recall@20", "ndcg@20")
TUNED_BY = "ndcg@20"
SLICES = ("all", "warm", "cold")


@dataclass(frozen=True)
class Split:
    """Attributes:
    manifest: of the records.
    training: what peers learn from.
    queries: "valid" and "test" -> requests that have something to find.
    kinds: item feature -> its kind, of those that peers can read.
    """

    manifest: Manifest
    training: Training
    queries: dict[str, Queries]
    kinds: dict[str, str]


def load_split(records: Path) -> Split:
    """Reads records as the peers see them. Raises DataError where a held-out split is empty."""
    manifest = Manifest.load(records)
    catalogue = load_catalogue(records, manifest)
    queries = {}
    for split in ("valid", "test"):
        histories = load_histories(records, manifest, split, catalogue.ids)
        queries[split] = with_targets(make_requests(histories, manifest.schema_).queries)
        if not len(queries[split]):
            raise DataError(f"{records}: the {split} split is empty; change `split` in dataset.yaml and build again")
    windows = load_histories(records, manifest, "train", catalogue.ids)
    learned = [window.items[window.target & window.positive] for window in windows]
    user_ids, of_window = np.unique([window.user_id for window in windows], return_inverse=True)
    users = np.repeat(of_window, [len(items) for items in learned]).astype(np.int32)
    together = np.argsort(users, kind="stable")
    items = np.concatenate(learned)[together]
    content = content_features(manifest.schema_, catalogue)
    kinds = {feature.name: feature.kind for feature in manifest.schema_.items if feature.name in content}
    training = Training(user_ids.astype(np.str_), users[together], items, len(catalogue), content)
    return Split(manifest, training, queries, kinds)


def sliced(queries: Queries, warm: np.ndarray, name: str) -> tuple[Queries, np.ndarray]:
    """A slice of requests, and which ones it has (int64).

    "warm" and "cold" keep the targets that have, or have not, a training event; a request without one is left out. The
    whole catalogue stays to be ranked.
    """
    if name == "all":
        return queries, np.arange(len(queries))
    wanted = warm if name == "warm" else ~warm
    targets = [target[wanted[target]] for target in queries.targets]
    rows = np.flatnonzero([len(target) > 0 for target in targets])
    kept = Queries(queries.user_ids, queries.times, queries.histories, targets, queries.rows).take(rows)
    return kept, rows


def values(lists: np.ndarray, queries: Queries, rows: np.ndarray, num_items: int) -> dict[str, np.ndarray]:
    """Metric -> float64 [slice], for lists int32 [Q, depth] of all requests and a slice of them from `sliced`."""
    ranking = Ranking(lists[rows], num_items)
    return {metric: metrics.per_query(ranking, queries, metric) for metric in METRICS}
