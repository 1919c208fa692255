"""Full ranking of the catalogue, and ranking metrics as pure functions of the lists.

All means are over queries. With one target per query (the usual case) that is a mean over test interactions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.item_item.top_k import RunningTop, tie_order
from pipelines.scoring.requests import Queries, Scorer, item_blocks

__all__ = ["ACCURACY_METRICS", "CUTOFFS", "Hits", "Ranking", "accuracy", "average_precision", "f1", "find_hits", "hit"]
__all__ += ["measure", "ndcg", "per_query", "precision", "rank", "recall", "reciprocal_rank"]

CUTOFFS = (5, 10, 20, 50)
"""The k of every metric at k in a report."""

Floats = NDArray[np.float64]
Advance = Callable[[int, int], None]
_FEW_QUERIES = 16  # as many share one pass over the item embeddings, however large the catalogue


@dataclass(frozen=True)
class Ranking:
    """Recommendation lists of Q queries.

    Attributes:
      items: int32 [Q, depth], the recommended items, best first, -1 where there were fewer candidates.
      num_items: N, the size of the catalogue.
      scores: float32 [Q, depth], their scores, -inf where there is no item; None where nobody kept them.
    """

    items: NDArray[np.int32]
    num_items: int
    scores: NDArray[np.float32] | None = None

    @property
    def depth(self) -> int:
        return int(self.items.shape[1])

    def take(self, indices: ArrayLike) -> Ranking:
        """Return the lists at these positions (int) or under this mask (bool [Q]), as `Queries.take` does."""
        rows = np.asarray(indices)
        return Ranking(self.items[rows], self.num_items, None if self.scores is None else self.scores[rows])

    def first(self, depth: int) -> Ranking:
        """Return the first `depth` places of each list."""
        scores = None if self.scores is None else self.scores[:, :depth]
        return Ranking(self.items[:, :depth], self.num_items, scores)


def rank(
    scorer: Scorer,
    queries: Queries,
    *,
    num_items: int,
    depth: int,
    batch: int,
    most_scores: int | None = None,
    advance: Advance = lambda done, total: None,
) -> Ranking:
    """Rank the whole catalogue for each query, its history excluded, and keep the top `depth`.

    Ties are broken by a fixed pseudo-random order of the catalogue (`pipelines.item_item.top_k.tie_order`), the same for
    every system and independent of the target, so that equal scores earn what chance earns. A score of -inf is never
    recommended.

    Args:
      scorer: scores a slice of at most `batch` queries; a `BlockScorer` in blocks of items.
      queries: Q queries.
      num_items: N.
      depth: length of the lists; at least the largest k to be measured.
      batch: largest number of queries at a time.
      most_scores: largest number of scores at a time; None: `batch` times N.
      advance: told how many queries are done.

    Raises:
      ValueError: the scorer returned another shape than [q, N], or NaN.
    """
    size, block = _block_sizes(num_items, batch, most_scores)
    ties = tie_order(num_items)
    shape = (len(queries), depth)
    items, kept = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    for start in range(0, len(queries), size):
        part = queries.slice(start, start + size)
        top, row, seen = RunningTop(len(part), depth, ties), *_history_entries(part)
        for scores in item_blocks(scorer, part, block):
            first, stop = top.columns, top.columns + scores.shape[1]
            if len(scores) != len(part) or stop > num_items:
                raise ValueError(f"the scorer returned shape {scores.shape}, not {(len(part), num_items)}")
            scores = np.array(scores, np.float32)  # a copy: a scorer may return a view of its own state
            inside = (seen >= first) & (seen < stop)
            scores[row[inside], seen[inside] - first] = -np.inf
            top.add(scores)
        if top.columns != num_items:
            raise ValueError(f"the scorer returned shape {(len(part), top.columns)}, not {(len(part), num_items)}")
        items[start : start + len(part)], kept[start : start + len(part)] = top.items, top.scores
        advance(start + len(part), len(queries))
    return Ranking(items, num_items, kept)


def _block_sizes(num_items: int, batch: int, most_scores: int | None) -> tuple[int, int]:
    """How many queries, and how many items, are scored at a time.

    Whole rows as long as a few queries fit: what a query needs besides (its embedding, the links of its history) is then
    made once.
    """
    most = batch * num_items if most_scores is None else most_scores
    queries = max(1, min(batch, max(most // max(num_items, 1), _FEW_QUERIES)))
    return queries, max(1, min(num_items, most // queries))


def _history_entries(queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Row and item of every event of the histories."""
    lengths = [len(history) for history in queries.histories]
    row = np.repeat(np.arange(len(queries)), lengths)
    return row, np.concatenate([np.zeros(0, np.int32), *queries.histories])


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


def measure(hits: Hits, metric: str) -> Floats:
    """Return one accuracy metric of every query, float64 [Q].

    Raises:
      ValueError: no such metric, or the lists are shorter than its k.
    """
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
    return measure(find_hits(ranking, queries), metric)


def accuracy(ranking: Ranking, queries: Queries) -> dict[str, float]:
    """Return the mean over queries of every metric of `ACCURACY_METRICS`; NaN where there is no query.

    Raises:
      ValueError: the lists are shorter than the largest of `CUTOFFS`.
    """
    hits = find_hits(ranking, queries)
    return {metric: float(measure(hits, metric).mean()) if len(queries) else np.nan for metric in ACCURACY_METRICS}
