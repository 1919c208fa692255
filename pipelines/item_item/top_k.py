"""Exact top-k of score rows, whole or in blocks of columns, ties broken in a fixed random order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningTop", "sort_keys", "tie_order", "top_k"]

_TIE_SEED = 20170612  # any fixed number: it only has to be the same for every system that is compared
_GROUP = 64  # columns whose largest score stands for all of them in the first look
_NONE = np.iinfo(np.int64).max  # key of no item: behind all others


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
    top = RunningTop(len(scores), k, ties)
    top.add(scores)
    return top.items


class RunningTop:
    """The k highest scores of each row so far, of rows that come in blocks of columns.

    Score and tie order of an item make one key, and all keys of a row are different. So there is one possible list,
    whatever the blocks are.

    Args:
      rows: q.
      k: length of the lists.
      ties: int64 [N], see `top_k`.

    Attributes:
      items: int32 [q, k], best first, -1 where there were fewer.
      scores: float32 [q, k], their scores, -inf where there is no item.
      columns: how many columns have been added.
    """

    def __init__(self, rows: int, k: int, ties: NDArray[np.int64]):
        self.items = np.full((rows, k), -1, np.int32)
        self.scores = np.full((rows, k), -np.inf, np.float32)
        self.columns = 0
        self._keys = np.full((rows, k), _NONE)
        self._ties = ties

    def add(self, scores: NDArray[np.float32]) -> None:
        """Add the next columns, float [q, n].

        Raises:
          ValueError: a score is NaN.
        """
        scores = np.asarray(scores, np.float32)
        first, self.columns = self.columns, self.columns + scores.shape[1]
        k = self.items.shape[1]
        if not scores.size or not k:
            return
        if np.isnan(scores.min()):
            raise ValueError("a scorer returned NaN")
        hopeful = scores >= np.maximum(self.scores[:, -1], _low_bound(scores, k))[:, None]
        hopeful &= scores > -np.inf
        counts = hopeful.sum(axis=1)
        many = counts > scores.shape[1] // 8  # few columns, or very many equal scores
        if many.any():
            self._add_all(np.flatnonzero(many), scores, first)
        self._add_some(np.flatnonzero(~many & (counts > 0)), hopeful, counts, scores, first)

    def _add_all(self, rows: NDArray[np.intp], scores: NDArray[np.float32], first: int) -> None:
        """Add all columns of some rows."""
        block = scores if len(rows) == len(scores) else scores[rows]
        count = min(self.items.shape[1], block.shape[1])
        keys = sort_keys(block, self._ties[first : first + block.shape[1]])
        keys[block == -np.inf] = _NONE
        best = np.argpartition(keys, count - 1, axis=1)[:, :count]
        keys, values = np.take_along_axis(keys, best, axis=1), np.take_along_axis(block, best, axis=1)
        self._merge(rows, keys, (first + best).astype(np.int32), values)

    def _add_some(
        self,
        rows: NDArray[np.intp],
        hopeful: NDArray[np.bool_],
        counts: NDArray[np.intp],
        scores: NDArray[np.float32],
        first: int,
    ) -> None:
        """Add the hopeful columns of some rows, of which each has at least one."""
        if not len(rows):
            return
        row, column = np.nonzero(hopeful[rows])
        place = np.arange(len(row)) - (np.cumsum(counts[rows]) - counts[rows])[row]
        value, shape = scores[rows[row], column], (len(rows), int(counts[rows].max()))
        keys, items, values = np.full(shape, _NONE), np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        keys[row, place] = sort_keys(value, self._ties[first + column])
        items[row, place], values[row, place] = first + column, value
        self._merge(rows, keys, items, values)

    def _merge(
        self, rows: NDArray[np.intp], keys: NDArray[np.int64], items: NDArray[np.int32], values: NDArray[np.float32]
    ) -> None:
        """Keep the best of what some rows have and of candidates [rows, c]."""
        k = self.items.shape[1]
        keys = np.concatenate([self._keys[rows], keys], axis=1)
        items = np.concatenate([self.items[rows], items], axis=1)
        values = np.concatenate([self.scores[rows], values], axis=1)
        best = np.argpartition(keys, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(best, np.argsort(np.take_along_axis(keys, best, axis=1), axis=1), axis=1)
        self._keys[rows] = np.take_along_axis(keys, best, axis=1)
        none = self._keys[rows] == _NONE
        self.items[rows] = np.where(none, -1, np.take_along_axis(items, best, axis=1))
        self.scores[rows] = np.where(none, -np.inf, np.take_along_axis(values, best, axis=1))


def _low_bound(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """A score of each row, float32 [q], that at least `k` of its columns reach: no column below it is among the best.

    The k-th largest of the largest scores of groups of columns: a pass over the scores that sorts few of them.
    """
    groups = scores.shape[1] // _GROUP
    if groups < 2 * k:
        return np.full(len(scores), -np.inf, np.float32)
    # Columns a stride apart, so that the groups are as alike as possible and the maximum goes along rows in memory.
    largest = scores[:, : groups * _GROUP].reshape(len(scores), _GROUP, groups).max(axis=1)
    return np.partition(largest, groups - k, axis=1)[:, groups - k]


def sort_keys(scores: NDArray[np.float32], ties: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64 keys that ascend as (score descending, tie order ascending); ties are at least 0 and below 2^32."""
    # Negated, with + 0.0 so that -0.0 and 0.0 tie. The bits of an IEEE float read as an integer ascend with the float
    # where it is positive; flipping all but the sign bit of the negative ones makes that true everywhere.
    bits = (-scores.astype(np.float32) + np.float32(0.0)).view(np.int32)
    ascending = (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).astype(np.int64)
    return (ascending << 32) | ties
