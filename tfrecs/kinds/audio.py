"""Audio: a clip of music, speech or noise."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfrecs.kinds.base import Feature, Note, Options, bytes_payload, decode_each, validated
from tfrecs.media.resample import compiled_resample, resample
from tfrecs.media.sounds import LEAST_SECONDS, RATES, band_levels, read_middle
from tfrecs.media.wav_graph import decode_wav
from tfrecs.schema import FeatureSchema

_FULL_SCALE = 32768.0


class AudioOptions(Options):
    """`seconds`: length of a decoded clip; `rate`: samples per second."""

    seconds: Annotated[float, Field(ge=2 * LEAST_SECONDS, le=600)]
    rate: Annotated[int, Field(ge=8_000, le=48_000)]


class AudioFeature(Feature):
    """float32 [round(rate * seconds)], mono, full scale is 1.0; shorter clips are padded with zeros.

    Raw values: paths of sound files (see `tfrecs.media.sounds.read_middle`); of longer ones the middle is used. The
    payload is 16-bit little-endian PCM without a header, since rate and length are in the schema: one op of TensorFlow
    decodes a whole batch.
    """

    kind = "audio"
    raw_formats = "WAV with 8, 16, 24 or 32-bit PCM or floats"

    def __init__(self, schema: FeatureSchema):
        super().__init__(schema)
        self.params = validated(AudioOptions, schema.params, f"feature {schema.name!r}")

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        return validated(AudioOptions, options, cls.kind).model_dump()

    @property
    def _samples(self) -> int:
        return round(self.params.rate * self.params.seconds)

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        sound = read_middle(Path(value), self.params.seconds, note)
        change_rate = compiled_resample(self.params.rate, self.params.seconds)
        clip, length = change_rate(tf.constant(sound.samples.mean(axis=1)), tf.constant(sound.rate))
        scaled = np.rint(clip.numpy()[: int(length)] * _FULL_SCALE)
        return bytes_payload([np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()])

    @property
    def parse_spec(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], tf.string, "")

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([self._samples], tf.float32)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """PCM string [B] -> (float32 [B, samples], bool [B]); missing is silence."""
        pcm = tf.io.decode_raw(payload, tf.int16, little_endian=True, fixed_length=2 * self._samples)
        return tf.cast(pcm, tf.float32) / _FULL_SCALE, tf.strings.length(payload) > 0

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None], tf.string)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bytes of WAV files, string [B] -> as `decode`. Those that `encode` reads are read the same.

        "" is missing, and so is what `encode` refuses, and compressed sound, for which a server's own ops have no decoder.
        """
        return decode_each(raw, self._clip, self.spec)

    def _clip(self, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def middle(frames: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            plausible = (rate >= RATES[0]) & (rate <= RATES[1])
            with tf.control_dependencies([tf.debugging.Assert(plausible, ["impossible sample rate", rate])]):
                wanted = tf.cast(tf.round(self.params.seconds * tf.cast(rate, tf.float64)), tf.int64)
            return tf.maximum((frames - wanted) // 2, 0), tf.minimum(frames, wanted)

        samples, source = decode_wav(file, middle)
        usable = tf.reduce_all(tf.math.is_finite(samples))
        usable &= tf.cast(tf.shape(samples)[0], tf.float64) >= LEAST_SECONDS * tf.cast(source, tf.float64)
        clip, _ = resample(tf.reduce_mean(samples, axis=1), source, self.params.rate, self.params.seconds)
        return clip, usable

    def content(self, values: np.ndarray) -> np.ndarray:
        return band_levels(values)

    def descriptor(self, values: np.ndarray) -> np.ndarray:
        """The shape of the spectrum in 16 parts of the clip."""
        frames = values[:, : values.shape[1] // 16 * 16].astype(np.float32).reshape(len(values), 16, -1)
        power = np.abs(np.fft.rfft(frames, axis=-1)).astype(np.float32)[..., 1:]
        edges = np.unique(np.geomspace(1, power.shape[-1], 13).astype(int))
        bands = [power[..., low:high].mean(axis=-1) for low, high in itertools.pairwise(edges)]
        return np.log1p(np.stack(bands, axis=-1)).reshape(len(values), -1)

    def render(self, value: np.ndarray) -> str:
        """A drawing of the waveform: lowest and highest sample of each of 200 pieces."""
        pieces = np.array_split(value, 200)
        lines = "".join(
            f"M{at} {50 - 48 * float(piece.max()):.1f}V{50 - 48 * float(piece.min()) + 0.5:.1f}"
            for at, piece in enumerate(pieces)
        )
        return (
            f'<svg viewBox="0 0 200 100" preserveAspectRatio="none" role="img" aria-label="{html.escape(self.name)}">'
            f'<path d="{lines}"/></svg>'
        )
