"""Metrics beyond accuracy: coverage, diversity, novelty, popularity bias, and what diversity costs in accuracy.

Each is defined on the first k positions of every list; `report.json` has them at k = 20.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from pipelines.runs.progress import progress
from pipelines.scoring.metrics import Ranking, per_query
from pipelines.scoring.requests import Queries
from serving.graph.selection import diversify

__all__ = ["BEYOND_CUTOFF", "accuracy_diversity_curve", "beyond_accuracy", "coverage", "diversity", "novelty"]
__all__ += ["popularity_bias"]

BEYOND_CUTOFF = 20

Floats = NDArray[np.float64]
_CHUNK = 4096  # queries whose gathered feature rows [chunk, k, d] are in memory at once
_CURVE_ACCURACY = (f"recall@{BEYOND_CUTOFF}", "ndcg@10")


def coverage(ranking: Ranking, k: int) -> float:
    """Return the share of the catalogue that is recommended to anyone (catalogue coverage; Ge et al., RecSys 2010)."""
    recommended = np.unique(ranking.items[:, :k])
    return float((recommended >= 0).sum() / ranking.num_items) if ranking.num_items else np.nan


def diversity(ranking: Ranking, features: NDArray[np.floating], k: int) -> Floats:
    """Return 1 - mean cosine over the pairs of each list (intra-list diversity; Smyth and McClave, ICCBR 2001).

    Args:
      ranking: lists of Q queries.
      features: float [N, d], one row per item. A row of zeros has cosine 0 with every other.
      k: length of the lists.

    Returns:
      float64 [Q] in [0, 2]; NaN for a list of fewer than two items, which has no pair.
    """
    if len(features) != ranking.num_items:
        raise ValueError(f"{len(features)} feature rows for a catalogue of {ranking.num_items}")
    # One more row, all zeros, for the padding -1.
    unit = np.concatenate([normalize(features.astype(np.float64)), np.zeros((1, features.shape[1]))])
    squares = np.square(unit).sum(axis=1)
    result = np.full(len(ranking.items), np.nan)
    for start in range(0, len(ranking.items), _CHUNK):
        lists = ranking.items[start : start + _CHUNK, :k]
        sizes = (lists >= 0).sum(axis=1)
        # The squared length of a sum of vectors is the sum of all pairwise products, so no [k, k] matrix is needed.
        pair_sum = np.square(unit[lists].sum(axis=1)).sum(axis=1) - squares[lists].sum(axis=1)
        has_pair = sizes > 1
        result[start : start + _CHUNK][has_pair] = 1.0 - pair_sum[has_pair] / (sizes * (sizes - 1))[has_pair]
    return result


def _mean_of_lists(ranking: Ranking, values: Floats, k: int) -> Floats:
    """Return the mean of a per-item value over each list, float64 [Q]; NaN for an empty list."""
    lists = ranking.items[:, :k]
    sizes = (lists >= 0).sum(axis=1)
    totals = np.where(lists >= 0, values[lists], 0.0).sum(axis=1)
    return np.where(sizes > 0, totals / np.maximum(sizes, 1), np.nan)


def novelty(ranking: Ranking, train_counts: NDArray[np.integer], k: int) -> Floats:
    """Return the mean self-information -log2 p of each list's items, in bits (Zhou et al., PNAS 2010).

    p(i) = (count of i + 1) / (all counts + N), so that an item without a training event has a finite value.

    Args:
      ranking: lists of Q queries.
      train_counts: int [N], training events of each item.
      k: length of the lists.

    Returns:
      float64 [Q].
    """
    counts = np.asarray(train_counts, np.float64)
    return _mean_of_lists(ranking, -np.log2((counts + 1.0) / (counts.sum() + len(counts))), k)


def popularity_bias(ranking: Ranking, queries: Queries, train_counts: NDArray[np.integer], k: int) -> float:
    """Return how much more popular recommended items are than the targets; 1 is unbiased.

    The mean training count of the recommended items (average recommendation popularity: mean over each list, then
    over lists; Abdollahpouri et al., FLAIRS 2019) over the same mean of the targets.

    Args:
      ranking: lists of Q queries.
      queries: the Q queries.
      train_counts: int [N], training events of each item.
      k: length of the lists.

    Returns:
      NaN where there is no list or no target, or no target has a training event.
    """
    counts = np.asarray(train_counts, np.float64)
    of_targets = _mean([float(counts[target].mean()) for target in queries.targets if len(target)])
    of_lists = _mean(_mean_of_lists(ranking, counts, k))
    return of_lists / of_targets if of_targets > 0 else np.nan


def _mean(values: Floats | list[float]) -> float:
    """Return the mean of the values that are not NaN; NaN where there is none."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else np.nan


