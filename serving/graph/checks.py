"""Checks of the inputs of signatures in the graph: InvalidArgumentError, which names the input."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def checked(inputs: Mapping[str, tf.Tensor], *names: str) -> dict[str, tf.Tensor]:
    """Check that the named inputs have as many rows as `history_ids`: one row would else be broadcast silently."""
    history = ("history_ids", inputs["history_ids"])
    return {**inputs, **{name: same_sizes("number of rows of", (name, inputs[name]), history, 1) for name in names}}


def same_sizes(what: str, checked: tuple[str, tf.Tensor], other: tuple[str, tf.Tensor], axes: int) -> tf.Tensor:
    """The checked tensor, if its first `axes` sizes are those of the other; InvalidArgumentError names both."""
    (name, tensor), (other_name, expected) = checked, other
    sizes = tf.shape(tensor)[:axes], tf.shape(expected)[:axes]
    message = f"{name} must have the {what} {other_name}"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(sizes[0] == sizes[1]), [message, *sizes])]):
        return tf.identity(tensor)


def assert_usable(name: str, formats: str, unusable: tf.Tensor) -> tf.Operation:
    """Fail with InvalidArgumentError if any row of `unusable` bool [B] is set; it names the input and the first row.

    Args:
      name: of the input.
      formats: that it takes, in words; "" where it takes no files.
      unusable: bool [B].
    """
    reason = f"broken, too short, or not {formats}" if formats else "blank, not finite, or unknown to the model"
    message = f"{name} cannot be used: {reason}, in row"
    first = tf.argmax(tf.pad(tf.cast(unusable, tf.int32), [[0, 1]]))  # padded, because argmax of no rows fails
    return tf.debugging.Assert(~tf.reduce_any(unusable), [message, first])


def in_unit_interval(diversity: tf.Tensor) -> tf.Tensor:
    valid = tf.reduce_all((diversity >= 0) & (diversity <= 1))
    with tf.control_dependencies([tf.debugging.Assert(valid, ["diversity must be between 0 and 1"])]):
        return tf.identity(diversity)


def results_per_row(k: tf.Tensor, other: tuple[str, tf.Tensor], max_k: int) -> tf.Tensor:
    """Check the number of results of each row.

    Args:
      k: int32 [B].
      other: an input with B rows, and its name.
      max_k: the largest k.

    Returns:
      k. InvalidArgumentError: it has another shape, such as the scalar that clients of contract 1 send, or a value outside
      1 to `max_k`.
    """
    name, rows = other[0], tf.shape(other[1])[:1]
    # Servers feed any shape, whatever the signature says. With two sizes of "none" behind it, each rank compares.
    none = tf.constant([-1, -1])
    shape = tf.concat([tf.shape(k), none], axis=0)[:2]
    is_row = tf.reduce_all(shape == tf.concat([rows, none[:1]], axis=0))
    message = (
        f"k must be int32 [B], one for each row of {name}; [10] asks for ten in one row; shape and number of rows:"
    )
    with tf.control_dependencies([tf.debugging.Assert(is_row, [message, tf.shape(k), rows])]):
        k = tf.identity(k)
    least, most = tf.reduce_min(k), tf.reduce_max(k)
    described = [f"k must be between 1 and {max_k}; smallest and largest of the rows:", least, most]
    with tf.control_dependencies([tf.debugging.Assert((least >= 1) & (most <= max_k), described)]):
        return tf.identity(k)
