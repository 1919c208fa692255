"""Sound clips: the audio block as tempo, timbre, contour and mode of a short melody over a drone."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Sequence

import numpy as np

from tfrecs.demo import exact
from tfrecs.demo.world import TOP_LEVEL, between_levels

RATE = 16_000  # Hz
SECONDS = 2.0
PEAK = 0.8  # of full scale
_STRIDE = 128  # samples

TEMPO, TIMBRE, CONTOUR, MODE = range(4)  # what the factors of the audio block stand for

SLOWEST, FASTEST = 2.0, 9.0  # notes a second
LOWEST_TONIC, OCTAVES = 110.0, 2.0  # Hz of the tonic of the darkest mode; the brightest lies OCTAVES above it

# The church modes without the Locrian from dark to bright, semitones above the tonic.
SCALES = (
    (0, 1, 3, 5, 7, 8, 10),  # Phrygian
    (0, 2, 3, 5, 7, 8, 10),  # Aeolian
    (0, 2, 3, 5, 7, 9, 10),  # Dorian
    (0, 2, 4, 5, 7, 9, 10),  # Mixolydian
    (0, 2, 4, 5, 7, 9, 11),  # Ionian
    (0, 2, 4, 6, 7, 9, 11),  # Lydian
)
# Of each timbre: partials as (ratio to the fundamental, strength), attack and decay in seconds.
TIMBRES: tuple[tuple[tuple[tuple[float, float], ...], float, float], ...] = (
    (((1, 1.0),), 0.06, 1.2),  # flute
    (((1, 1.0), (2, 0.8), (4, 0.6), (8, 0.35)), 0.03, 2.0),  # organ
    (((1, 1.0), (3, 0.75), (5, 0.5), (7, 0.35), (9, 0.2)), 0.03, 0.8),  # clarinet
    (tuple((h, 1.0 / h) for h in range(1, 7)), 0.004, 0.16),  # plucked string
    (((1, 0.7), (2.76, 1.0), (5.4, 0.8), (8.93, 0.5)), 0.002, 0.35),  # bell
    (tuple((h, round(h**-0.4, 6)) for h in range(1, 17)), 0.008, 0.6),  # brass
)


def play_clip(factors: np.ndarray, rng: np.random.Generator) -> bytes:
    """A WAV file: SECONDS seconds, RATE Hz, mono, 16 bit.

    Args:
      factors: float64 [4] in levels: tempo, timbre, contour and mode.
      rng: draws the start, small steps off the contour, and the loudness of notes.
    """
    share = factors / TOP_LEVEL
    tempo = float(SLOWEST * exact.power(FASTEST / SLOWEST, share[TEMPO]))
    tonic = float(LOWEST_TONIC * exact.power(2.0, OCTAVES * share[MODE] + exact.normal(rng) / 12))
    scale = SCALES[int(np.rint(factors[MODE]))]
    onsets = np.arange(math.ceil((SECONDS - 0.08) * tempo)) / tempo + exact.uniform(rng, 0.0, 0.05)
    degrees = np.rint(5.0 + 5.0 * _contour(factors[CONTOUR], onsets / SECONDS) + 0.35 * exact.normal(rng, len(onsets)))
    signal = 0.12 * _drone(tonic / 2, scale)
    for onset, degree in zip(onsets, degrees.astype(int), strict=True):
        start = int(onset * RATE)
        seconds = min(1.1 / tempo, SECONDS - start / RATE)
        octave, step = divmod(degree, len(scale))
        note = _note(float(tonic * exact.power(2.0, octave + scale[step] / 12)), seconds, factors[TIMBRE])
        signal[start : start + len(note)] += exact.uniform(rng, 0.8, 1.0) * note[: len(signal) - start]
    signal += 0.002 * exact.normal(rng, len(signal))
    fade = np.minimum(1.0, np.minimum(np.arange(len(signal)), np.arange(len(signal))[::-1]) / (0.01 * RATE))
    signal *= fade  # before the peak is taken: it may lie where the clip fades
    signal *= PEAK / np.abs(signal).max()
    return _wav(np.rint(signal * 32767).astype("<i2"))


def _contour(factor: float, at: np.ndarray) -> np.ndarray:
    """Height of the melody in [-1, 1] at times `at` in [0, 1]: falling, valley, low, zigzag, arch, rising."""
    curves = (
        1.0 - 2.0 * at,
        np.abs(2.0 * at - 1.0) * 2.0 - 1.0,
        np.full_like(at, -0.9),
        np.where(np.arange(len(at)) % 2 == 0, -0.8, 0.9),
        1.0 - np.abs(2.0 * at - 1.0) * 2.0,
        2.0 * at - 1.0,
    )
    low, high, share = between_levels(factor)
    return (1.0 - share) * curves[low] + share * curves[high]


def _note(pitch: float, seconds: float, factor: float) -> np.ndarray:
    low, high, share = between_levels(factor)
    return (1.0 - share) * _tone(pitch, seconds, low) + share * _tone(pitch, seconds, high)


def _tone(pitch: float, seconds: float, timbre: int) -> np.ndarray:
    """One note of one timbre, float64 [seconds * RATE], its peak about 1. Partials above the Nyquist rate are left out."""
    partials, attack, decay = TIMBRES[timbre]
    time = np.arange(int(seconds * RATE)) / RATE
    heard = [(ratio, strength) for ratio, strength in partials if ratio * pitch < 0.45 * RATE]
    total = sum(strength for _, strength in heard)
    # Higher partials die sooner, as on a string.
    voice = _sines([(ratio * pitch, math.sqrt(ratio) / decay, strength) for ratio, strength in heard], len(time))
    release = np.minimum(1.0, (seconds - time) / 0.02)
    return np.minimum(1.0, time / attack) * release * voice / max(total, 1.0)


def _drone(pitch: float, scale: tuple[int, ...]) -> np.ndarray:
    """Tonic, third and fifth of the scale as soft sines under the whole clip."""
    pitches = [float(pitch * exact.power(2.0, scale[step] / 12)) for step in (0, 2, 4)]
    return _sines([(pitch, 0.0, 1.0) for pitch in pitches], int(SECONDS * RATE))


def _sines(parts: Sequence[tuple[float, float, float]], samples: int) -> np.ndarray:
    """Sum of sines, float64 [samples]. Each part: pitch in Hz, decay in 1 / seconds, strength.

    Products of two short tables by the addition theorem, sin(a + b) = sin a cos b + cos a sin b, in place of a sine and
    an exponential a sample.
    """
    starts = np.arange(-(-samples // _STRIDE)) * _STRIDE
    time = np.concatenate([starts, np.arange(_STRIDE)]) / RATE
    pitch, decay, strength = np.array(parts, np.float64).reshape(-1, 3, 1).transpose(1, 0, 2)
    envelope, angle = exact.exp(-decay * time), 2 * math.pi * pitch * time
    sine, cosine = envelope * exact.sin(angle), envelope * exact.cos(angle)
    signal = np.zeros([len(starts), _STRIDE])
    for part in range(len(parts)):
        coarse_sine, fine_sine = sine[part, : len(starts), None], strength[part] * sine[part, len(starts) :]
        coarse_cosine, fine_cosine = cosine[part, : len(starts), None], strength[part] * cosine[part, len(starts) :]
        signal += coarse_sine * fine_cosine
        signal += coarse_cosine * fine_sine
    return signal.ravel()[:samples]


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
