"""SQLite store, the embedded default: all events in one file.

WAL with synchronous=FULL puts a commit on disk before `append` returns, so that neither a killed process nor a power
cut loses it. One thread of this process writes; other processes take turns with it through SQLite's lock. secure_delete
and a truncated WAL remove deleted events from the free pages of the file as well.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from serving.app.store.base import Event, Retention, StoreError

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
  user TEXT NOT NULL, time REAL NOT NULL, id TEXT NOT NULL, event TEXT NOT NULL,
  PRIMARY KEY (user, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON events (user, time, id);
CREATE INDEX IF NOT EXISTS by_age ON events (time);
"""
_CLEANUP_SECONDS = 600.0  # between two deletions of the expired events of all users


class SqliteStore:
    """A `Store` in a SQLite file. Create it with `open`."""

    def __init__(self, path: Path, retention: Retention, timeout: float) -> None:
        self.path, self.retention, self._timeout = path, retention, timeout
        # A SQLite connection belongs to one thread: one thread writes, the other one reads at the same time.
        self._write_pool = ThreadPoolExecutor(1, "sqlite-write")
        self._read_pool = ThreadPoolExecutor(1, "sqlite-read")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._cleaned = 0.0

    @classmethod
    async def open(cls, path: Path, retention: Retention, timeout: float) -> SqliteStore:
        """Open the file, or create it with its folder, readable by its owner only. Raises StoreError."""
        store = cls(path, retention, timeout)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise StoreError(f"{path}: cannot be created ({error.strerror}); give app.store another path") from error
        store._writer = await store._run(store._write_pool, store._connect)
        store._reader = await store._run(store._read_pool, store._connect)
        return store

    async def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        return await self._run(self._write_pool, lambda: self._append(batch))

    async def read(self, user: str) -> list[Event]:
        return await self._run(self._read_pool, lambda: self._read(user))

    async def delete(self, user: str) -> int:
        return await self._run(self._write_pool, lambda: self._delete(user))

    async def ping(self) -> None:
        def take_write_lock() -> None:
            writer = self._connected(self._writer)
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("ROLLBACK")

        if not self.path.is_file():
            raise StoreError(f"{self.path}: the file was deleted; restart the app")
        await self._run(self._write_pool, take_write_lock)

    async def close(self) -> None:
        for pool, connection in ((self._read_pool, self._reader), (self._write_pool, self._writer)):
            if connection is not None:
                await self._run(pool, connection.close)
            pool.shutdown()
        self._reader = self._writer = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.executescript(_TABLES)
        return connection

    def _append(self, batch: Sequence[tuple[str, Event]]) -> int:
        writer, now = self._connected(self._writer), time.time()
        expired = now - self.retention.seconds
        with _Transaction(writer):
            before = writer.total_changes
            writer.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)",
                [(user, event.time, event.id, event.to_json()) for user, event in batch],
            )
            new = writer.total_changes - before
            for user in {user for user, _ in batch}:
                writer.execute(
                    "DELETE FROM events WHERE user = ?1 AND (time < ?2 OR id IN (SELECT id FROM events WHERE user = ?1 "
                    "ORDER BY time DESC, id DESC LIMIT -1 OFFSET ?3))",
                    (user, expired, self.retention.events),
                )
            if now - self._cleaned > _CLEANUP_SECONDS:
                writer.execute("DELETE FROM events WHERE time < ?", (expired,))
                self._cleaned = now
        return new

    def _read(self, user: str) -> list[Event]:
        rows = self._connected(self._reader).execute(
            "SELECT event FROM events WHERE user = ? AND time >= ? ORDER BY time, id",
            (user, time.time() - self.retention.seconds),
        )
        return [Event.from_json(text) for (text,) in rows]

    def _delete(self, user: str) -> int:
        writer = self._connected(self._writer)
        with _Transaction(writer):
            count = writer.execute("DELETE FROM events WHERE user = ?", (user,)).rowcount
        # The WAL contains the deleted pages. A reader in another process may keep it open for a moment.
        deadline = time.monotonic() + self._timeout
        while writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"{self.path}: deleted, but not yet from {self.path.name}-wal, which is in use; try again"
                )
            time.sleep(0.02)
        return count

    def _connected(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreError(f"{self.path}: closed")
        return connection

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the store does not answer ({error})") from error


class _Transaction:
    """A transaction that takes the write lock at its start, so that no later statement can fail for lack of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
