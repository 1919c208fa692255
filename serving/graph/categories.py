"""Which items are in which categories, as bits: a filter for a million items and hundreds of categories stays small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from serving.graph.top_k import LOWEST

# Of an int32, without the sign.
_BITS = 31


def category_bits(columns: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """int32 [W, N]: bit c % 31 of word c // 31 says that the item is in category c.

    Args:
      columns: the categories of each of N items, each in [0, count).
      count: how many categories there are; W is as many words as they need, at least 1.
    """
    bits = np.zeros([max(1, -(-count // _BITS)), len(columns)], np.int32)
    for item, row in enumerate(columns):
        for column in row:
            bits[column // _BITS, item] |= np.int32(1 << column % _BITS)
    return bits


def wanted_bits(columns: tf.Tensor, words: int) -> tf.Tensor:
    """Categories that are asked for, int32 [B, C] (negative: none, or none that there is) -> their bits int32 [B, W]."""
    batch, size = tf.shape(columns)[0], words * _BITS
    row = tf.tile(tf.range(batch)[:, None], [1, tf.shape(columns)[1]])
    # Asked for twice is asked for; what is not there goes into a column of its own.
    where = tf.stack([row, tf.where(columns >= 0, columns, size)], axis=-1)
    there = tf.scatter_nd(tf.reshape(where, [-1, 2]), tf.ones([tf.size(columns)], tf.int32), [batch, size + 1]) > 0
    powers = tf.constant([1 << bit for bit in range(_BITS)], tf.int32)
    return tf.reduce_sum(tf.cast(tf.reshape(there[:, :-1], [batch, words, _BITS]), tf.int32) * powers, axis=2)


def allow(scores: tf.Tensor, wanted: tf.Tensor, bits: tf.Tensor, any_wanted: tf.Tensor) -> tf.Tensor:
    """Keeps items that are in at least one wanted category.

    Args:
      scores: float [B, N].
      wanted: int32 [B, W], see `wanted_bits`.
      bits: int32 [W, N], see `category_bits`.
      any_wanted: bool [B], False = no filter for that row.

    Returns:
      float [B, N], -inf at the others.
    """
    # One word at a time: all of them together would need W times the memory of the scores.
    inside = tf.zeros_like(scores, tf.bool)
    _, inside = tf.while_loop(
        lambda word, _: word < tf.shape(bits)[0],
        lambda word, found: (word + 1, found | (tf.bitwise.bitwise_and(wanted[:, word, None], bits[word]) != 0)),
        (tf.constant(0), inside),
    )
    return tf.where(inside | ~any_wanted[:, None], scores, LOWEST)
