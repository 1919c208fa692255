"""Exact top-k of score rows, ties broken in a fixed random order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sort_keys", "tie_order", "top_k"]

_TIE_SEED = 20170612  # any fixed number: it only has to be the same for every system that is compared


def tie_order(num_items: int) -> NDArray[np.int64]:
    """Return the rank of each item among equally scored ones, int64 [N]: a fixed pseudo-random permutation.

    Catalogues are often sorted by date or popularity. Ties broken by item index would therefore credit a system that
    cannot tell items apart with a skill it does not have.
    """
    return np.random.default_rng(_TIE_SEED).permutation(num_items).astype(np.int64)


def top_k(scores: NDArray[np.float32], k: int, ties: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the columns of the k highest scores of each row, best first.

    Args:
      scores: float [q, N]; -inf is never chosen. Left unchanged.
      k: length of the lists.
      ties: int64 [N] from `tie_order`; of equal scores the one with the smaller number comes first.

    Returns:
      int32 [q, k], padded with -1 where fewer than k scores are above -inf.

    Raises:
      ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("a scorer returned NaN")
    rows, columns = scores.shape
    count = min(k, columns)
    result = np.full((rows, k), -1, np.int32)
    if count == 0 or rows == 0:
        return result
    keys = sort_keys(scores, ties)
    # Every key of a row is distinct, so a partial sort has one possible answer and stays exact at the cut.
    best = np.argpartition(keys, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(keys, best, axis=1), axis=1)
    best = np.take_along_axis(best, order, axis=1)
    result[:, :count] = np.where(np.take_along_axis(scores, best, axis=1) == -np.inf, -1, best)
    return result


def sort_keys(scores: NDArray[np.float32], ties: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64 keys that ascend as (score descending, tie order ascending); ties are at least 0 and below 2^32."""
    # Negated, with + 0.0 so that -0.0 and 0.0 tie. The bits of an IEEE float read as an integer ascend with the float
    # where it is positive; flipping all but the sign bit of the negative ones makes that true everywhere.
    bits = (-scores.astype(np.float32) + np.float32(0.0)).view(np.int32)
    ascending = (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).astype(np.int64)
    return (ascending << 32) | ties
