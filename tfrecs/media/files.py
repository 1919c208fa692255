"""Reads parts of files, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

from tfrecs.errors import DataError


def read_piece(path: Path, start: int, count: int) -> bytes:
    """Read at most `count` bytes from byte `start` on (counted from the end where negative).

    Raises:
      DataError: no such file, unreadable, or empty.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise DataError(f"{path.name}: the file is empty")
            file.seek(max(0, size + start) if start < 0 else start)
            return file.read(count)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path.name}: cannot be read ({reason})") from error
