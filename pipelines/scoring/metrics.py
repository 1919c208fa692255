"""Full-ranking metrics: rank the whole catalogue once, then measure the lists with pure functions.

All means are over queries. With one target per query (the usual case) that is a mean over test interactions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from pipelines.scoring.requests import Queries, Scorer
from pipelines.scoring.top_k import tie_order, top_k

__all__ = ["ACCURACY_METRICS", "CUTOFFS", "Hits", "Ranking", "accuracy", "auc", "find_hits", "logloss", "per_query"]
__all__ += ["average_precision", "f1", "hit", "ndcg", "precision", "rank", "recall", "reciprocal_rank", "rmse"]

CUTOFFS = (5, 10, 20, 50)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Attributes:
    items: int32 [Q, depth], the recommended items, best first, -1 where there were fewer candidates.
    num_items: N, the size of the catalogue.
    """

    items: NDArray[np.int32]
    num_items: int

    @property
    def depth(self) -> int:
        return int(self.items.shape[1])

    def take(self, indices: ArrayLike) -> Ranking:
        """The lists at those positions (int) or under that mask (bool [Q]); goes with `Queries.take`."""
        return Ranking(self.items[np.asarray(indices)], self.num_items)


def rank(scorer: Scorer, queries: Queries, *, num_items: int, depth: int, batch: int) -> Ranking:
    """The top `depth` of the whole catalogue for each query, its history excluded.

    Ties are broken by a fixed pseudo-random order of the catalogue (`pipelines.scoring.top_k.tie_order`), the same for every
    system and blind to the target, so that equal scores earn what chance earns. A score of -inf is never recommended.

    Args:
      scorer: scores a slice of at most `batch` queries.
      num_items: N.
      depth: length of the lists; at least the largest k to be measured.

    Raises:
      ValueError: the scorer returned another shape than [q, N], or NaN.
    """
    ties = tie_order(num_items)
    items = np.full((len(queries), depth), -1, np.int32)
    for start in range(0, len(queries), batch):
        part = queries.slice(start, start + batch)
        scores = np.array(scorer(part), np.float32)  # a copy: the scorer may hand out a view of its own state
        if scores.shape != (len(part), num_items):
            raise ValueError(f"the scorer returned shape {scores.shape}, not {(len(part), num_items)}")
        lengths = [len(history) for history in part.histories]
        if sum(lengths):
            scores[np.repeat(np.arange(len(part)), lengths), np.concatenate(part.histories)] = -np.inf
        items[start : start + len(part)] = top_k(scores, depth, ties)
    return Ranking(items, num_items)


@dataclass(frozen=True)
class Hits:
    """Attributes:
    found: bool [Q, depth], whether the item at that place of the list is a target.
    relevant: int64 [Q], the number of different targets, at least 1.
    """

    found: NDArray[np.bool_]
    relevant: NDArray[np.int64]


def find_hits(ranking: Ranking, queries: Queries) -> Hits:
    """Compares lists with targets. A target that stands twice in a query counts once.

    Raises:
      ValueError: numbers of queries differ, or a query has no target.
    """
    if len(ranking.items) != len(queries):
        raise ValueError(f"{len(ranking.items)} lists for {len(queries)} queries")
    targets = [np.unique(target) for target in queries.targets]
    relevant = np.array([len(target) for target in targets], np.int64)
    if (relevant == 0).any():
        raise ValueError(f"query {int(np.argmin(relevant))} has no target")
    rows = np.arange(len(queries), dtype=np.int64)[:, None]
    wanted = np.concatenate(
        [target.astype(np.int64) + row * ranking.num_items for row, target in enumerate(targets)]
        or [np.zeros(0, np.int64)]
    )
    found = np.isin(ranking.items + rows * ranking.num_items, wanted) & (ranking.items >= 0)
    return Hits(found, relevant)


def _top(hits: Hits, k: int) -> NDArray[np.bool_]:
    if not 0 < k <= hits.found.shape[1]:
        raise ValueError(f"k = {k} needs lists of at least that length, these have {hits.found.shape[1]}")
    return hits.found[:, :k]


def recall(hits: Hits, k: int) -> Floats:
    """float64 [Q]: share of the targets that are among the first k."""
    return _top(hits, k).sum(axis=1) / hits.relevant


def precision(hits: Hits, k: int) -> Floats:
    """float64 [Q]: share of the k places that hold a target; an empty place is a miss."""
    return _top(hits, k).sum(axis=1) / k


