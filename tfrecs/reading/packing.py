"""Packs short histories into rows of static length, so that little of a row is padding. Graph ops only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

MAX_HISTORIES = 16  # histories in a row


def assign_rows(lengths: tf.Tensor, capacity: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Put sequences into rows: the longest first, each into the first row with room (first-fit decreasing).

    Within 22 % of the fewest rows possible (Johnson, 1973), and a few per cent for lengths as they occur.

    Args:
      lengths: int32 [W], from 1 to `capacity`.
      capacity: of a row.

    Returns:
      row int32 [W], offset int32 [W] in it, and segment int32 [W], how many sequences stand before it there.
    """
    count = tf.size(lengths)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    ordered = tf.gather(lengths, order)
    # What has no room for the shortest has its row to itself, and need not be looked through.
    alone = tf.reduce_sum(tf.cast(ordered > capacity - tf.reduce_min(lengths), tf.int32))
    slots = tf.range(count - alone)

    def place(state: tuple[tf.Tensor, ...], length: tf.Tensor) -> tuple[tf.Tensor, ...]:
        used, members = state[:2]
        row = tf.argmax((used + length <= capacity) & (members < MAX_HISTORIES), output_type=tf.int32)
        here = slots == row
        placed = (row, used[row], members[row])
        return (used + length * tf.cast(here, tf.int32), members + tf.cast(here, tf.int32), *placed)

    empty, zero = tf.zeros_like(slots), tf.constant(0)
    placed = tf.scan(place, ordered[alone:], (empty, empty, zero, zero, zero))[2:]
    places = tf.pad(tf.stack([placed[0] + alone, *placed[1:]], axis=1), [[alone, 0], [0, 0]])
    row = tf.where(tf.range(count) < alone, tf.range(count), places[:, 0])
    result = tf.gather(tf.stack([row, places[:, 1], places[:, 2]], axis=1), tf.argsort(order))
    return result[:, 0], result[:, 1], result[:, 2]


def pack(windows: Mapping[str, Any], padding: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Pack windows into rows of the same length.

    Args:
      windows: name -> [W, L, ...], or a mapping of such, of which the first `length` [W] events are not padding; and
        `number` int64 [W, 2] and `user` string [W].
      padding: name -> what stands behind a row's last event, like `windows`.
      length: L.

    Returns:
      The same names -> [R, L, ...]; `segment` int32 [R, L], the position of each event's history in its row, -1 =
      padding; `number` int64 [R, 2], that of the first window; `user` string [R, MAX_HISTORIES], "" where there are fewer.
    """
    lengths = windows["length"]
    row, offset, segment = assign_rows(lengths, length)
    rows = tf.reduce_max(row) + 1
    inside = tf.range(length) < lengths[:, None]
    event = tf.cast(tf.where(tf.reshape(inside, [-1]))[:, 0], tf.int32)
    place = tf.boolean_mask((row * length + offset)[:, None] + tf.range(length), inside)
    # Which event stands in each place, -1 = none.
    source = tf.scatter_nd(place[:, None], event + 1, [rows * length]) - 1

    def moved(value: tf.Tensor, blank: Any) -> tf.Tensor:
        inner = tf.shape(value)[2:]
        taken = tf.gather(tf.reshape(value, tf.concat([[tf.size(inside)], inner], axis=0)), tf.maximum(source, 0))
        is_event = tf.reshape(source >= 0, [-1] + [1] * (value.shape.rank - 2))
        result = tf.where(is_event, taken, tf.cast(blank, value.dtype))
        return tf.reshape(result, tf.concat([[rows, length], inner], axis=0))

    events = {name: value for name, value in windows.items() if name not in ("length", "number", "user")}
    first = tf.boolean_mask(tf.range(tf.size(row)), segment == 0)
    at = tf.stack([row, segment], axis=1)
    return {
        **tf.nest.map_structure(moved, events, {name: padding[name] for name in events}),
        "segment": moved(tf.tile(segment[:, None], [1, length]), -1),
        "number": tf.scatter_nd(tf.gather(row, first)[:, None], tf.gather(windows["number"], first), [rows, 2]),
        "user": tf.tensor_scatter_nd_update(tf.fill([rows, MAX_HISTORIES], ""), at, windows["user"]),
    }
