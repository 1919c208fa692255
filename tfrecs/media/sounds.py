"""Reads sound files: WAV with `tfrecs.media.wav`, MP3, FLAC, Ogg Vorbis, Ogg Opus and AIFF with libsndfile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecs.errors import DataError, TriptychError
from tfrecs.media import wav
from tfrecs.media.files import read_piece
from tfrecs.media.mpeg import mpeg_start

# The shortest usable clip: one window of the usual spectrogram (25 ms).
LEAST_SECONDS = 0.025
# Hz. Rates outside come from broken headers: telephones have 8 kHz, the fastest converters 768 kHz.
RATES = (1_000, 768_000)
_LONGEST_OGG_PAGE = 65_307
_READABLE = "MP3, FLAC, Ogg Vorbis, Ogg Opus, AIFF or WAV"


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
      path: WAV, MP3, FLAC, Ogg Vorbis, Ogg Opus or AIFF, by content whatever the name says.
      seconds: length of the part.
      note: called with one line where the file is truncated and its remaining part is used.

    Raises:
      DataError: no such file, empty, broken, of an unknown codec or container, without sound.
      TriptychError: libsndfile is not installed.
    """
    magic = read_piece(path, 0, 64)
    try:
        if magic[:4] in (b"RIFF", b"RF64") and magic[8:12] == b"WAVE":
            return _checked(path, _read_wav(path, seconds, note))
        return _checked(path, _read_compressed(path, magic, seconds, note))
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror or error})") from error


def _read_compressed(path: Path, magic: bytes, seconds: float, note: Callable[[str], None]) -> Sound:
    start = _start(path, magic)
    try:
        from tfrecs.media.libsndfile import decode
    except (ImportError, OSError) as error:  # OSError: the package is there, the library is not
        raise TriptychError(
            f"{path.name}: only WAV can be read here, libsndfile does not load ({error}); pip install soundfile, or "
            "convert the clips to WAV"
        ) from error

    def part(length: int, rate: int) -> tuple[int, int]:
        _check_rate(path, rate)
        return middle(length, round(seconds * rate))

    container = magic[:4]
    endless = container not in (b"OggS", b"fLaC", b"FORM") and not _mp3_bytes(path, start)
    sound = decode(path, start, part, endless=endless)
    if sound.frames != sound.promised:
        length = sound.frames
        sound = decode(path, start, lambda _, rate: part(length, rate), endless=endless)
    there = f"{sound.frames / sound.rate:.3f} s"
    missing = sound.promised is not None and sound.frames < sound.promised
    of = f"{there} of {(sound.promised or 0) / sound.rate:.3f} s"
    if container == b"fLaC" and (sound.error is not None or missing):
        raise DataError(f"{path.name}: not a readable sound file ({sound.error or f'it ends after {of}'})")
    if sound.error is not None:
        note(f"{path.name}: broken after {there} ({sound.error}); the part before is used")
    elif problem := _cut_short(path, magic, start):
        note(f"{path.name}: {problem}; the part that is there is used")
    elif missing:
        note(f"{path.name}: has gaps ({of}); the part that is there is used")
    return Sound(sound.samples, sound.rate)


def _start(path: Path, magic: bytes) -> int:
    """Return the byte at which compressed sound begins. Raises DataError, saying of what kind a file is instead."""
    if magic.startswith(b"OggS") and b"\x01vorbis" not in magic and b"OpusHead" not in magic:
        codec = "FLAC" if b"FLAC" in magic else "Speex" if b"Speex" in magic else "something else"
        raise DataError(f"{path.name}: Ogg with {codec} in it, not Vorbis or Opus; convert it to WAV, MP3 or FLAC")
    if magic[4:8] == b"ftyp":
        raise DataError(f"{path.name}: MP4 (AAC) cannot be read; convert it to WAV, MP3 or FLAC")
    if magic.startswith(b"RIFX"):
        raise DataError(f"{path.name}: big-endian WAV (RIFX) cannot be read; convert it to WAV")
    if magic[:4] in (b"OggS", b"fLaC") or _is_aiff(magic):
        return 0
    start = mpeg_start(path, magic)
    if start is None:
        raise DataError(f"{path.name}: not a readable {_READABLE} file (nothing in it says what it is)")
    return start


def _is_aiff(magic: bytes) -> bool:
    return magic.startswith(b"FORM") and magic[8:12] in (b"AIFF", b"AIFC")


def _cut_short(path: Path, magic: bytes, start: int) -> str | None:
    """Describe how a file is truncated; None if it is not, or does not say how long it is. libsndfile does not tell.

    Args:
      path: MP3, Ogg or AIFF.
      magic: its first bytes.
      start: byte at which its sound begins.
    """
    if magic.startswith(b"OggS"):
        # The flag of a stream's last page (RFC 3533, section 6).
        tail = read_piece(path, -_LONGEST_OGG_PAGE, _LONGEST_OGG_PAGE)
        flags = tail[tail.rfind(b"OggS") + 5 :][:1]
        return None if flags and flags[0] & 4 else "cut short (its last page is missing)"
    promised = 8 + int.from_bytes(magic[4:8], "big") if _is_aiff(magic) else _mp3_bytes(path, start)
    size = path.stat().st_size
    return f"cut short ({size} of {promised} bytes)" if size < promised else None


def _mp3_bytes(path: Path, start: int) -> int:
    """Return the size of a file by the Xing or Info tag in its first frame; 0 where it has none."""
    frame = read_piece(path, start, 200)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16 or frame[at + 7] & 3 != 3:
        return 0
    return start + int.from_bytes(frame[at + 12 : at + 16], "big")


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


def _check_rate(path: Path, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{path.name}: its header says {rate} samples a second; the file is broken")


def _checked(path: Path, sound: Sound) -> Sound:
    if len(sound.samples) < LEAST_SECONDS * sound.rate:
        raise DataError(f"{path.name}: holds {len(sound.samples) / sound.rate:.3f} s of sound, too little to use")
    if not np.isfinite(sound.samples).all():
        raise DataError(f"{path.name}: has samples that are NaN or infinite")
    return sound


def band_levels(waves: np.ndarray) -> np.ndarray:
    """Describe waves [B, samples] by mean and deviation over time of the log power in 32 log-spaced bands: float [B, 64]."""
    window, hop, bands = 1024, 512, 32
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(waves, np.float32), window, axis=1)[:, ::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    edges = np.unique(np.geomspace(2, power.shape[-1], bands + 1).astype(int))
    banded = np.log(np.add.reduceat(power, edges[:-1], axis=-1) + 1e-6)
    return np.concatenate([banded.mean(axis=1), banded.std(axis=1)], axis=1)
