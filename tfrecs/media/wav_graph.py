"""Decodes WAV files in a graph as `tfrecs.media.wav` does in Python, with ops of a stock server.

`tf.audio.decode_wav` reads 16-bit PCM only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrecs.media.bytes_graph import size_of, unsigned
from tfrecs.media.wav import CODINGS, EXTENSIBLE, MOST_CHANNELS, MOST_CHUNKS, UNKNOWN_LENGTH

Part = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Number of frames int64 [] and rate in Hz int64 [] of a file -> first frame and number of frames of a part, int64 []."""

_SHORTEST_FORMAT = 16  # bytes
_FORMAT_OF_EXTENSIBLE = 24  # offset of the codec that it stands for


def decode_wav(file: tf.Tensor, part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode a part of a WAV file.

    Args:
      file: its bytes, string [].
      part: chooses the part.

    Returns:
      samples float32 [n, channels], full scale is 1.0, and the rate in Hz, int32 [].

    Raises:
      InvalidArgumentError: when run, if `tfrecs.media.wav` would refuse the file.
    """
    start, promised, layout = _chunks(file)
    with tf.control_dependencies([tf.debugging.Assert((start > 0) & (layout > 0), ["not a WAV file, or broken"])]):
        codec, channels = unsigned(file, layout, 2), unsigned(file, layout + 2, 2)
    rate, align, size = unsigned(file, layout + 4, 4), unsigned(file, layout + 12, 2), size_of(file)
    channels_known = (channels > 0) & (channels <= MOST_CHANNELS)
    channels = tf.maximum(channels, 1)
    stands_for = unsigned(file, tf.minimum(layout + _FORMAT_OF_EXTENSIBLE, size - 2), 2)
    extensible = (codec == EXTENSIBLE) & (unsigned(file, layout - 4, 4) >= _FORMAT_OF_EXTENSIBLE + 2)
    codec = tf.where(extensible, stands_for, codec)
    keys = tf.constant(list(CODINGS), tf.int64)
    coding = tf.where(tf.reduce_all(keys == tf.stack([codec, align // channels]), axis=1))[:, 0]
    known = channels_known & (align % channels == 0) & (tf.size(coding) == 1) & (rate > 0) & (rate < 2**31)
    with tf.control_dependencies([tf.debugging.Assert(known, ["WAV of an unknown kind", codec, align, channels])]):
        coding = tf.identity(coding[0])

    is_told = (promised > 0) & (promised < UNKNOWN_LENGTH)
    frames = tf.where(is_told, tf.minimum(promised, size - start), size - start) // align
    first, count = part(frames, rate)
    data = tf.strings.substr(file, start + first * align, count * align)
    samples = tf.switch_case(
        tf.cast(coding, tf.int32), [lambda name=name: _samples(data, name) for name in CODINGS.values()]
    )
    return tf.reshape(samples, tf.stack([-1, channels])), tf.cast(rate, tf.int32)


def _chunks(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Find the data and the format before it.

    Returns:
      Offset and length of the data, and offset of the format, int64 []; 0 where there is none.
    """
    size = size_of(file)
    head = tf.strings.substr(file, 0, 4)
    is_wav = ((head == b"RIFF") | (head == b"RF64")) & (size >= 12)
    is_wav &= tf.strings.substr(file, tf.minimum(size, 8), 4) == b"WAVE"
    zero = tf.constant(0, tf.int64)

    def more(at: tf.Tensor, number: tf.Tensor, start: tf.Tensor, length: tf.Tensor, layout: tf.Tensor) -> tf.Tensor:
        return is_wav & (start == 0) & (at + 8 <= size) & (number < MOST_CHUNKS)

    def following(
        at: tf.Tensor, number: tf.Tensor, start: tf.Tensor, length: tf.Tensor, layout: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        name, length = tf.strings.substr(file, at, 4), unsigned(file, at + 4, 4)
        body = at + 8
        is_format = (name == b"fmt ") & (length >= _SHORTEST_FORMAT) & (body + _SHORTEST_FORMAT <= size)
        layout = tf.where(name == b"fmt ", tf.where(is_format, body, 0), layout)
        return body + length + length % 2, number + 1, tf.where(name == b"data", body, 0), length, layout

    state = tf.while_loop(more, following, (zero + 12, zero, zero, zero, zero))
    return state[2], state[3], state[4]


def _samples(data: tf.Tensor, coding: str) -> tf.Tensor:
    """Decode samples of one of `CODINGS`: float32 [n]."""
    if coding == "i3":
        low, middle, high = tf.unstack(tf.reshape(tf.io.decode_raw(data, tf.uint8), [-1, 3]), axis=1)
        number = tf.cast(low, tf.int32) + 2**8 * tf.cast(middle, tf.int32) + 2**16 * tf.cast(high, tf.int32)
        return tf.cast(tf.where(high >= 128, number - 2**24, number), tf.float32) / 2.0**23
    dtype = tf.as_dtype(np.dtype(coding))
    values = tf.cast(tf.io.decode_raw(data, dtype), tf.float32)
    if dtype == tf.uint8:
        return (values - 128.0) / 128.0
    return values / -float(dtype.min) if dtype.is_integer else values
