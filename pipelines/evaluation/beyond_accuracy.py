"""What accuracy does not tell about a set of recommendation lists: reach, variety, surprise, popularity.

Each is defined on the first k places of every list; DESIGN's `report.json` has them at k = 20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries

__all__ = ["BEYOND_CUTOFF", "beyond_accuracy", "coverage", "diversity", "novelty", "popularity_bias"]

BEYOND_CUTOFF = 20

Floats = NDArray[np.float64]
_CHUNK = 4096  # queries whose gathered feature rows [chunk, k, d] sit in memory at once


def coverage(ranking: Ranking, k: int) -> float:
    """Share of the catalogue that is recommended to anyone (catalogue coverage; Ge et al., RecSys 2010)."""
    shown = np.unique(ranking.items[:, :k])
    return float((shown >= 0).sum() / ranking.num_items) if ranking.num_items else np.nan


def diversity(ranking: Ranking, features: NDArray[np.floating], k: int) -> Floats:
    """float64 [Q]: 1 - mean cosine over the pairs of one list (intra-list diversity; Smyth and McClave, ICCBR 2001).

    Args:
      features: float [N, d], one row per item. A row of zeros has cosine 0 with every other.

    Returns:
      Values in [0, 2]; NaN for a list of fewer than two items, which has no pair.
    """
    if len(features) != ranking.num_items:
        raise ValueError(f"{len(features)} feature rows for a catalogue of {ranking.num_items}")
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    # One more row, all zeros, is what the padding -1 points to.
    unit = np.concatenate([features / np.where(norms > 0, norms, 1.0), np.zeros((1, features.shape[1]))])
    squares = np.square(unit).sum(axis=1)
    result = np.full(len(ranking.items), np.nan)
    for start in range(0, len(ranking.items), _CHUNK):
        lists = ranking.items[start : start + _CHUNK, :k]
        shown = (lists >= 0).sum(axis=1)
        # The squared length of a sum of vectors is the sum of all pairwise products, so no [k, k] matrix is needed.
        pair_sum = np.square(unit[lists].sum(axis=1)).sum(axis=1) - squares[lists].sum(axis=1)
        enough = shown > 1
        result[start : start + _CHUNK][enough] = 1.0 - pair_sum[enough] / (shown * (shown - 1))[enough]
    return result


def _mean_of_list(ranking: Ranking, values: Floats, k: int) -> Floats:
    """float64 [Q]: mean of a per-item value over each list; NaN for an empty list."""
    lists = ranking.items[:, :k]
    shown = (lists >= 0).sum(axis=1)
    totals = np.where(lists >= 0, values[lists], 0.0).sum(axis=1)
    return np.where(shown > 0, totals / np.maximum(shown, 1), np.nan)


def novelty(ranking: Ranking, train_counts: NDArray[np.integer], k: int) -> Floats:
    """float64 [Q]: mean self-information of the recommended items, -log2 p, in bits (Zhou et al., PNAS 2010).

    p(i) = (count of i + 1) / (all counts + N): a never seen item is the most novel, not infinitely novel.

    Args:
      train_counts: int [N], training events of each item.
    """
    counts = np.asarray(train_counts, np.float64)
    return _mean_of_list(ranking, -np.log2((counts + 1.0) / (counts.sum() + len(counts))), k)


def popularity_bias(ranking: Ranking, queries: Queries, train_counts: NDArray[np.integer], k: int) -> float:
    """How much more popular what is recommended is than what people then chose; 1 is unbiased.

    The mean training count of the recommended items (average recommendation popularity: mean over each list, then
    over lists; Abdollahpouri et al., FLAIRS 2019) over the same mean of the targets. NaN where either side is empty
    or no target was seen in training.
    """
    counts = np.asarray(train_counts, np.float64)
    chosen = _mean([float(counts[target].mean()) for target in queries.targets if len(target)])
    shown = _mean(_mean_of_list(ranking, counts, k))
    return shown / chosen if chosen > 0 else np.nan


def _mean(values: Floats | list[float]) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else np.nan


def beyond_accuracy(
    ranking: Ranking, queries: Queries, *, features: NDArray[np.floating], train_counts: NDArray[np.integer]
) -> dict[str, float]:
    """`coverage@20 diversity@20 novelty@20 popularity_bias@20`, NaN where undefined (no query, lists too short).

    Args:
      features: float [N, d], what two items being alike means (say, fused item embeddings or category indicators).
      train_counts: int [N].
    """
    k = BEYOND_CUTOFF
    return {
        f"coverage@{k}": coverage(ranking, k) if len(queries) else np.nan,
        f"diversity@{k}": _mean(diversity(ranking, features, k)),
        f"novelty@{k}": _mean(novelty(ranking, train_counts, k)),
        f"popularity_bias@{k}": popularity_bias(ranking, queries, train_counts, k),
    }
