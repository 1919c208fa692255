"""The text queries that events of a training batch have of their own, drawn and tokenised. Graph ops, static shapes."""

from __future__ import annotations

import tensorflow as tf

from towers.encoders.base import TextQueryEncoder


def own_queries(
    text: tf.Tensor,
    index: tf.Tensor,
    target: tf.Tensor,
    fresh_index: tf.Tensor,
    encoder: TextQueryEncoder,
    *,
    count: int,
    share: float,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """What `towers.text_queries` says of a batch.

    Args:
      text: string [B, L], "" = none.
      index, target: int32 and bool [B, L], the positions' items and whether they are targets.
      fresh_index: int32 [R], the items that queries are made for, -1 = padding.
      encoder: takes the queries.
      count: Q; of more events with a query, these are drawn at random.
      share: of the drawn ones that the user tower gets. Not all: most requests have no text.
      seed: int64 [2], stateless; this one and the next are used.
    """
    asked = target & (text != "")
    flat = tf.reshape(text, [-1])
    position = tf.cast(tf.where(tf.reshape(asked, [-1]))[:, 0], tf.int32)
    drawn = tf.random.experimental.stateless_shuffle(position, seed=seed)[:count]
    drawn = tf.ensure_shape(tf.pad(drawn, [[0, count - tf.size(drawn)]], constant_values=-1), [count])
    typed = tf.where(drawn >= 0, tf.gather(flat, tf.maximum(drawn, 0)), "")
    unasked = tf.boolean_mask(index, target & ~asked)
    made = tf.reduce_any(fresh_index[:, None] == unasked[None, :], axis=1)
    return {
        "queries": tf.ensure_shape(encoder.preprocess_query(typed), [count, encoder.query_tokens]),
        "query_position": drawn,
        "query_given": (tf.random.stateless_uniform([count], seed + 1) < share) & (drawn >= 0),
        "asked": asked,
        "span_index": tf.where(made, fresh_index, -1),
    }
