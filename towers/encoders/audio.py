"""Audio: log-mel spectrogram into a convolutional tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from towers.encoders.base import Encoder
from towers.encoders.convolution import ResidualTower


class AudioEncoder(Encoder):
    """Waveform float [B, samples] -> log-mel [B, frames, mels] (`preprocess`) -> float [B, d] (`call`).

    The spectrogram is that of a Hann window (TensorFlow's own ops, so it may stand in a served graph), in natural-log
    power of the bands of `mel_filters`.
    In training SpecAugment (Park et al., 2019, arXiv:1904.08779) hides one band of mels and one run of frames.

    Args:
      schema: the feature's row in the manifest; `params` has `rate` (Hz) and `seconds`.
      mels: number of mel bands.
      window, hop: frame length and step in samples.
      fmin, fmax: band edges in Hz.
      mask: largest share of mels, and of frames, that SpecAugment masks.
      filters: channels of the tower's stages.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        mels: int,
        window: int,
        hop: int,
        fmin: float,
        fmax: float,
        mask: float,
        filters: Sequence[int],
        **kwargs: Any,
    ):
        super().__init__(schema, **kwargs)
        self.rate = int(self.schema.params["rate"])
        self.samples = round(self.rate * float(self.schema.params["seconds"]))
        self.mels, self.window, self.hop, self.fmin, self.fmax, self.mask = mels, window, hop, fmin, fmax, mask
        self.filters = tuple(filters)
        self.frames = -(-self.samples // hop)
        self.backbone = ResidualTower(self.filters)
        # Its random numbers are the layer's own, so they are part of the checkpoint like every dropout's.
        self.uniform = UniformNoise(dtype="float32")

    @property
    def output_dim(self) -> int:
        return self.filters[-1]

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.frames, self.mels], tf.float32)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        nfft = 1 << (self.window - 1).bit_length()
        spectrum = tf.signal.stft(values, self.window, self.hop, nfft, pad_end=True)
        # What tfio.audio.spectrogram does, without the root that squaring would take back.
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        mel = tf.tensordot(power, mel_filters(self.mels, nfft, self.rate, self.fmin, self.fmax), 1)
        # Not tfio.audio.dbscale: it clips against the loudest value of the whole batch, so that an item's
        # features would depend on its neighbours.
        return tf.ensure_shape(tf.math.log(mel + 1e-6), [None, self.frames, self.mels])

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        # Log power of speech and music lies about -14 (silence, by the floor above) to 6.
        x = (tf.cast(inputs, tf.float32) + 4.0) / 5.0
        if training and self.mask:
            x = self._spec_augment(x)
        return self.backbone(x[..., None])

    def _spec_augment(self, x: tf.Tensor) -> tf.Tensor:
        noise = self.uniform(tf.zeros([tf.shape(x)[0], 4], x.dtype))
        for axis, size, width, start in ((1, self.frames, 0, 1), (2, self.mels, 2, 3)):
            length = noise[:, width] * self.mask * size
            begin = noise[:, start] * (size - length)
            position = tf.range(size, dtype=x.dtype)[None, :]
            hidden = (position >= begin[:, None]) & (position < (begin + length)[:, None])
            x = tf.where(tf.expand_dims(hidden, 3 - axis), tf.zeros([], x.dtype), x)
        return x

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mels": self.mels,
            "window": self.window,
            "hop": self.hop,
            "fmin": self.fmin,
            "fmax": self.fmax,
            "mask": self.mask,
            "filters": list(self.filters),
        }


class UniformNoise(tf.keras.__internal__.layers.BaseRandomLayer):
    """Adds uniform noise from [0, 1), from a generator that checkpoints with the layer."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self._random_generator.random_uniform(tf.shape(inputs), dtype=inputs.dtype)


def mel_filters(mels: int, nfft: int, rate: int, fmin: float, fmax: float) -> np.ndarray:
    """Make the mel filter bank: weights of FFT bins in mel bands, float32 [nfft // 2 + 1, mels].

    Own code, because the filters must be HTK's and the graph must not depend on another library.

    Band k is a triangle over frequency in Hz, 1 at its centre and 0 at the centres of its neighbours; the centres are
    equidistant in mel = 2595 log10(1 + f / 700) between `fmin` and `fmax`. That is what HTK's scale means (S. Young et
    al., The HTK Book, section 5.4) and what `librosa.filters.mel(htk=True, norm=None)` gives.
    `tf.signal.linear_to_mel_weight_matrix` differs: its triangles are straight over mel.

    Args:
      mels: number of bands.
      nfft: length of the FFT in samples.
      rate: samples a second.
      fmin, fmax: the lower edge of the first band and the upper edge of the last one, in Hz.
    """
    bins = np.linspace(0.0, rate / 2, nfft // 2 + 1)[:, None]
    low, high = 2595.0 * np.log10(1.0 + np.array([fmin, fmax]) / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, mels + 2) / 2595.0) - 1.0)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
