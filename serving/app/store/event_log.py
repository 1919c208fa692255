"""Interaction log in the columns of the data set: JSON lines that `triptych build --append` reads.

Lines are on disk before `append` returns. A file that reaches its size limit is closed and the next one begun.
Processes that share the folder take turns through a lock file. `forget` rewrites every file that names the user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from serving.app.store.base import Event

PATTERN = "interactions-*.jsonl"
_LOCK_FILE = ".lock"


@dataclass(frozen=True)
class LogColumns:
    """Names of the interaction columns of the data set.

    Attributes:
      user: column of user ids.
      item: column of item ids.
      time: column of unix seconds; "" if the data set has none.
      values: columns that take the event value (the value column and those of the labels); may be empty.
      context: context columns.
      kinds: kinds of events that are logged; a query has no item and never is.
      event_values: kind -> event value; a rating has its own, any other kind none.
      by_kind: column -> kind -> what the kind has there, such as a weight or the name of the event type; other kinds have
        nothing.
    """

    user: str
    item: str
    time: str
    values: tuple[str, ...]
    context: tuple[str, ...]
    kinds: frozenset[str]
    event_values: Mapping[str, float]
    by_kind: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)

    def row(self, user: str, event: Event) -> dict[str, Any]:
        """Return one line of the log. A build ignores `_event`, `_id` and `_list`."""
        value = event.value if event.kind == "rating" else self.event_values.get(event.kind)
        row: dict[str, Any] = {self.user: user, self.item: event.item}
        if self.time:
            row[self.time] = int(event.time)
        row |= dict.fromkeys(self.values, value)
        row |= {name: cells.get(event.kind) for name, cells in self.by_kind.items()}
        row |= {name: event.context.get(name) for name in self.context}
        return row | {"_event": event.kind, "_id": event.id, "_list": event.list_id}


class EventLog:
    """Appends events to the newest file of a folder.

    Args:
      folder: created if missing.
      columns: what a line holds.
      max_bytes: size at which the next file is begun.
    """

    def __init__(self, folder: Path, columns: LogColumns, max_bytes: int) -> None:
        self.folder, self.columns, self.max_bytes = folder, columns, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        """Write (user, event) pairs and return the number of lines. Raises OSError, such as a full disk."""
        rows = [self.columns.row(user, event) for user, event in batch if event.kind in self.columns.kinds]
        if not rows:
            return 0
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with self._locked():
            path = self._current_file()
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines  # a process was killed in the middle of a line
                _write_all(descriptor, lines)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self.folder)
        return len(rows)

    def forget(self, user: str) -> int:
        """Delete the lines of a user from every file and return how many there were. Raises OSError."""
        deleted = 0
        with self._locked():
            for path in self.files():
                lines = path.read_bytes().splitlines(keepends=True)
                remaining = [line for line in lines if _user_of(line, self.columns.user) != user]
                if len(remaining) == len(lines):
                    continue
                deleted += len(lines) - len(remaining)
                temporary = path.with_name(f".{path.name}.part")
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.writelines(remaining)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            if deleted:
                _sync_folder(self.folder)
        return deleted

    def files(self) -> list[Path]:
        """Return the files of the log, oldest first."""
        return sorted(self.folder.glob(PATTERN))

    def _current_file(self) -> Path:
        files = self.files()
        if files and files[-1].stat().st_size < self.max_bytes:
            return files[-1]
        number = int(files[-1].stem.rpartition("-")[2]) + 1 if files else 1
        return self.folder / f"interactions-{number:08d}.jsonl"

    def _locked(self) -> FileLock:
        return FileLock(self.folder / _LOCK_FILE, mode=0o600, poll_interval=0.002)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write everything or nothing: on an error the file is cut back to its former length."""
    start = os.fstat(descriptor).st_size
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def _user_of(line: bytes, column: str) -> str | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row.get(column) if isinstance(row, dict) else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
