"""The table of item embeddings that a request scans: float32, or smaller and then scored again in float32.

A filter-and-refine search (the vector approximation file: Weber, Schek and Blott, 1998): approximate scores of all items
select a shortlist, the float32 rows of only that are read, and what the shortlist cannot be shown to contain is
searched in float32 as a whole. Plain TensorFlow ops only; no XLA, which TensorFlow Serving refuses on CPUs by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from serving.graph.top_k import BLOCK, LARGE, LOWEST, inner_products, padded_embeddings, top_k

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
# Relative to the norms of both vectors: what float32 sums of any order may differ by.
_SUMMATION = 4e-6
# Two rows share a float32 word, each with 12 of its bits: one counts in units, the other in units of 2^-12.
_FIELD = 4096.0
# Wider vectors leave a value less than a bit.
INT8_WIDTH = 2048
# Rounding errors of int8 add up like independent ones: a score is too low by more standard deviations than these less
# than once in 10,000 times.
_DEVIATIONS = 4.0


class _Scan(Protocol):
    """A smaller table.

    Attributes:
      relative_error: what a score of `scores` may be too low by, relative to the norms of both vectors.
      shortlist: items that are scored again for each one that is wanted.
      most_queries: number of queries above which float32 is faster.
    """

    relative_error: float
    shortlist: int
    most_queries: int

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Approximate inner products: float [B, D] -> float [B, N]."""


class Bfloat16Scan(tf.Module):
    """Rows rounded to bfloat16.

    Args:
      rows: float32 [N, D].
    """

    # Each rounding is off by a 2^-8th at most: of the row, of the query and of their product, summed up in float32.
    relative_error = 3 * 2.0**-8 + 2.0**-14 + _SUMMATION
    shortlist = 2
    most_queries = 16

    def __init__(self, rows: np.ndarray):
        super().__init__()
        self.rows = tf.Variable(tf.cast(rows, tf.bfloat16), trainable=False, name="item_embeddings_bfloat16")

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        products = inner_products(tf.cast(queries, tf.bfloat16), tf.convert_to_tensor(self.rows))
        return tf.cast(products, tf.float32)


class Int8Scan(tf.Module):
    """Rows as integers with one scale a row, two rows to a float32 word, as TensorFlow has no fast product of int8.

    An integer query times the words sums up two scores at once, exactly: norms are such that neither leaves its bits. At a
    width of 64 the integers have about five bits.

    Args:
      rows: float32 [N, D], N even.
    """

    relative_error = _SUMMATION
    shortlist = 5
    most_queries = 1

    def __init__(self, rows: np.ndarray):
        super().__init__()
        codes, scales = int8_codes(rows)
        half = len(rows) // 2
        # A column of ones, times the query's margin, raises all scores to upper bounds.
        codes = np.pad(codes, [[0, 0], [0, 1]], constant_values=1).astype(np.float32)
        # Transposed, since the product with one query then reads at memory speed.
        words = np.ascontiguousarray((codes[:half] + codes[half:] / _FIELD).T)
        self.words = tf.Variable(words, trainable=False, name="item_embeddings_int8")
        self.norm = code_norm(rows.shape[1])
        # What both scores are multiplied by: those of the second half count in units of 2^-12.
        units = np.repeat(np.array([1, _FIELD], np.float32), half) / np.float32(self.norm)
        self.scales = tf.Variable(scales * units, trainable=False, name="item_embeddings_scale")

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Upper bounds of the inner products."""
        length = tf.norm(queries, axis=1, keepdims=True)
        codes = tf.round(tf.math.divide_no_nan(queries, length) * self.norm)
        both = tf.matmul(tf.pad(codes, [[0, 0], [0, 1]], constant_values=margin(self.norm)), self.words)
        high = tf.round(both)
        return tf.concat([high, both - high], axis=1) * self.scales * length


def code_norm(width: int) -> float:
    """The norm that vectors of a width have before they are rounded to integers.

    The product of two of them, and the margin, stay below 2^11. Widths are up to `INT8_WIDTH`.
    """
    longest, rounding = math.sqrt(_FIELD / 2 - 1), math.sqrt(width) / 2
    return math.sqrt(longest**2 - margin(longest)) - rounding


def margin(norm: float) -> int:
    """What a score in integers may be too low by.

    The errors of row and query have the standard deviation sqrt(1/12) times the other's norm each.
    """
    return math.ceil(_DEVIATIONS * norm * math.sqrt(2 / 12))


def int8_codes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round rows to integers times one scale a row: float32 [N, D] -> int8 [N, D] and float32 [N]; zeros stay zeros."""
    # float64, because the squares of large values are not float32.
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    scales = norms / code_norm(rows.shape[1])
    codes = np.rint(rows / np.where(scales > 0, scales, 1.0)[:, None])
    return codes.astype(np.int8), scales.astype(np.float32)


