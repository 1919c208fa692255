"""Reads sound files: WAV with `tfrecs.media.wav`, MP3, FLAC and Ogg Vorbis with tensorflow-io."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError, TriptychError
from tfrecs.media import flac, wav
from tfrecs.media.files import read_piece
from tfrecs.media.mpeg import first_frame, is_mpeg_audio

# The shortest usable clip: one window of the usual spectrogram (25 ms).
LEAST_SECONDS = 0.025
# Hz. Rates outside come from broken headers: telephones have 8 kHz, the fastest converters 768 kHz.
RATES = (1_000, 768_000)
# tensorflow-io (0.37.1) keeps one open file per process: opening another one, in any thread, changes what is read from
# the first. Without the lock items get the sound of others, and a FLAC beside an Ogg crashes the process.
_ONE_AT_A_TIME = threading.Lock()
_LONGEST_OGG_PAGE = 65_307
_REMEDY = "install tensorflow 2.17.1 with tensorflow-io 0.37.1, or convert the clips to WAV"


@dataclass(frozen=True)
class Sound:
    """A decoded clip.

    Attributes:
      samples: float32 [n, channels], full scale is 1.0.
      rate: Hz, as in the file.
    """

    samples: np.ndarray
    rate: int


def middle(length: int, wanted: int) -> tuple[int, int]:
    """Return first frame and number of frames of the middle `wanted` frames of a clip, or of all of a shorter one."""
    return max(0, (length - wanted) // 2), min(length, wanted)


def read_middle(path: Path, seconds: float, note: Callable[[str], None]) -> Sound:
    """Read the middle `seconds` of a sound file, or all of a shorter one.

    The middle, because recordings begin with silence, applause, a fade or an introduction. Only that part is held in
    memory.

    Args:
      path: WAV, MP3, FLAC or Ogg Vorbis, by content whatever the name says.
      seconds: length of the part.
      note: called with one line where the file is truncated and its remaining part is used.

    Raises:
      DataError: no such file, empty, broken, of an unknown codec or container, without sound.
      TriptychError: tensorflow-io is not installed, or its decoders do not load with this TensorFlow.
    """
    magic = read_piece(path, 0, 64)
    try:
        if magic[:4] in (b"RIFF", b"RF64") and magic[8:12] == b"WAVE":
            return _checked(path, _read_wav(path, seconds, note))
        _refuse_unreadable(path, magic)
        with flac.guarded_copy(path) if magic.startswith(b"fLaC") else nullcontext(path) as readable:
            sound = _read_native(path, readable, seconds)
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror or error})") from error
    if problem := _cut_short(path, magic):
        note(f"{path.name}: {problem}; the part that is there is used")
    return _checked(path, sound)


def _cut_short(path: Path, magic: bytes) -> str | None:
    """Describe how an MP3 or Ogg file with the first bytes `magic` is truncated; None if it is not.

    No decoder reports that. (A truncated FLAC file fails to decode.)
    """
    if magic.startswith(b"OggS"):
        return _ogg_cut_short(path)
    return _mp3_cut_short(path, magic)


def _mp3_cut_short(path: Path, magic: bytes) -> str | None:
    """Compare the file's size with that in the Xing or Info tag of its first frame, if it has one."""
    start = first_frame(magic)
    frame = read_piece(path, start, 200)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16 or frame[at + 7] & 3 != 3:
        return None
    promised = start + int.from_bytes(frame[at + 12 : at + 16], "big")
    size = path.stat().st_size
    return f"cut short ({size} of {promised} bytes)" if size < promised else None


def _ogg_cut_short(path: Path) -> str | None:
    """Look for the flag of a stream's last page (RFC 3533, section 6)."""
    tail = read_piece(path, -_LONGEST_OGG_PAGE, _LONGEST_OGG_PAGE)
    flags = tail[tail.rfind(b"OggS") + 5 :][:1]
    return None if flags and flags[0] & 4 else "cut short (its last page is missing)"


