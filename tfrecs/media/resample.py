"""Band-limited resampling in TensorFlow ops.

Own code, because the served graph may contain TensorFlow's own ops only, and `encode`, tf.data and the server must give
the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import tensorflow as tf

# The gain is 1 up to this share of the lower of the two Nyquist frequencies, and falls from there to 0 at that frequency.
_ROLL_OFF = 0.95
# Seconds of silence after the clip, so that ringing before its beginning does not wrap around to its end.
_GAP = 0.05


def resample(samples: tf.Tensor, source: tf.Tensor, rate: int, seconds: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Resample one clip by cutting or padding the spectrum of the zero-padded clip.

    The padded length is a whole number of seconds, so that a bin is the same frequency at both rates. A raised cosine
    below the lower Nyquist frequency avoids the ringing of a sharp edge.
    J. O. Smith, "Mathematics of the Discrete Fourier Transform", "Ideal spectral interpolation".

    Args:
      samples: float32 [n], at most `seconds` long (what is longer is cut off).
      source: int32 [], samples a second of `samples`.
      rate: samples a second wanted.
      seconds: length of the result.

    Returns:
      float32 [round(rate * seconds)], zeros behind the clip, and int32 [], how many samples of it are the clip.
    """
    total = round(rate * seconds)
    source = tf.cast(source, tf.int32)
    scaled = tf.cast(tf.size(samples), tf.float64) * rate / tf.cast(source, tf.float64)
    length = tf.minimum(tf.cast(tf.round(scaled), tf.int32), total)
    span = math.ceil(seconds + _GAP)

    def change_rate() -> tf.Tensor:
        spectrum = tf.signal.rfft(_fit(samples, span * source), [span * source])
        bins = span * rate // 2 + 1
        spectrum = _fit(spectrum * tf.cast(_response(tf.shape(spectrum)[0], span, source, rate), tf.complex64), bins)
        changed = tf.signal.irfft(tf.ensure_shape(spectrum, [bins]), [span * rate])
        return changed[:total] * (rate / tf.cast(source, tf.float32))

    resampled = tf.cond(source == rate, lambda: _fit(samples, total), change_rate)
    resampled = tf.where(tf.range(total) < length, tf.ensure_shape(resampled, [total]), 0.0)
    return resampled, length


@lru_cache
def compiled_resample(rate: int, seconds: float) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return `resample` for a rate and length as a traced function; eager ops would hold the interpreter's lock."""

    def call(samples: tf.Tensor, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("/CPU:0"):
            return resample(samples, source, rate, seconds)

    return tf.function(
        call, input_signature=[tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)], autograph=False
    )


def _response(bins: tf.Tensor, span: int, source: tf.Tensor, rate: int) -> tf.Tensor:
    """Return the gain of each bin, float32 [bins]; bin k is k / span Hz."""
    frequency = tf.range(tf.cast(bins, tf.float32)) / span
    edge = tf.cast(tf.minimum(source, rate), tf.float32) / 2
    fall = tf.clip_by_value((frequency / edge - _ROLL_OFF) / (1 - _ROLL_OFF), 0.0, 1.0)
    return 0.5 * (1.0 + tf.cos(math.pi * fall))


def _fit(values: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Cut or zero-pad [n] to [length]."""
    values = values[:length]
    return tf.pad(values, [[0, length - tf.shape(values)[0]]])
