"""Category filters as bit sets, which stay small for a million items and hundreds of categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from serving.graph.top_k import LOWEST

_BITS = 31  # of an int32, without the sign


def category_bits(columns: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """Encode the categories of items as bits.

    Args:
      columns: the categories of each of N items, each in [0, count).
      count: number of categories; W is the number of words that they need, at least 1.

    Returns:
      int32 [W, N]; bit c % 31 of word c // 31 is set if the item is in category c.
    """
    bits = np.zeros([max(1, -(-count // _BITS)), len(columns)], np.int32)
    for item, row in enumerate(columns):
        for column in row:
            bits[column // _BITS, item] |= np.int32(1 << column % _BITS)
    return bits


def requested_bits(columns: tf.Tensor, words: int) -> tf.Tensor:
    """Encode requested categories, int32 [B, C] (negative = none or unknown), as bits int32 [B, W]."""
    batch, size = tf.shape(columns)[0], words * _BITS
    row = tf.tile(tf.range(batch)[:, None], [1, tf.shape(columns)[1]])
    # Duplicates add up and count once; unknown categories go into an extra column.
    where = tf.stack([row, tf.where(columns >= 0, columns, size)], axis=-1)
    requested = tf.scatter_nd(tf.reshape(where, [-1, 2]), tf.ones([tf.size(columns)], tf.int32), [batch, size + 1]) > 0
    powers = tf.constant([1 << bit for bit in range(_BITS)], tf.int32)
    return tf.reduce_sum(tf.cast(tf.reshape(requested[:, :-1], [batch, words, _BITS]), tf.int32) * powers, axis=2)


def keep_categories(scores: tf.Tensor, requested: tf.Tensor, bits: tf.Tensor, has_filter: tf.Tensor) -> tf.Tensor:
    """Keep the scores of items that are in at least one requested category.

    Args:
      scores: float [B, N].
      requested: int32 [B, W]; see `requested_bits`.
      bits: int32 [W, N]; see `category_bits`.
      has_filter: bool [B]; False keeps all items of that row.

    Returns:
      float [B, N], -inf at the other items.
    """
    # One word at a time: all words together would need W times the memory of the scores.
    inside = tf.zeros_like(scores, tf.bool)
    _, inside = tf.while_loop(
        lambda word, _: word < tf.shape(bits)[0],
        lambda word, match: (word + 1, match | (tf.bitwise.bitwise_and(requested[:, word, None], bits[word]) != 0)),
        (tf.constant(0), inside),
    )
    return tf.where(inside | ~has_filter[:, None], scores, LOWEST)
