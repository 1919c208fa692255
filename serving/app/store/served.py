"""What was shown, for `triptych monitor`: one line of JSON for each list, with no user in it.

Not flushed to the disk line by line: what a killed app has shown in its last second is of no account to drift.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

PATTERN = "served-*.jsonl"
_SECONDS = 1.0


class ServedLog:
    """Lines gather in memory and are written once a second, by this process into files of its own.

    Args:
      folder: made where it is not there.
      max_bytes: of a file, before the next one is begun.
      files: how many are kept; the oldest go.
    """

    def __init__(self, folder: Path, max_bytes: int, files: int) -> None:
        self.folder, self.max_bytes, self.files = folder, max_bytes, files
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lines: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._path: Path | None = None

    def note(self, **row: Any) -> None:
        """One list that was shown."""
        self._lines.append(json.dumps(row, ensure_ascii=False) + "\n")

    def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Writes what is left."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # one and the same from Python 3.11 on
                await asyncio.wait_for(self._stopping.wait(), _SECONDS)
            lines, self._lines = self._lines, []
            if lines:
                await asyncio.to_thread(self._write, "".join(lines))

    def _write(self, text: str) -> None:
        if self._path is None or self._path.stat().st_size >= self.max_bytes:
            names = sorted(self.folder.glob(PATTERN), key=lambda path: int(path.stem.split("-")[1]))
            number = int(names[-1].stem.split("-")[1]) + 1 if names else 1
            self._path = self.folder / f"served-{number:08d}-{os.getpid()}.jsonl"
            for old in names[: max(0, len(names) + 1 - self.files)]:
                old.unlink(missing_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
