"""The mel filter bank, by hand and against librosa, and the spectrogram made with it."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import CASES

from towers.encoders.audio import AudioEncoder, mel_filters


def test_bands_are_triangles_in_hertz_with_centres_equidistant_in_mel() -> None:
    # Equidistant in log(1 + f / 700): 1 + f / 700 = 1, 2, 4, 8, so edges and centres are 0, 700, 2100 and 4900 Hz.
    # A bin every 700 Hz.
    filters = mel_filters(mels=2, nfft=16, rate=11200, fmin=0.0, fmax=4900.0)
    assert filters.dtype == np.float32
    np.testing.assert_allclose(filters[:, 0], [0, 1, 0.5, 0, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(filters[:, 1], [0, 0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0], atol=1e-6)


def test_the_lowest_frequency_moves_the_first_edge() -> None:
    # 1 + f / 700 = 2, 4, 8: one band from 700 over 2100 to 4900 Hz.
    filters = mel_filters(mels=1, nfft=16, rate=11200, fmin=700.0, fmax=4900.0)
    np.testing.assert_allclose(filters[:, 0], [0, 0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("mels", "nfft", "rate", "fmin", "fmax"), [(64, 512, 16000, 60, 7600), (128, 2048, 44100, 0, 22050)]
)
def test_filters_are_those_of_librosa(mels: int, nfft: int, rate: int, fmin: float, fmax: float) -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=rate, n_fft=nfft, n_mels=mels, fmin=fmin, fmax=fmax, htk=True, norm=None)
    np.testing.assert_allclose(mel_filters(mels, nfft, rate, fmin, fmax), expected.T, atol=1e-5)


def test_a_spectrogram_is_that_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    # A window as long as the FFT: librosa puts a shorter one in the middle of its frame, TensorFlow at the start.
    encoder = AudioEncoder(**{**CASES["AudioEncoder"].config, "window": 512})
    clips = np.random.default_rng(0).normal(0, 0.1, (2, encoder.samples)).astype(np.float32)
    padded = np.pad(clips, [(0, 0), (0, (encoder.frames - 1) * encoder.hop + 512 - encoder.samples)])
    expected = librosa.feature.melspectrogram(
        y=padded, sr=encoder.rate, n_fft=512, hop_length=encoder.hop, center=False, power=2.0, n_mels=encoder.mels,
        fmin=encoder.fmin, fmax=encoder.fmax, htk=True, norm=None,
    )  # fmt: skip
    power = np.exp(encoder.preprocess(clips)) - 1e-6
    np.testing.assert_allclose(power, expected.transpose(0, 2, 1), atol=1e-4 * expected.max())
