"""The text queries of a training step: parts of items' texts, and what users themselves typed.

Where events have queries of their own, a batch of B windows of length L has, beside `spans` int32 [R, Tq]:

- `queries` int32 [Q, Tq], tokens of some of them, in the form of `spans`;
- `query_position` int32 [Q], the position b * L + l whose event each belongs to, -1 = padding;
- `query_given` bool [Q], whether the user tower gets it, as it does in a request with text;
- `has_query` bool [B, L], positions whose event has one, whether it is among the Q or not;
- `span_index` int32 [R], `fresh_index` but -1 where every target of that item in the batch has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from towers.replicas import of_all_replicas


def query_tokens(inputs: Mapping[str, Any]) -> tf.Tensor:
    """Tokens of all queries of a batch, int32 [R, Tq] or [R + Q, Tq]: those made of texts before the typed ones."""
    spans = inputs["spans"]
    return tf.concat([spans, inputs["queries"]], axis=0) if "queries" in inputs else spans


def answers(inputs: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """The item that each query of `query_tokens` is for.

    Returns:
      item_index int32 [R (+ Q)] and sample_weight float [R (+ Q)], 0 or 1. Without weight are padding, queries without a
      token, made ones of items whose events have queries of their own, and those whose event is no positive.
    """
    item_index = _span_items(inputs)
    valid = item_index >= 0
    if "queries" in inputs:
        position = tf.maximum(inputs["query_position"], 0)
        typed_for, positive = (
            tf.gather(tf.reshape(inputs[name], [-1]), position) for name in ("item_index", "positive")
        )
        item_index = tf.concat([item_index, typed_for], axis=0)
        valid = tf.concat([valid, (inputs["query_position"] >= 0) & positive], axis=0)
    # A text without a token is [CLS] [SEP].
    has_tokens = tf.reduce_sum(tf.cast(query_tokens(inputs) != 0, tf.int32), axis=1) > 2
    return tf.maximum(item_index, 0), tf.cast(valid & has_tokens, tf.float32)


def at_positions(queries: tf.Tensor, inputs: Mapping[str, Any], keep: tf.Tensor) -> tf.Tensor:
    """The query that each position gets.

    Args:
      queries: float [R (+ Q), D], `query_tokens` encoded.
      inputs: the batch.
      keep: float [B, L], 1 where a made query may be given, 0 elsewhere.

    Returns:
      float [B, L, D], zero = none.
    """
    index, target = inputs["item_index"], inputs["target"]
    if "queries" not in inputs:
        return _spans_at(queries, inputs["fresh_index"], index, target, keep)
    count = tf.shape(inputs["spans"])[0]
    made, typed = queries[:count], queries[count:]
    given = _spans_at(made, _span_items(inputs), index, target & ~inputs["has_query"], keep)
    position = tf.where(inputs["query_given"], inputs["query_position"], -1)  # A negative segment is dropped.
    typed = tf.math.unsorted_segment_sum(typed, position, tf.size(index))
    return given + tf.reshape(typed, tf.shape(given))


def _span_items(inputs: Mapping[str, Any]) -> tf.Tensor:
    return inputs["span_index"] if "queries" in inputs else inputs["fresh_index"]


def _spans_at(
    spans: tf.Tensor, fresh_index: tf.Tensor, index: tf.Tensor, target: tf.Tensor, keep: tf.Tensor
) -> tf.Tensor:
    """The made query of each position's item, where any replica encoded one: float [B, L, D], else 0.

    Args:
      spans: float [R, D], encoded parts of the texts of this replica's fresh items.
      fresh_index: int32 [R], which items these are, -1 = padding.
      index: int32 [B, L], the positions' items.
      target: bool [B, L], whether they are targets.
      keep: float [B, L], 1 where the query is to be given, 0 elsewhere.
    """
    fresh, spans = of_all_replicas(fresh_index), of_all_replicas(spans)
    match = tf.cast(index[:, :, None] == fresh[None, None, :], tf.float32)
    match *= tf.cast(target, tf.float32)[:, :, None]
    return tf.einsum("blr,rd->bld", match * keep[:, :, None], spans)
