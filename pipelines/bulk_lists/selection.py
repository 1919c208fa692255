"""Which users get a list: all, given ones, one shard of several; and ids in options and files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tfrecs.errors import DataError, SpecError
from tfrecs.rejects import Rejects
from tfrecs.schema import request_fault
from tfrecs.tables.files import suffix_of
from tfrecs.tables.table import as_ids, read_table

ALL = "all"


@dataclass(frozen=True)
class Selection:
    """Which users get a list.

    Attributes:
      ids: user ids, different ones, in the order of the lists; None = all.
      shard: (number from 1, number of shards).
    """

    ids: tuple[str, ...] | None = None
    shard: tuple[int, int] = (1, 1)

    @property
    def given(self) -> tuple[str, ...] | None:
        """The ids of this shard; None = all."""
        return None if self.ids is None else tuple(user for user in self.ids if self.in_shard(user))

    def in_shard(self, user: str) -> bool:
        """Whether a user is of this shard: by the id alone, so that new users move no others."""
        number, of = self.shard
        return zlib.crc32(user.encode()) % of == number - 1


def read_shard(text: str) -> tuple[int, int]:
    """Read `i/n`. Raises SpecError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if not 1 <= number <= of:
        raise SpecError(f"--shard {text}: write it as i/n, from 1/n to n/n, such as 2/4")
    return number, of


def shard_path(out: Path, shard: tuple[int, int]) -> Path:
    """Return the file of a shard: `lists.parquet` -> `lists-2-of-4.parquet`."""
    number, of = shard
    return out if of == 1 else out.with_name(f"{out.stem}-{number}-of-{of}{out.suffix}")


def read_ids(option: str, text: str, column: str) -> tuple[str, ...]:
    """Read ids, each once, in their order.

    Args:
      option: its name, for messages.
      text: ids separated by commas; or a file: a table with the column, or one id on each line.
      column: name of the column in a table.

    Raises:
      DataError: there is no such file or column, or not one id.
    """
    path = Path(text)
    if path.is_file():
        if suffix_of(path.name):
            rejects = Rejects()
            table = read_table(path.parent, path.name, [column], rejects, None)
            ids = as_ids(table.column(column)).dropna().tolist()
        else:
            ids = path.read_text(encoding="utf-8-sig").split("\n")
    elif suffix_of(text) or path.suffix == ".txt" or path.is_dir():
        raise DataError(f"{option} {text}: no such file; name one, or give ids separated by commas")
    else:
        ids = text.split(",")
    ids = [*dict.fromkeys(part.strip() for part in ids if part.strip())]
    if not ids:
        raise DataError(f"{option} {text}: no id there")
    return tuple(ids)


def read_moment(option: str, text: str) -> int:
    """Read unix seconds or an ISO-8601 time (UTC unless it says otherwise). Raises SpecError."""
    try:
        if re.fullmatch(r"-?\d+", text):
            seconds = int(text)
        else:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 reads no Z
            seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError):
        raise SpecError(f"{option} {text}: give unix seconds, or a time such as 2026-01-31T08:00") from None
    fault = request_fault(seconds)
    if fault:
        raise SpecError(f"{option} {text}: {fault}")
    return seconds


def shown(ids: Sequence[str]) -> str:
    """Return the first ids for a message."""
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
