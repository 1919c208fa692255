"""Log of shown lists for `triptych monitor`: one JSON line per list, without user ids.

Lines are not synced to disk one by one: losing the last second of a killed process does not matter for drift.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

PATTERN = "served-*.jsonl"
_LOCK_FILE, _FLUSH_SECONDS = ".lock", 1.0


class ImpressionLog:
    """Collects lines in memory and appends them once a second to the newest file of a folder.

    Processes that share the folder, such as an app and those of assistants, which are short, take turns through a lock file.

    Args:
      folder: created if missing.
      max_bytes: size at which the next file is begun.
      max_files: files that are kept; the oldest are deleted.
    """

    def __init__(self, folder: Path, max_bytes: int, max_files: int) -> None:
        self.folder, self.max_bytes, self.max_files = folder, max_bytes, max_files
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lines: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def add(self, **row: Any) -> None:
        """Add the line of one list."""
        self._lines.append(json.dumps(row, ensure_ascii=False) + "\n")

    def start(self) -> None:
        """Start the writing task in the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write the remaining lines and end the task."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # the same class from Python 3.11 on
                await asyncio.wait_for(self._stopping.wait(), _FLUSH_SECONDS)
            lines, self._lines = self._lines, []
            if lines:
                await asyncio.to_thread(self._write, "".join(lines))

    def _write(self, text: str) -> None:
        with FileLock(self.folder / _LOCK_FILE, mode=0o600, poll_interval=0.002):
            paths = sorted(self.folder.glob(PATTERN), key=lambda path: int(path.stem.split("-")[1]))
            if not paths or paths[-1].stat().st_size >= self.max_bytes:
                number = int(paths[-1].stem.split("-")[1]) + 1 if paths else 1
                paths.append(self.folder / f"served-{number:08d}.jsonl")
                for old in paths[: -self.max_files]:
                    old.unlink()
            with paths[-1].open("a", encoding="utf-8") as file:
                file.write(text)
