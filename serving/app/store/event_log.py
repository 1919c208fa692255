"""The log of events in the data set's own interactions columns: JSON lines that `triptych build --append` takes.

Lines are on the disk before `append` returns. A file that has grown to its limit is closed for good and another one
begun. Processes that share the folder take turns through a lock on it. `forget` writes every file that names the user
anew without those lines and puts it in the old one's place.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.app.store.events import Event

PATTERN = "interactions-*.jsonl"
_LOCK = ".lock"


@dataclass(frozen=True)
class Columns:
    """The names of the data set's interactions columns.

    Attributes:
      user, item, time: as in dataset.yaml; `time` "" where it names none.
      values: columns that say how good it was, the value's and the labels'; empty where there are none.
      context: columns of the event's context.
      kinds: events that are interactions; the others (a query has no item) are not logged.
      worth: kind -> the value that stands for it; a rating has its own, any other kind none.
    """

    user: str
    item: str
    time: str
    values: tuple[str, ...]
    context: tuple[str, ...]
    kinds: frozenset[str]
    worth: Mapping[str, float]

    def row(self, user: str, event: Event) -> dict[str, Any]:
        """One line of the log. `_event`, `_id` and `_list` are no columns of the data set; readers pass them over."""
        value = event.value if event.kind == "rating" else self.worth.get(event.kind)
        row: dict[str, Any] = {self.user: user, self.item: event.item}
        if self.time:
            row[self.time] = int(event.time)
        row |= dict.fromkeys(self.values, value)
        row |= {name: event.context.get(name) for name in self.context}
        return row | {"_event": event.kind, "_id": event.id, "_list": event.list_id}


class EventLog:
    """Appends to the newest file of a folder.

    Args:
      folder: made where it is not there.
      columns: what a line holds.
      max_bytes: a file that has as many is not written to any more.
    """

    def __init__(self, folder: Path, columns: Columns, max_bytes: int) -> None:
        self.folder, self.columns, self.max_bytes = folder, columns, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        """Writes (user, event) pairs; how many of them are interactions. Raises OSError (no space left, ...)."""
        rows = [self.columns.row(user, event) for user, event in batch if event.kind in self.columns.kinds]
        if not rows:
            return 0
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with self._alone():
            path = self._current()
            fresh = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines  # after half a line of a process that was killed while it wrote
                _write(descriptor, lines)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                _sync_folder(self.folder)
        return len(rows)

    def forget(self, user: str) -> int:
        """Removes every line of a user from every file, rotated ones too; how many. Raises OSError."""
        gone = 0
        with self._alone():
            for path in self.files():
                before = path.read_bytes().splitlines(keepends=True)
                after = [line for line in before if _user_of(line, self.columns.user) != user]
                if len(after) == len(before):
                    continue
                gone += len(before) - len(after)
                temporary = path.with_name(f".{path.name}.part")
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.writelines(after)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            if gone:
                _sync_folder(self.folder)
        return gone

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob(PATTERN))

    def _current(self) -> Path:
        files = self.files()
        if files and files[-1].stat().st_size < self.max_bytes:
            return files[-1]
        number = int(files[-1].stem.rpartition("-")[2]) + 1 if files else 1
        return self.folder / f"interactions-{number:08d}.jsonl"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # and with it the lock


def _write(descriptor: int, content: bytes) -> None:
    """All of it: a write may take a part, and a part of a line is not one."""
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
