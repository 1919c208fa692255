"""The mel filter bank."""

from __future__ import annotations

import numpy as np


def mel_filters(mels: int, nfft: int, rate: int, fmin: float, fmax: float) -> np.ndarray:
    """Weights of FFT bins in mel bands, float32 [nfft // 2 + 1, mels].

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
