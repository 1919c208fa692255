"""The one tree of exceptions for mistakes that a user can mend.

Every message is one line that names the thing and the remedy. The command line prints it and exits with 2;
any other exception that reaches the command line is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import Any

_LONGEST = 60


class TriptychError(Exception):
    """Base of all errors that are about the user's input, not about our code."""


class SpecError(TriptychError):
    """`dataset.yaml` or a configuration does not say what it must."""


class DataError(TriptychError):
    """A table, media file or record folder is missing, unreadable or not what the spec says."""


class TooManyRejectsError(DataError):
    """More rows or files were rejected than `--max-bad` allows."""


class DivergedError(TriptychError):
    """Training left the numbers that float32 can hold."""


class ExportError(TriptychError):
    """An export did not pass its gate; nothing was written."""


def shorten(value: Any) -> str:
    """A value as a message shows it: on one line, and cut where a broken file has put a book into a field."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
