"""The exceptions for mistakes that a user can correct.

Every message is one line that names the thing and the remedy. The command line prints it and exits with
the error's status; any other exception that reaches the command line is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LONGEST = 60


class TriptychError(Exception):
    """Base of all errors about the user's input.

    Attributes:
      exit_status: with which the command line ends.
    """

    exit_status = 2


class SpecError(TriptychError):
    """`dataset.yaml` or a configuration has a missing or wrong key."""


class NoValueError(SpecError):
    """Not one value of a feature can be used.

    Attributes:
      faults: why, for each value; None where it is missing.
    """

    def __init__(self, message: str, faults: Sequence[str | None]):
        super().__init__(message)
        self.faults = tuple(faults)


class DataError(TriptychError):
    """A table, media file or record folder is missing, unreadable or not what the spec says."""


class TooManyRejectsError(DataError):
    """More rows or files were rejected than `--max-bad` allows, or all.

    Attributes:
      listing: content of `rejected.jsonl`.
    """

    def __init__(self, message: str, listing: str = ""):
        super().__init__(message)
        self.listing = listing


class DivergedError(TriptychError):
    """The loss of training became NaN or infinite."""


class WorkersError(TriptychError):
    """Other workers of a cluster did not come, or one was lost: nobody's input is wrong, and starting all again helps."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h, so that what restarts workers can tell it from a mistake


class ExportError(TriptychError):
    """An export did not pass its gate; nothing was written."""


def shorten(value: Any) -> str:
    """Format a value for a message: on one line, and truncated where a broken file has a long text in a field."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
