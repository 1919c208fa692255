"""The text queries of a training step: parts of items' texts, and what users themselves had typed.

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

from towers.replicas import queries_at


def query_tokens(inputs: Mapping[str, Any]) -> tf.Tensor:
    """Everything to be encoded, int32 [R, Tq] or [R + Q, Tq]: the made queries before the others."""
    spans = inputs["spans"]
    return tf.concat([spans, inputs["queries"]], axis=0) if "queries" in inputs else spans


def answers(inputs: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """What `query_tokens` ask for: items int32 [R (+ Q)], and their weight in the loss float [R (+ Q)], 0 or 1.

    Without weight are padding, queries without a token, made ones where events say better what is asked, and those
    whose event is no positive: what was found and not liked is no answer.
    """
    items = _made_for(inputs)
    right = items >= 0
    if "queries" in inputs:
        position = tf.maximum(inputs["query_position"], 0)
        taken, liked = (tf.gather(tf.reshape(inputs[name], [-1]), position) for name in ("item_index", "positive"))
        items = tf.concat([items, taken], axis=0)
        right = tf.concat([right, (inputs["query_position"] >= 0) & liked], axis=0)
    # A text without a token is [CLS] [SEP].
    some = tf.reduce_sum(tf.cast(query_tokens(inputs) != 0, tf.int32), axis=1) > 2
    return tf.maximum(items, 0), tf.cast(right & some, tf.float32)


def at_positions(queries: tf.Tensor, inputs: Mapping[str, Any], keep: tf.Tensor) -> tf.Tensor:
    """The query of each position, float [B, L, D], zero = none.

    Args:
      queries: float [R (+ Q), D], `query_tokens` encoded.
      keep: float [B, L], 1 where a made query may be given, 0 elsewhere.
    """
    index, target = inputs["item_index"], inputs["target"]
    if "queries" not in inputs:
        return queries_at(queries, inputs["fresh_index"], index, target, keep)
    made, own = tf.split(queries, [inputs["spans"].shape[0], inputs["queries"].shape[0]])
    given = queries_at(made, _made_for(inputs), index, target & ~inputs["has_query"], keep)
    position = tf.where(inputs["query_given"], inputs["query_position"], -1)  # A negative segment is dropped.
    typed = tf.math.unsorted_segment_sum(own, position, tf.size(index))
    return given + tf.reshape(typed, tf.shape(given))


def _made_for(inputs: Mapping[str, Any]) -> tf.Tensor:
    return inputs["span_index"] if "queries" in inputs else inputs["fresh_index"]
