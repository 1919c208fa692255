"""Whether a compressed sound file is whole, as far as its format tells."""

from __future__ import annotations

from pathlib import Path

from tfrecs.media.files import read_piece
from tfrecs.media.mpeg import first_frame

_LONGEST_OGG_PAGE = 65_307


def cut_short(path: Path, magic: bytes) -> str | None:
    """What is missing of an MP3 or Ogg file, or None; its first bytes are `magic`. (FLAC fails to decode instead.)"""
    if magic.startswith(b"OggS"):
        return _ogg_cut_short(path)
    return _mp3_cut_short(path, magic)


def _mp3_cut_short(path: Path, magic: bytes) -> str | None:
    """Compares the file's size with what the Xing or Info tag of its first frame says, if it has one."""
    start = first_frame(magic)
    frame = read_piece(path, start, 200)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16 or frame[at + 7] & 3 != 3:
        return None
    promised = start + int.from_bytes(frame[at + 12 : at + 16], "big")
    size = path.stat().st_size
    return f"cut short ({size} of {promised} bytes)" if size < promised else None


def _ogg_cut_short(path: Path) -> str | None:
    """The last page of a stream has a flag that says so (RFC 3533, section 6)."""
    tail = read_piece(path, -_LONGEST_OGG_PAGE, _LONGEST_OGG_PAGE)
    flags = tail[tail.rfind(b"OggS") + 5 :][:1]
    return None if flags and flags[0] & 4 else "cut short (its last page is missing)"
