"""A guard against FLAC files that would never end.

tensorflow-io (0.37.1) decodes frames until it has as many samples as the header announces, and libFLAC reports
success again and again once it is at the end of its input: a file whose last frames are broken or missing is decoded
for ever. Frames behind the last whose number is none that can follow turn that into an error: a sound file is complete
before the decoder gets there, and in a broken one the number does not fit.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

# A frame that is cut off swallows what follows up to its own length, at most this: samples, channels, bytes of each.
_LONGEST_FRAME = 65_536 * 8 * 4


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    register, mask = 0, (1 << bits) - 1
    for byte in data:
        register ^= byte << (bits - 8)
        for _ in range(8):
            register = (register << 1 ^ (polynomial if register >> (bits - 1) else 0)) & mask
    return register


@lru_cache(maxsize=1)
def stop_frame() -> bytes:
    """A valid frame of 16 silent 8-bit samples, with the highest number there is (RFC 9639, section 9)."""
    number = (1 << 36) - 1
    coded = bytes([0xFE, *(0x80 | number >> shift & 0x3F for shift in range(30, -1, -6))])
    # Sync with variable block size; block size in 8 bits behind the number, rate of the stream; mono, 8 bits.
    header = bytes([0xFF, 0xF9, 0x60, 0x02]) + coded + bytes([16 - 1])
    header += bytes([_crc(header, 0x07, 8)])
    frame = header + bytes([0x00, 0x00])  # One constant subframe, of value 0.
    return frame + struct.pack(">H", _crc(frame, 0x8005, 16))


@contextmanager
def guarded_copy(path: Path) -> Iterator[Path]:
    """A temporary copy of a FLAC file with as many of `stop_frame` behind it that one of them is seen."""
    with tempfile.NamedTemporaryFile(suffix=".flac") as copy:
        with path.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.write(stop_frame() * (_LONGEST_FRAME // len(stop_frame()) + 2))
        copy.flush()
        yield Path(copy.name)
