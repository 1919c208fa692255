"""History, exclusion, diversity and explanations in the graph. Plain TensorFlow ops."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from serving.graph.top_k import LOWEST, first_k, width
from tfrecs.schema import History

_SMALLEST = 1e-12  # vectors of at most this length count as zero


def newest_events(index: tf.Tensor, values: tf.Tensor, times: tf.Tensor, length: int) -> History:
    """Keep the newest `length` events with a known item, moved to the left.

    Args:
      index: int32 [B, L'], -1 = padding or unknown, anywhere; oldest first.
      values: float32 [B, L'].
      times: int64 [B, L'].
      length: L.

    Returns:
      the history, with zeros behind its events.
    """
    # A column of padding in front, so that an empty history has an element to sort.
    index = tf.pad(index, [[0, 0], [1, 0]], constant_values=-1)
    values, times = tf.pad(values, [[0, 0], [1, 0]]), tf.pad(times, [[0, 0], [1, 0]])
    known = index >= 0
    order = tf.argsort(tf.cast(~known, tf.int32), axis=1, stable=True)
    total = tf.reduce_sum(tf.cast(known, tf.int32), axis=1)
    count = tf.minimum(total, length)
    position = (total - count)[:, None] + tf.range(length)[None, :]
    inside = tf.range(length)[None, :] < count[:, None]
    column = tf.gather(order, tf.minimum(position, tf.shape(order)[1] - 1), batch_dims=1)

    def pick(source: tf.Tensor) -> tf.Tensor:
        picked = tf.gather(source, column, batch_dims=1)
        return tf.where(inside, picked, tf.zeros([], source.dtype))

    return History(pick(index), pick(values), pick(times), count)


def exclude(scores: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Scores float [B, N] with -inf at the items of `index` int32 [B, E]; negative indices are ignored."""
    row = tf.tile(tf.range(tf.shape(index)[0])[:, None], [1, tf.shape(index)[1]])
    # Negative indices are dropped, not sent to an extra column: the scores are then written in place, not copied.
    where = tf.boolean_mask(tf.stack([row, index], axis=-1), index >= 0)
    return tf.tensor_scatter_nd_update(scores, where, tf.fill([tf.shape(where)[0]], LOWEST))


def diverse_top_k(
    best_of: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    count: int,
    item_embeddings: tf.Tensor,
    diversity: tf.Tensor,
    k: tf.Tensor,
    pool: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`diversify` the k * pool best items of each row, at most N.

    Args:
      best_of: number of items -> the best ones; see `serving.graph.top_k.top_k`.
      count: N.
      item_embeddings: float [N, D] of any length.
      diversity: float [B] in [0, 1].
      k: int32 [B], number of results of each row.
      pool: number of candidates, as a multiple of k.

    Returns:
      scores float [B, W] and indices int32 [B, W], W the largest k; -inf and -1 where no item is left. What stands behind the
      first k of a row has no meaning.
    """
    columns = width(k)
    size = tf.minimum(columns, count)
    # Each row chooses among as many candidates as if it were alone.
    candidates = first_k(*best_of(tf.minimum(size * pool, count)), tf.minimum(k, count) * pool)
    best, index = diversify(*candidates, item_embeddings, diversity, size)
    missing = [[0, 0], [0, columns - size]]
    return tf.pad(best, missing, constant_values=LOWEST), tf.pad(index, missing, constant_values=-1)


def diversify(
    scores: tf.Tensor, index: tf.Tensor, item_embeddings: tf.Tensor, diversity: tf.Tensor, k: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998) within a pool of P candidates.

    Greedily selects the candidate with the largest (1 - d) * relevance - d * (largest cosine with those selected);
    relevance is the score scaled to [0, 1] within the pool. d = 0 keeps the order.

    Args:
      scores: float [B, P], best first.
      index: int32 [B, P]; -1 = no candidate.
      item_embeddings: float [N, D] of any length.
      diversity: float [B] in [0, 1], the d above.
      k: int32 [], at most P.

    Returns:
      scores float [B, k] and indices int32 [B, k], in the order of selection.
    """
    batch, pool = tf.shape(scores)[0], tf.shape(scores)[1]
    valid = index >= 0
    finite = tf.where(valid, scores, 0.0)
    high = tf.reduce_max(scores, axis=1, keepdims=True)
    low = tf.reduce_min(tf.where(valid, scores, high), axis=1, keepdims=True)
    relevance = tf.where(valid, tf.math.divide_no_nan(finite - low, high - low), 0.0)
    vectors = unit(tf.gather(item_embeddings, tf.maximum(index, 0)))
    weight = diversity[:, None]
    step_shape = tf.TensorShape([None, None])

    def step(
        i: tf.Tensor, selected: tf.Tensor, nearest: tf.Tensor, order: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        gain = (1.0 - weight) * relevance - weight * nearest
        # Invalid candidates come after all valid ones, and selected ones are never selected again.
        gain = tf.where(valid, gain, gain - 1e6) - 1e12 * selected
        best = tf.argmax(gain, axis=1, output_type=tf.int32)
        best_vector = tf.gather(vectors, best, batch_dims=1)
        similarity = tf.einsum("bpd,bd->bp", vectors, best_vector)
        nearest = tf.where(tf.equal(i, 0), similarity, tf.maximum(nearest, similarity))
        return i + 1, selected + tf.one_hot(best, pool), nearest, tf.concat([order, best[:, None]], axis=1)

    start = (tf.constant(0), tf.zeros([batch, pool]), tf.zeros([batch, pool]), tf.zeros([batch, 0], tf.int32))
    *_, order = tf.while_loop(
        lambda i, *_: i < k,
        step,
        start,
        shape_invariants=(tf.TensorShape([]), step_shape, step_shape, step_shape),
    )
    return tf.gather(scores, order, batch_dims=1), tf.gather(index, order, batch_dims=1)


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors float [..., D] scaled to length 1; zeros stay zeros."""
    return tf.math.l2_normalize(vectors, axis=-1, epsilon=_SMALLEST**2)


def because(index: tf.Tensor, history: tf.Tensor, length: tf.Tensor, item_embeddings: tf.Tensor) -> tf.Tensor:
    """The item of the history that explains each result best, by the cosine of the item embeddings.

    Args:
      index: int32 [B, k], the results; -1 = none.
      history: int32 [B, L], items of the events, from the left.
      length: int32 [B], number of events.
      item_embeddings: float [N, D] of any length.

    Returns:
      int32 [B, k], an item of the history; -1 where there is no history or no result.
    """
    results = unit(tf.gather(item_embeddings, tf.maximum(index, 0)))
    events = unit(tf.gather(item_embeddings, history))
    similarity = tf.einsum("bkd,bld->bkl", results, events)
    inside = tf.range(tf.shape(history)[1])[None, :] < length[:, None]
    similarity = tf.where(inside[:, None, :], similarity, LOWEST)
    nearest = tf.gather(history, tf.argmax(similarity, axis=2, output_type=tf.int32), batch_dims=1)
    return tf.where((index >= 0) & (length > 0)[:, None], nearest, -1)
