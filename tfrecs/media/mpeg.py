"""Recognises MPEG audio (MP3) by several consecutive frames, because any two bytes of noise look like the start of one.

A decoder takes for MP3 whatever begins like a frame, and returns noise; and libsndfile finds no frame behind anything but
an ID3 tag.
"""

from __future__ import annotations

from pathlib import Path

from tfrecs.media.files import read_piece

# ISO/IEC 11172-3 and 13818-3, section 2.4.2.3. kbit/s by (MPEG 1?, layer), Hz of MPEG 1; index 0 is free, 15 forbidden.
_KBITS = {
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_DIVIDED = {3: 1, 2: 2, 0: 4}  # Version bits: MPEG 1, 2, 2.5.
_IN_A_ROW = 3
# Bytes. Some writers leave padding or the rest of another frame before the first one.
_SEARCHED = 1 << 16


def mpeg_start(path: Path, magic: bytes) -> int | None:
    """Return the byte of the first frame of a file that begins with `magic`; None if it is no MPEG audio.

    It is that where three frames of one kind follow each other within the first 64 KiB behind an ID3v2 tag.
    """
    tag = 0
    if magic.startswith(b"ID3"):
        # Seven bits a byte.
        tag = 10 + sum((byte & 0x7F) << 7 * (3 - position) for position, byte in enumerate(magic[6:10]))
    data = read_piece(path, tag, _SEARCHED)
    at = data.find(b"\xff")
    while at >= 0:
        if _frames_at(data, at):
            return tag + at
        at = data.find(b"\xff", at + 1)
    return None


def _frames_at(data: bytes, at: int) -> bool:
    kind = None
    for _ in range(_IN_A_ROW):
        frame = _frame(data[at : at + 4])
        if frame is None or (kind is not None and frame[0] != kind):
            return False
        kind = frame[0]
        at += frame[1]
    return True


def _frame(header: bytes) -> tuple[tuple[int, int, int], int] | None:
    """Return (version, layer, rate), which all frames of a file share, and the length of this frame in bytes."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < kbits < 15 or rate == 3:
        return None
    hertz = _RATES[rate] // _DIVIDED[version]
    bits = 1000 * _KBITS[version == 3, layer][kbits - 1]
    if layer == 1:
        return (version, layer, hertz), 4 * (12 * bits // hertz + padding)
    return (version, layer, hertz), (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding
