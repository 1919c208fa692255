"""Full ranking of the catalogue, and ranking metrics as pure functions of the lists.

All means are over queries. With one target per query (the usual case) that is a mean over test interactions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.item_item.top_k import tie_order, top_k
from pipelines.scoring.requests import Queries, Scorer

__all__ = ["ACCURACY_METRICS", "CUTOFFS", "Hits", "Ranking", "accuracy", "average_precision", "f1", "find_hits", "hit"]
__all__ += ["ndcg", "per_query", "precision", "rank", "rank_scores", "recall", "reciprocal_rank"]

CUTOFFS = (5, 10, 20, 50)
"""The k of every metric at k in a report."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Recommendation lists of Q queries.

    Attributes:
      items: int32 [Q, depth], the recommended items, best first, -1 where there were fewer candidates.
      num_items: N, the size of the catalogue.
    """

    items: NDArray[np.int32]
    num_items: int

    @property
    def depth(self) -> int:
        return int(self.items.shape[1])

    def take(self, indices: ArrayLike) -> Ranking:
        """Return the lists at these positions (int) or under this mask (bool [Q]), as `Queries.take` does."""
        return Ranking(self.items[np.asarray(indices)], self.num_items)


def rank_scores(scores: ArrayLike, queries: Queries, depth: int) -> NDArray[np.int32]:
    """Return the items with the highest scores of each query, its history excluded.

    Ties are broken by a fixed pseudo-random order of the catalogue (`pipelines.item_item.top_k.tie_order`), the same for
    every system and independent of the target, so that equal scores earn what chance earns. A score of -inf is never
    recommended.

    Args:
      scores: float [q, N] of q queries; left unchanged.
      queries: the q queries.
      depth: length of the lists.

    Returns:
      int32 [q, depth], best first, -1 where there were fewer candidates.

    Raises:
      ValueError: a score is NaN.
    """
    candidates = np.array(scores, np.float32)  # a copy: a scorer may return a view of its own state
    lengths = [len(history) for history in queries.histories]
    if sum(lengths):
        candidates[np.repeat(np.arange(len(queries)), lengths), np.concatenate(queries.histories)] = -np.inf
    return top_k(candidates, depth, tie_order(candidates.shape[1]))


def rank(scorer: Scorer, queries: Queries, *, num_items: int, depth: int, batch: int) -> Ranking:
    """Rank the whole catalogue for each query and keep the top `depth`; see `rank_scores`.

    Args:
      scorer: scores a slice of at most `batch` queries.
      queries: Q queries.
      num_items: N.
      depth: length of the lists; at least the largest k to be measured.
      batch: queries at a time.

    Raises:
      ValueError: the scorer returned another shape than [q, N], or NaN.
    """
    items = np.full((len(queries), depth), -1, np.int32)
    for start in range(0, len(queries), batch):
        part = queries.slice(start, start + batch)
        scores = scorer(part)
        if scores.shape != (len(part), num_items):
            raise ValueError(f"the scorer returned shape {scores.shape}, not {(len(part), num_items)}")
        items[start : start + len(part)] = rank_scores(scores, part, depth)
    return Ranking(items, num_items)


@dataclass(frozen=True)
class Hits:
    """Which recommended items are targets.

    Attributes:
      is_target: bool [Q, depth], whether the item at each position of the list is a target.
      num_targets: int64 [Q], the number of different targets, at least 1.
    """

    is_target: NDArray[np.bool_]
    num_targets: NDArray[np.int64]


def find_hits(ranking: Ranking, queries: Queries) -> Hits:
    """Compare lists with targets. A target that a query names twice counts once.

    Raises:
      ValueError: numbers of queries differ, or a query has no target.
    """
    if len(ranking.items) != len(queries):
        raise ValueError(f"{len(ranking.items)} lists for {len(queries)} queries")
    targets = [np.unique(target) for target in queries.targets]
    num_targets = np.array([len(target) for target in targets], np.int64)
    if (num_targets == 0).any():
        raise ValueError(f"query {int(np.argmin(num_targets))} has no target")
    # An item of a query as one number, so that one look-up compares all queries.
    rows = np.arange(len(queries), dtype=np.int64)[:, None]
    target_keys = np.concatenate(
        [target.astype(np.int64) + row * ranking.num_items for row, target in enumerate(targets)]
        or [np.zeros(0, np.int64)]
    )
    is_target = np.isin(ranking.items + rows * ranking.num_items, target_keys) & (ranking.items >= 0)
    return Hits(is_target, num_targets)


def _top(hits: Hits, k: int) -> NDArray[np.bool_]:
    if not 0 < k <= hits.is_target.shape[1]:
        raise ValueError(f"k = {k} needs lists of at least that length, these have {hits.is_target.shape[1]}")
    return hits.is_target[:, :k]


def recall(hits: Hits, k: int) -> Floats:
    """float64 [Q]: share of the targets among the first k."""
    return _top(hits, k).sum(axis=1) / hits.num_targets


def precision(hits: Hits, k: int) -> Floats:
    """float64 [Q]: share of the k positions that hold a target; an empty position is a miss."""
    return _top(hits, k).sum(axis=1) / k


def f1(hits: Hits, k: int) -> Floats:
    """float64 [Q]: harmonic mean of precision and recall, 2 hits / (k + targets); 0 without a hit."""
    return 2.0 * _top(hits, k).sum(axis=1) / (k + hits.num_targets)


def hit(hits: Hits, k: int) -> Floats:
    """float64 [Q]: 1 where any target is among the first k, else 0."""
    return _top(hits, k).any(axis=1).astype(np.float64)


def ndcg(hits: Hits, k: int) -> Floats:
    """float64 [Q]: DCG with binary gain and discount 1 / log2(1 + rank), over that of an ideal list.

    The ideal list begins with min(targets, k) hits. Jarvelin and Kekalainen, TOIS 2002.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(hits.num_targets, k) - 1]
    return (_top(hits, k) @ discount) / ideal


def average_precision(hits: Hits, k: int) -> Floats:
    """float64 [Q]: sum of the precision at the rank of each hit in the first k, over min(targets, k)."""
    top = _top(hits, k)
    precisions = np.cumsum(top, axis=1) / np.arange(1, k + 1)
    return (precisions * top).sum(axis=1) / np.minimum(hits.num_targets, k)


def reciprocal_rank(hits: Hits) -> Floats:
    """float64 [Q]: 1 / rank of the first target in the whole list; 0 where the list holds none."""
    first = hits.is_target.argmax(axis=1) if hits.is_target.shape[1] else np.zeros(len(hits.is_target), np.int64)
    return np.where(hits.is_target.any(axis=1), 1.0 / (1.0 + first), 0.0)


_AT_K: dict[str, Callable[[Hits, int], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "f1": f1,
    "hit": hit,
    "map": average_precision,
}

ACCURACY_METRICS = (*(f"{name}@{k}" for name in _AT_K for k in CUTOFFS), "mrr")
"""Names of the accuracy metrics in `report.json`."""


def _measure(hits: Hits, metric: str) -> Floats:
    name, _, k = metric.partition("@")
    if metric == "mrr":
        return reciprocal_rank(hits)
    if name not in _AT_K or not k.isdecimal():
        raise ValueError(f"{metric}: no such metric; there are mrr and, at any k, {', '.join(_AT_K)}")
    return _AT_K[name](hits, int(k))


def per_query(ranking: Ranking, queries: Queries, metric: str) -> Floats:
    """Return one accuracy metric of every query, float64 [Q], for confidence intervals and paired tests.

    Raises:
      ValueError: no such metric, or the lists are shorter than its k.
    """
    return _measure(find_hits(ranking, queries), metric)


def accuracy(ranking: Ranking, queries: Queries) -> dict[str, float]:
    """Return the mean over queries of every metric of `ACCURACY_METRICS`; NaN where there is no query.

    Raises:
      ValueError: the lists are shorter than the largest of `CUTOFFS`.
    """
    hits = find_hits(ranking, queries)
    return {metric: float(_measure(hits, metric).mean()) if len(queries) else np.nan for metric in ACCURACY_METRICS}