def f1(hits: Hits, k: int) -> Floats:
    """float64 [Q]: harmonic mean of precision and recall, 2 hits / (k + targets); 0 without a hit."""
    return 2.0 * _top(hits, k).sum(axis=1) / (k + hits.relevant)


def hit(hits: Hits, k: int) -> Floats:
    """float64 [Q]: 1 where any target is among the first k, else 0."""
    return _top(hits, k).any(axis=1).astype(np.float64)


def ndcg(hits: Hits, k: int) -> Floats:
    """float64 [Q]: DCG with binary gain and discount 1 / log2(1 + place), over that of an ideal list.

    The ideal list holds min(targets, k) hits in its first places. Jarvelin and Kekalainen, TOIS 2002.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(hits.relevant, k) - 1]
    return (_top(hits, k) @ discount) / ideal


def average_precision(hits: Hits, k: int) -> Floats:
    """float64 [Q]: sum over the hits in the first k of the precision at their place, over min(targets, k)."""
    top = _top(hits, k)
    precisions = np.cumsum(top, axis=1) / np.arange(1, k + 1)
    return (precisions * top).sum(axis=1) / np.minimum(hits.relevant, k)


def reciprocal_rank(hits: Hits) -> Floats:
    """float64 [Q]: 1 / place of the first target over the whole list; 0 where the list holds none."""
    first = hits.found.argmax(axis=1) if hits.found.shape[1] else np.zeros(len(hits.found), np.int64)
    return np.where(hits.found.any(axis=1), 1.0 / (1.0 + first), 0.0)


_AT_K: dict[str, Callable[[Hits, int], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "f1": f1,
    "hit": hit,
    "map": average_precision,
}

ACCURACY_METRICS = (*(f"{name}@{k}" for name in _AT_K for k in CUTOFFS), "mrr")
"""Names as they stand in `report.json`."""


def _measure(hits: Hits, metric: str) -> Floats:
    name, _, k = metric.partition("@")
    if metric == "mrr":
        return reciprocal_rank(hits)
    if name not in _AT_K or not k.isdecimal():
        raise ValueError(f"{metric}: no such metric of a single query; there are mrr and, at any k, {', '.join(_AT_K)}")
    return _AT_K[name](hits, int(k))


def per_query(ranking: Ranking, queries: Queries, metric: str) -> Floats:
    """float64 [Q]: one metric of `ACCURACY_METRICS` for every query (for confidence intervals and paired tests).

    Raises:
      ValueError: no such metric, or the lists are shorter than its k.
    """
    return _measure(find_hits(ranking, queries), metric)


def accuracy(ranking: Ranking, queries: Queries) -> dict[str, float]:
    """Means over queries of every metric of `ACCURACY_METRICS`; NaN where there is no query.

    Raises:
      ValueError: the lists are shorter than the largest of `CUTOFFS`.
    """
    hits = find_hits(ranking, queries)
    return {metric: float(_measure(hits, metric).mean()) if len(queries) else np.nan for metric in ACCURACY_METRICS}


def _known(labels: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """The pairs whose label is known (not NaN)."""
    truth, predicted = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if truth.shape != predicted.shape:
        raise ValueError(f"labels {truth.shape} and predictions {predicted.shape} differ in shape")
    known = ~np.isnan(truth)
    return truth[known], predicted[known]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a random positive scores above a random negative, a tie counting one half (Mann-Whitney U).

    Args:
      labels: 0, 1 or NaN (unknown, ignored).
      scores: any monotone score, same shape.

    Returns:
      NaN where the known labels are of one class only.
    """
    truth, predicted = _known(labels, scores)
    positive = truth > 0.5
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return np.nan
    rank_sum = rankdata(predicted)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


_CLIP = 1e-7  # a float32 sigmoid saturates near here; without a limit one certain mistake makes the mean infinite


def logloss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean binary cross-entropy in nats, probabilities clipped to [1e-7, 1 - 1e-7]; NaN labels ignored, none: NaN."""
    truth, predicted = _known(labels, probabilities)
    if not len(truth):
        return np.nan
    clipped = np.clip(predicted, _CLIP, 1.0 - _CLIP)
    return float(-(truth * np.log(clipped) + (1.0 - truth) * np.log1p(-clipped)).mean())


def rmse(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Root of the mean squared error in the label's unit; NaN labels ignored, none known: NaN."""
    truth, predicted = _known(labels, predictions)
    return float(np.sqrt(np.square(predicted - truth).mean())) if len(truth) else np.nan