def _refuse_unreadable(path: Path, magic: bytes) -> None:
    if magic.startswith(b"OggS") and b"\x01vorbis" not in magic:
        codec = "FLAC" if b"FLAC" in magic else "Opus" if b"OpusHead" in magic else "something else"
        raise DataError(f"{path.name}: Ogg with {codec} in it, not Vorbis; convert it to WAV, MP3, FLAC or Ogg Vorbis")
    if magic[4:8] == b"ftyp":
        raise DataError(f"{path.name}: MP4 (AAC) cannot be read; convert it to WAV, MP3, FLAC or Ogg Vorbis")
    if magic.startswith(b"RIFX"):
        raise DataError(f"{path.name}: big-endian WAV (RIFX) cannot be read; convert it to WAV")
    if magic[:4] not in (b"OggS", b"fLaC") and not is_mpeg_audio(path, magic):
        raise DataError(
            f"{path.name}: not a readable MP3, FLAC, Ogg Vorbis or WAV file (nothing in it says what it is)"
        )


def _read_wav(path: Path, seconds: float, note: Callable[[str], None]) -> Sound:
    header = wav.read_header(path)
    _check_rate(path, header.rate)
    samples = wav.read_frames(path, header, *middle(header.frames, round(seconds * header.rate)))
    if header.promised is not None and header.frames < header.promised:
        there, promised = header.frames / header.rate, header.promised / header.rate
        if there < LEAST_SECONDS:
            raise DataError(f"{path.name}: holds {there:.3f} s of sound where its header says {promised:.3f} s")
        note(f"{path.name}: cut short ({there:.3f} s of {promised:.3f} s); the part that is there is used")
    return Sound(samples, header.rate)


def _read_native(path: Path, readable: Path, seconds: float) -> Sound:
    try:
        with _ONE_AT_A_TIME:
            clip = _tensor(str(readable))
            length, rate = int(clip.shape[0]), int(clip.rate)
            _check_rate(path, rate)
            first, count = middle(length, round(seconds * rate))
            samples = clip[first : first + count].numpy()
        return Sound(wav.unit_scale(samples), rate)
    except tf.errors.OpError as error:
        reason = _reason(error).replace(str(readable), path.name)
        raise DataError(f"{path.name}: not a readable MP3, FLAC, Ogg Vorbis or WAV file ({reason})") from error
    except UnicodeDecodeError as error:  # The native decoder quotes the file's bytes in its message.
        raise DataError(f"{path.name}: not a readable MP3, FLAC, Ogg Vorbis or WAV file") from error


def _tensor(path: str) -> Any:
    try:
        import tensorflow_io

        with tf.device("/CPU:0"):
            return tensorflow_io.audio.AudioIOTensor(path)
    except (ImportError, NotImplementedError) as error:
        raise TriptychError(
            f"{Path(path).name}: only WAV can be read here, tensorflow-io is not usable with TensorFlow "
            f"{tf.__version__}; {_REMEDY}"
        ) from error


def _check_rate(path: Path, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{path.name}: its header says {rate} samples a second; the file is broken")


def _checked(path: Path, sound: Sound) -> Sound:
    if len(sound.samples) < LEAST_SECONDS * sound.rate:
        raise DataError(f"{path.name}: holds {len(sound.samples) / sound.rate:.3f} s of sound, too little to use")
    if not np.isfinite(sound.samples).all():
        raise DataError(f"{path.name}: has samples that are NaN or infinite")
    return sound


def _reason(error: tf.errors.OpError) -> str:
    """Return the message without the brackets that TensorFlow puts around it."""
    return " ".join(error.message.split("}} ")[-1].split(" [Op:")[0].split())


def band_levels(waves: np.ndarray) -> np.ndarray:
    """Describe waves [B, samples] by mean and deviation over time of the log power in 32 log-spaced bands: float [B, 64]."""
    window, hop, bands = 1024, 512, 32
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(waves, np.float32), window, axis=1)[:, ::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    edges = np.unique(np.geomspace(2, power.shape[-1], bands + 1).astype(int))
    banded = np.log(np.add.reduceat(power, edges[:-1], axis=-1) + 1e-6)
    return np.concatenate([banded.mean(axis=1), banded.std(axis=1)], axis=1)
