"""Guard against FLAC files on which the decoder would never return.

tensorflow-io (0.37.1) decodes frames until it has as many samples as the header announces, and libFLAC keeps reporting
success at the end of its input, so a file whose last frames are broken or missing is decoded for ever. No library guards
against that. Appended frames with an impossible number turn it into an error: a sound file is complete before the decoder
reaches them, and in a broken one the number does not fit.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

# A truncated frame swallows what follows up to its own length, at most samples x channels x bytes of a sample.
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
    """Make a valid frame of 16 silent 8-bit samples, with the highest frame number (RFC 9639, section 9)."""
    number = (1 << 36) - 1
    coded = bytes([0xFE, *(0x80 | number >> shift & 0x3F for shift in range(30, -1, -6))])
    # Sync with variable block size; block size in 8 bits behind the number, rate of the stream; mono, 8 bits.
    header = bytes([0xFF, 0xF9, 0x60, 0x02]) + coded + bytes([16 - 1])
    header += bytes([_crc(header, 0x07, 8)])
    frame = header + bytes([0x00, 0x00])  # One constant subframe, of value 0.
    return frame + struct.pack(">H", _crc(frame, 0x8005, 16))


@contextmanager
def guarded_copy(path: Path) -> Iterator[Path]:
    """Provide a temporary copy of a FLAC file, followed by enough of `stop_frame` for the decoder to see one."""
    with tempfile.NamedTemporaryFile(suffix=".flac") as copy:
        with path.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.write(stop_frame() * (_LONGEST_FRAME // len(stop_frame()) + 2))
        copy.flush()
        yield Path(copy.name)
