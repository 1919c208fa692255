"""Reads WAV files.

Own code, because `tf.audio.decode_wav` reads 16-bit PCM only and fails on chunks of odd length, libsndfile does not tell
that a file is cut short, and `scipy.io.wavfile` reads whole files and warns through global state. The format is a sequence of chunks: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft,
1991) and, for WAVE_FORMATEXTENSIBLE and RF64, EBU Tech 3306.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfrecs.errors import DataError

_PCM, _FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
CODINGS = {
    (_PCM, 1): "u1",
    (_PCM, 2): "<i2",
    (_PCM, 3): "i3",
    (_PCM, 4): "<i4",
    (_FLOAT, 4): "<f4",
    (_FLOAT, 8): "<f8",
}
"""Codec and bytes of a sample -> numpy's code of it, or `i3` for 24 bits, which numpy lacks."""
_CODECS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3"}
# A writer that cannot seek back (a pipe) leaves a length that no file has.
UNKNOWN_LENGTH = 0x7FFFF000
MOST_CHANNELS = 64
# A file whose rest is zeros would otherwise be walked through as empty chunks.
MOST_CHUNKS = 1000


@dataclass(frozen=True)
class WavHeader:
    """Position and coding of the samples.

    Attributes:
      coding: see `CODINGS`.
      channels: interleaved; a frame has one sample of each.
      rate: frames per second.
      start: offset of the samples in bytes.
      frames: number of frames in the file.
      promised: number of frames that the header announces; None where it does not say.
    """

    coding: str
    channels: int
    rate: int
    start: int
    frames: int
    promised: int | None

    @property
    def frame_bytes(self) -> int:
        return int(self.coding[-1]) * self.channels


def read_header(path: Path) -> WavHeader:
    """Read the header of a WAV file (RIFF or RF64).

    Raises:
      DataError: broken, or of a codec other than integer PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 bits.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(12)
        layout: tuple[str, int, int] | None = None
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            name, length = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                if layout is None:
                    raise DataError(f"{path.name}: WAV with its data before its format")
                return _with_data(layout, start=file.tell(), length=length, size=size)
            if name == b"fmt ":
                layout = _layout(path, file, length)
            file.seek(length % 2, 1) if name == b"fmt " else file.seek(length + length % 2, 1)
    raise DataError(f"{path.name}: WAV without a data chunk")


def _layout(path: Path, file: BinaryIO, length: int) -> tuple[str, int, int]:
    body = file.read(length)
    if len(body) < 16:
        raise DataError(f"{path.name}: WAV with a broken format chunk")
    codec, channels, rate, _, align, _ = struct.unpack("<HHIIHH", body[:16])
    if codec == EXTENSIBLE and len(body) >= 26:
        codec = struct.unpack("<H", body[24:26])[0]
    if not 1 <= channels <= MOST_CHANNELS or align % channels:
        raise DataError(f"{path.name}: WAV with {channels} channels in frames of {align} bytes")
    width = align // channels
    if (codec, width) not in CODINGS:
        name = {_PCM: "PCM", _FLOAT: "float"}.get(codec) or _CODECS.get(codec, f"codec {codec:#06x}")
        raise DataError(f"{path.name}: WAV of {name}, {8 * width} bits, cannot be read; convert it to 16-bit PCM")
    return CODINGS[codec, width], channels, rate


def _with_data(layout: tuple[str, int, int], *, start: int, length: int, size: int) -> WavHeader:
    coding, channels, rate = layout
    frame = int(coding[-1]) * channels
    available = size - start
    known = 0 < length < UNKNOWN_LENGTH
    frames = (min(length, available) if known else available) // frame
    return WavHeader(coding, channels, rate, start, frames, length // frame if known else None)


def read_frames(path: Path, header: WavHeader, first: int, count: int) -> np.ndarray:
    """Read frames `first` to `first + count`, fewer at the end of the file: float32 [count, channels], full scale is 1.0."""
    with path.open("rb") as file:
        file.seek(header.start + first * header.frame_bytes)
        data = file.read(min(count, header.frames - first) * header.frame_bytes)
    data = data[: len(data) // header.frame_bytes * header.frame_bytes]
    return _samples(data, header.coding).reshape(-1, header.channels)


def _samples(data: bytes, coding: str) -> np.ndarray:
    if coding == "i3":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return unit_scale(wide.view("<i4")[:, 0])
    return unit_scale(np.frombuffer(data, coding))


def unit_scale(samples: np.ndarray) -> np.ndarray:
    """Convert samples to float32: integers to [-1, 1), unsigned ones centred on 128; floats keep their values."""
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype.kind == "i":
        return (samples / float(2 ** (8 * samples.dtype.itemsize - 1))).astype(np.float32)
    with np.errstate(over="ignore"):
        return samples.astype(np.float32)
