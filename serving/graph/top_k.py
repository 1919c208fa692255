"""Scores of a whole catalogue and the k best of them in the graph: exact, and without a copy of the table.

For one request, reading the table of a million items once is what exact retrieval costs. Choosing among the scores is
cheap beside it where it is done in two steps. Plain TensorFlow ops only.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

LOWEST = -float("inf")
# Scores a block. Larger: fewer maxima to choose from, but more scores in the blocks that are chosen.
BLOCK = 128
# Items from which on the two steps are worth their ops.
LARGE = 1 << 14
# Rows between which the product is faster with the table as its left side.
# One row or two read the table as fast as memory gives it, and need not be transposed.
_FEW = (3, 16)


def padded_table(table: np.ndarray) -> np.ndarray:
    """float [N, D] with rows of zeros behind, so that a large catalogue is a whole number of blocks.

    Otherwise the scores of every request would be copied to make them so. The scores of the padding must be taken out
    (`serving.graph.selection.exclude`).
    """
    missing = -len(table) % BLOCK if len(table) >= LARGE else 0
    return np.pad(table, [[0, missing], [0, 0]]) if missing else table


def inner_products(states: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """float [B, D] and [N, D] -> [B, N]."""

    def few() -> tf.Tensor:
        return tf.transpose(tf.matmul(items, states, transpose_b=True))

    def many() -> tf.Tensor:
        return tf.matmul(states, items, transpose_b=True)

    if items.shape[0] is None or items.shape[0] < LARGE:
        return many()
    rows = tf.shape(states)[0]
    return tf.cond((rows >= _FEW[0]) & (rows <= _FEW[1]), few, many)


def top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best, [B, k] scores and indices; of equal scores the one with the smaller index comes first.

    Fewer candidates than k: index -1 with score -inf behind them.
    """
    size = tf.shape(scores)[1]
    found = tf.minimum(k, size)
    best, index = _top_k(scores, found)
    index = tf.where(best > LOWEST, index, -1)
    missing = [[0, 0], [0, k - found]]
    return tf.pad(best, missing, constant_values=LOWEST), tf.pad(index, missing, constant_values=-1)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    items = scores.shape[1]
    if items is None or items < LARGE or items % BLOCK:
        return _directly(scores, k)
    # Beyond that, the blocks chosen would be half of all.
    return tf.cond(k <= items // BLOCK // 2, lambda: _by_blocks(scores, k), lambda: _directly(scores, k))


def _directly(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    best, index = tf.math.top_k(scores, k)
    return best, index


def _by_blocks(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best are in the k blocks with the highest maxima, so only these are looked into.

    An item in any other block is beaten by the maxima of all k of them: each is higher, or as high and further to the
    front. One pass over the scores by all cores, where the op for top-k takes one core a row and compares item by item.
    """
    batch = tf.shape(scores)[0]
    blocks = tf.reshape(scores, [batch, scores.shape[1] // BLOCK, BLOCK])
    _, chosen = tf.math.top_k(tf.reduce_max(blocks, axis=2), k, sorted=False)
    # In the order of the items again, in which equal scores are told apart.
    chosen = tf.sort(chosen, axis=1)
    inside = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [batch, k * BLOCK])
    best, place = tf.math.top_k(inside, k)
    return best, tf.gather(chosen, place // BLOCK, batch_dims=1) * BLOCK + place % BLOCK
