"""Decodes compressed sound with libsndfile, from the beginning of a file to its end.

In sequence, because its seeking is inexact in Ogg Vorbis and in MP3 of a variable bit rate; to the end, because that is where
a file is found to be broken, and because many MP3s do not say how long they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tfrecs.errors import DataError

Part = Callable[[int, int], tuple[int, int]]
"""The number of frames that a header announces, and their rate in Hz -> first frame and number of frames of a part."""

_BLOCK = 4096  # frames; of a block in which decoding fails nothing is left
_MOST_CHANNELS = 64
_UNKNOWN = 2**63 - 1  # SF_COUNT_MAX, of a FLAC written to a pipe
_FAR = 1 << 40  # bytes


@dataclass(frozen=True)
class Decoded:
    """What is in a sound file.

    Attributes:
      samples: float32 [n, channels], the part that was asked for, or what there is of it.
      rate: Hz.
      frames: number of frames in the file.
      promised: number of frames that its header announces; None where it does not.
      error: why decoding ended early; None where it did not.
    """

    samples: np.ndarray
    rate: int
    frames: int
    promised: int | None
    error: str | None


class _Endless:
    """An MP3 that seems to go on far behind its end, where there are zeros.

    libsndfile reads an MP3 without a tag only as far as it guesses from the size of the file and the bit rate of the first
    frame, which is too short where the bit rate varies. The end of this one it finds by reading.
    """

    def __init__(self, file: io.FileIO, start: int):
        self._file, self._start = file, start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = (self._start, self._file.tell(), _FAR)[whence] + offset
        return self._file.seek(max(position, self._start)) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def read(self, count: int) -> bytes:
        # The tag of 128 bytes that is looked for at the end.
        zeros = bytes(count if self._file.tell() > _FAR // 2 else 0)
        return self._file.read(count) or zeros


class _InSequence(soundfile.SoundFile):
    def seekable(self) -> bool:
        """False, or soundfile would seek after every block that it has read."""
        return False


def decode(path: Path, start: int, part: Part, *, endless: bool = False) -> Decoded:
    """Decode a whole file and keep a part; no more than that is held in memory.

    Args:
      path: a file of any format of libsndfile.
      start: byte at which the sound begins.
      part: chooses what is kept.
      endless: whether the file, an MP3, does not say how long it is.

    Raises:
      DataError: libsndfile cannot open it.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            # By its number: names need not be valid text, and an extension must not tell the format.
            source = _Endless(file, start) if endless else file.fileno()
            with _InSequence(source, closefd=False) as sound:
                if sound.channels > _MOST_CHANNELS:
                    raise DataError(f"{path.name}: its header says {sound.channels} channels; the file is broken")
                return _decode(sound, *part(sound.frames, sound.samplerate), known=not endless)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path.name}: not a readable sound file ({_reason(error)})") from error


def _decode(sound: soundfile.SoundFile, first: int, count: int, known: bool) -> Decoded:
    kept, frames, error = [np.zeros([0, sound.channels], np.float32)], 0, None
    while True:
        try:
            block = sound.read(_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as caught:
            error = _reason(caught)
            break
        if not len(block):
            break
        kept.append(block[max(0, first - frames) : max(0, first + count - frames)].copy())
        frames += len(block)
    promised = sound.frames if known and sound.frames < _UNKNOWN else None
    return Decoded(np.concatenate(kept), sound.samplerate, frames, promised, error)


def _reason(error: soundfile.LibsndfileError) -> str:
    return f"libsndfile: {error.error_string.removeprefix('Error : ').rstrip('.')}"
