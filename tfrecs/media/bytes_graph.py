"""Numbers in the bytes of a file, in a graph."""

from __future__ import annotations

import tensorflow as tf


def size_of(file: tf.Tensor) -> tf.Tensor:
    """The number of bytes of a string, int64 []."""
    return tf.cast(tf.strings.length(file), tf.int64)


def unsigned(file: tf.Tensor, at: tf.Tensor | int, count: int, *, big_endian: bool = False) -> tf.Tensor:
    """Read an unsigned number.

    Args:
      file: bytes, string [].
      at: offset of the number, int64 []; below 0: from the end.
      count: of its bytes, at most 7.
      big_endian: whether its first byte is the highest.

    Returns:
      int64 [].

    Raises:
      InvalidArgumentError: when run, if it lies outside of the file.
    """
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(file, at, count), tf.uint8), tf.int64)
    factors = [256**place for place in range(count)]
    return tf.reduce_sum(data * tf.constant(factors[::-1] if big_endian else factors, tf.int64))