class ItemTable(tf.Module):
    """The embeddings of the items, and how a request scans them.

    Args:
      item_embeddings: float [N, D].
      dtype: `FLOAT32`, `BFLOAT16` or `INT8`, of the table that is scanned; below `LEAST_ITEMS` it is float32 whatever is
        asked for.
    """

    LEAST_ITEMS = 1 << 18  # from which a smaller table is faster

    def __init__(self, item_embeddings: np.ndarray, dtype: str):
        super().__init__()
        padded = padded_embeddings(item_embeddings)
        self.rows = tf.Variable(padded, trainable=False, name="item_embeddings")
        self.norms = np.linalg.norm(padded, axis=1)
        self.dtype = dtype if len(item_embeddings) >= max(self.LEAST_ITEMS, LARGE) else FLOAT32
        made: dict[str, Callable[[np.ndarray], _Scan]] = {BFLOAT16: Bfloat16Scan, INT8: Int8Scan}
        self.scan = None if self.dtype == FLOAT32 else made[self.dtype](padded)

    def scores(self, queries: tf.Tensor, k: tf.Tensor | int) -> tf.Tensor:
        """Inner products with all rows by the table that is the best for so many queries and results: [B, D] -> [B, N]."""
        scan = self.scan
        if scan is None:
            return self._exact(queries)
        return tf.cond(self._is_scanned(scan, queries, k), lambda: scan.scores(queries), lambda: self._exact(queries))

    def corrections(self, queries: tf.Tensor, scores: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """What some of `scores` lack to the float32 ones.

        Args:
          queries: float [B, D].
          scores: float [B, N], of `scores`.
          index: int32 [B, P], none negative.

        Returns:
          float [B, P].
        """
        if self.scan is None:
            return tf.zeros_like(index, tf.float32)
        exact = tf.einsum("bpd,bd->bp", tf.gather(self.rows, index), queries)
        return exact - tf.gather(scores, index, batch_dims=1)

    def search(
        self,
        queries: tf.Tensor,
        most: tf.Tensor,
        finish: Callable[[tf.Tensor], tf.Tensor],
        weights: Callable[[tf.Tensor], tf.Tensor],
        reach: float,
    ) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Scan the table, to find the best by `finish` of the float32 scores.

        Args:
          queries: float [B, D].
          most: int32 [], the largest k that will be asked for.
          finish: float [B, N] -> [B, N], what is ranked: each score times a weight of at least 0, plus what does not depend
            on it, or -inf.
          weights: int32 [B, P], items -> float [B, P], those weights.
          reach: the largest weight times norm of an item.

        Returns:
          k -> the k best scores and their indices, as `serving.graph.top_k.top_k` orders them.
        """
        scores = self.scores(queries, most)
        finished = finish(scores)
        scan = self.scan
        if scan is None:
            return lambda k: top_k(finished, k)
        allowed = scan.relative_error * reach * tf.norm(queries, axis=1)

        def refined(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            approximate, index = top_k(finished, _shortlist(scan, k))
            # In the order of the items, which decides between equal scores.
            index = tf.sort(index, axis=1)
            items = tf.maximum(index, 0)
            better = tf.gather(finished, items, batch_dims=1)
            better += weights(items) * self.corrections(queries, scores, items)
            best, position = top_k(tf.where(index >= 0, better, LOWEST), k)
            found = tf.where(position >= 0, tf.gather(index, tf.maximum(position, 0), batch_dims=1), -1)
            # Any other item is at most as good as the last of the shortlist could be; equal would be decided by index.
            last, worst = approximate[:, -1], best[:, -1]
            complete = (last == LOWEST) | (worst - _SUMMATION * tf.abs(worst) > last + allowed)
            return tf.cond(
                tf.reduce_all(complete), lambda: (best, found), lambda: top_k(finish(self._exact(queries)), k)
            )

        return lambda k: tf.cond(self._is_scanned(scan, queries, most), lambda: refined(k), lambda: top_k(finished, k))

    def _exact(self, queries: tf.Tensor) -> tf.Tensor:
        return inner_products(queries, tf.convert_to_tensor(self.rows))

    def _is_scanned(self, scan: _Scan, queries: tf.Tensor, k: tf.Tensor | int) -> tf.Tensor:
        """Whether the smaller table is, not float32: where it is faster, as the selection of a shortlist takes time too."""
        is_short = _shortlist(scan, k) <= len(self.norms) // BLOCK // 2
        return (tf.shape(queries)[0] <= scan.most_queries) & is_short


def _shortlist(scan: _Scan, k: tf.Tensor | int) -> tf.Tensor | int:
    """Number of items that are scored again for the k best."""
    return scan.shortlist * k + BLOCK // 2
