"""Cuts stored training Examples into windows, and packs these into rows of static length. Graph ops only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.reading.packing import pack
from tfrecs.schema import Schema


def window_slices(counts: tf.Tensor, length: int, stride: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cut sequences into overlapping windows.

    Window k of a sequence covers its events k * stride to k * stride + length - 1. Targets of an earlier window are
    history in the next one, so that every event is a target once, and all but the first events of a sequence have at
    least length - stride events before them.

    Args:
      counts: events of each sequence, int32 [B].
      length: events of a window.
      stride: events by which the next window starts later.

    Returns:
      sequence int32 [W] and k int32 [W] of each window, in order; index int32 [W, length] within the sequence, which may
      point past its end; fresh bool [W, length]: whether an event is not a target of an earlier window.
    """
    windows = 1 + tf.maximum(0, -(-(counts - length) // stride))
    sequence = tf.repeat(tf.range(tf.size(counts)), windows)
    k = tf.range(tf.size(sequence)) - tf.gather(tf.cumsum(windows, exclusive=True), sequence)
    index = (k * stride)[:, None] + tf.range(length)
    fresh = (k == 0)[:, None] | (tf.range(length) >= length - stride)[None, :]
    return sequence, k, index, fresh


def packed_windows(
    numbers: tf.Tensor,
    serialized: tf.Tensor,
    spec: Mapping[str, Any],
    schema: Schema,
    *,
    length: int,
    stride: int,
    permutation_seed: int | None,
) -> dict[str, Any]:
    """Parse a batch of Examples with one op, cut all their windows, and pack the short ones several to a row.

    Args:
      numbers: int64 [B], position of each Example in the split.
      serialized: string [B].
      spec: see `tfrecs.reading.reader.event_spec`.
      schema: of the records.
      length, stride: see `window_slices`.
      permutation_seed: see `tfrecs.reading.reader.training_rows`.

    Returns:
      The elements of `tfrecs.reading.reader.training_rows`, batched [R, ...], but with item ids (`item`) instead of
      indices, and `number` int64 [R, 2]: the number of the first window's Example and the window's within it.
    """
    events = tf.io.parse_example(serialized, spec)
    counts = tf.cast(events["item_ids"].row_lengths(), tf.int32)
    sequence, k, index, fresh = window_slices(counts, length, stride)
    count = tf.gather(counts, sequence)[:, None]
    inside = index < count
    first = tf.gather(tf.cumsum(counts, exclusive=True), sequence)[:, None]
    position = first + tf.minimum(index, count - 1)
    if permutation_seed is not None:
        position = first + tf.gather(_orders(counts, numbers, permutation_seed), position)

    def window(key: str) -> tf.Tensor:
        return tf.gather(events[key].flat_values, position)

    labels = [window(f"labels/{label.name}") for label in schema.labels]
    columns = [context for context in schema.context if context.source == "column"]
    windows = {
        "number": tf.stack([tf.gather(numbers, sequence), tf.cast(k, tf.int64)], 1),
        "length": tf.reduce_sum(tf.cast(inside, tf.int32), axis=1),
        "item": window("item_ids"),
        "values": window("values"),
        "times": window("times"),
        "target": fresh & (window("is_target") > 0),
        "positive": window("is_positive") > 0,
        "labels": tf.stack(labels, axis=-1) if labels else tf.zeros([tf.size(sequence), length, 0]),
        "context": {context.name: window(f"context/{context.name}") for context in columns},
        **({"query": window("queries")} if schema.has_queries else {}),
        # The Example itself carries the user's features; without any it would only fill the shuffle buffer.
        "user": tf.gather(serialized, sequence) if schema.users else tf.fill([tf.size(sequence)], ""),
    }
    padding = {
        "item": "",
        "values": 0.0,
        "times": 0,
        "target": False,
        "positive": False,
        "labels": np.nan,
        "context": {context.name: "" if context.kind == "categories" else np.nan for context in columns},
        "query": "",
    }
    return pack(windows, padding, length)


def _orders(counts: tf.Tensor, numbers: tf.Tensor, seed: int) -> tf.Tensor:
    """Return int32 [sum of counts]: the positions of each sequence, shuffled with a seed of its own."""
    return tf.map_fn(
        lambda pair: tf.random.experimental.stateless_shuffle(tf.range(pair[0]), seed=[seed, pair[1]]),
        (counts, tf.cast(numbers, tf.int32)),
        fn_output_signature=tf.RaggedTensorSpec([None], tf.int32, ragged_rank=0),
    ).flat_values
