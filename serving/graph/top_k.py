"""Exact top-k retrieval in the graph: scores of the whole catalogue and the k best of them.

Exact retrieval for one request costs one pass over the embeddings of all items. Selecting the best scores in two steps
is cheap beside that. Plain TensorFlow ops only.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

LOWEST = -float("inf")
# Scores per block. Larger blocks mean fewer maxima to compare, but more scores in the selected blocks.
BLOCK = 128
# Number of items from which the two steps are faster than one.
LARGE = 1 << 14
# Batch sizes for which the product is faster with the item embeddings as its left side. One row or two read the
# embeddings at memory speed already, without a transposition.
_SMALL_BATCH = (3, 16)


def padded_embeddings(item_embeddings: np.ndarray) -> np.ndarray:
    """Append rows of zeros to float [N, D], so that a large catalogue is a whole number of blocks.

    Without them the scores of every request would have to be copied to pad them. The scores of the padding must be
    excluded (`serving.graph.selection.exclude`).
    """
    missing = -len(item_embeddings) % BLOCK if len(item_embeddings) >= LARGE else 0
    return np.pad(item_embeddings, [[0, missing], [0, 0]]) if missing else item_embeddings


def inner_products(query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> tf.Tensor:
    """Inner products of all pairs: float [B, D] and [N, D] -> [B, N]."""

    def transposed() -> tf.Tensor:
        return tf.transpose(tf.matmul(item_embeddings, query_embeddings, transpose_b=True))

    def direct() -> tf.Tensor:
        return tf.matmul(query_embeddings, item_embeddings, transpose_b=True)

    if item_embeddings.shape[0] is None or item_embeddings.shape[0] < LARGE:
        return direct()
    rows = tf.shape(query_embeddings)[0]
    return tf.cond((rows >= _SMALL_BATCH[0]) & (rows <= _SMALL_BATCH[1]), transposed, direct)


def top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best scores float [B, k] and their indices int32 [B, k]; equal scores are ordered by index.

    With fewer than k candidates, score -inf and index -1 follow.
    """
    count = tf.minimum(k, tf.shape(scores)[1])
    best, index = _top_k(scores, count)
    index = tf.where(best > LOWEST, index, -1)
    missing = [[0, 0], [0, k - count]]
    return tf.pad(best, missing, constant_values=LOWEST), tf.pad(index, missing, constant_values=-1)


def width(k: tf.Tensor) -> tf.Tensor:
    """The number of columns of an answer, int32 []: the largest of k, int32 [B]; 1 for no rows."""
    return tf.maximum(tf.reduce_max(k), 1)


def first_k(best: tf.Tensor, index: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores float [B, W] and indices int32 [B, W] with -inf and -1 behind the first k, int32 [B], of each row."""
    inside = tf.range(tf.shape(index)[1])[None, :] < k[:, None]
    return tf.where(inside, best, LOWEST), tf.where(inside, index, -1)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    items = scores.shape[1]
    if items is None or items < LARGE or items % BLOCK:
        return _in_one_step(scores, k)
    # For a larger k, the selected blocks would be more than half of all.
    return tf.cond(k <= items // BLOCK // 2, lambda: _by_blocks(scores, k), lambda: _in_one_step(scores, k))


def _in_one_step(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    best, index = tf.math.top_k(scores, k)
    return best, index


def _by_blocks(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Top-k within the k blocks that have the highest maxima.

    An item in any other block is beaten by the maxima of all k blocks: each is higher, or equal with a smaller index.
    The maxima take one pass over the scores on all cores, whereas the top-k op uses one core per row.
    """
    batch = tf.shape(scores)[0]
    blocks = tf.reshape(scores, [batch, scores.shape[1] // BLOCK, BLOCK])
    _, selected = tf.math.top_k(tf.reduce_max(blocks, axis=2), k, sorted=False)
    # Back into the order of the items, which decides between equal scores.
    selected = tf.sort(selected, axis=1)
    candidates = tf.reshape(tf.gather(blocks, selected, batch_dims=1), [batch, k * BLOCK])
    best, position = tf.math.top_k(candidates, k)
    return best, tf.gather(selected, position // BLOCK, batch_dims=1) * BLOCK + position % BLOCK