def beyond_accuracy(
    ranking: Ranking, queries: Queries, *, features: NDArray[np.floating], train_counts: NDArray[np.integer]
) -> dict[str, float]:
    """Return `coverage@20 diversity@20 novelty@20 popularity_bias@20`, NaN where undefined.

    Args:
      ranking: lists of Q queries.
      queries: the Q queries.
      features: float [N, d], whose cosine says how similar two items are, such as item embeddings.
      train_counts: int [N], training events of each item.
    """
    k = BEYOND_CUTOFF
    return {
        f"coverage@{k}": coverage(ranking, k) if len(queries) else np.nan,
        f"diversity@{k}": _mean(diversity(ranking, features, k)),
        f"novelty@{k}": _mean(novelty(ranking, train_counts, k)),
        f"popularity_bias@{k}": popularity_bias(ranking, queries, train_counts, k),
    }


def accuracy_diversity_curve(
    ranking: Ranking, queries: Queries, item_embeddings: np.ndarray, *, levels: Sequence[float], batch: int
) -> list[dict[str, float]]:
    """Measure lists of 20 re-ranked by maximal marginal relevance at several levels, with the ops of the export.

    Args:
      ranking: lists of the queries with scores, whose whole depth are the candidates.
      queries: with a target each.
      item_embeddings: float [N, D], whose cosine says how similar two items are.
      levels: of the input `diversity` of `recommend`, in [0, 1].
      batch: queries at a time.

    Returns:
      For each level its `diversity`, means of `recall@20` and `ndcg@10`, and `diversity@20` and `coverage@20`; NaN
      where undefined.
    """
    assert ranking.scores is not None
    k, num_items = BEYOND_CUTOFF, len(item_embeddings)
    size, pool = min(k, num_items), min(ranking.depth, num_items)
    unit = tf.constant(normalize(item_embeddings), tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, pool], tf.float32), tf.TensorSpec([None, pool], tf.int32), tf.TensorSpec([], tf.float32)
        ],
        autograph=False,
    )  # fmt: skip
    def select(scores: tf.Tensor, index: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        return diversify(scores, index, unit, tf.fill([tf.shape(scores)[0]], level), tf.constant(size))[1]

    lists = {level: np.full([len(queries), k], -1, np.int32) for level in levels}
    with progress("diversity curve", "lists") as advance:
        advance(0, len(queries))
        for start in range(0, len(queries), batch):
            part = slice(start, min(start + batch, len(queries)))
            scores, index = tf.constant(ranking.scores[part, :pool]), tf.constant(ranking.items[part, :pool])
            for level in levels:
                lists[level][part, :size] = select(scores, index, tf.constant(level, tf.float32)).numpy()
            advance(part.stop, len(queries))
    curve = []
    for level, items in lists.items():
        ranked = Ranking(items, num_items)
        point = {"diversity": float(level)}
        point |= {metric: _mean(per_query(ranked, queries, metric)) for metric in _CURVE_ACCURACY}
        point[f"diversity@{k}"] = _mean(diversity(ranked, item_embeddings, k))
        point[f"coverage@{k}"] = coverage(ranked, k) if len(queries) else np.nan
        curve.append(point)
    return curve
