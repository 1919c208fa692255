"""The hidden folder in which a build writes its records, so that a killed build can be taken up again."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from tfrecs.errors import DataError, TriptychError
from tfrecs.records import sha256
from tfrecs.rejects import Reject
from tfrecs.schema import ShardInfo


class FinishedShard(BaseModel):
    """A shard that is completely written, with what the manifest and the list of rejects need of it.

    Attributes:
      key: digest of everything that the shard was made of.
      info: name, size and checksum.
      present: item feature -> number of the shard's items that have it.
      seen: source -> number of values examined (see `Rejects.seen`).
      rejects: what was refused while the shard was made, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    info: ShardInfo
    present: dict[str, int] = {}
    seen: dict[str, int] = {}
    rejects: tuple[Reject, ...] = ()


class WorkFolder:
    """The folder of a build under way.

    `records/` holds the shards, `journal/` one note for each shard that is complete.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.records, self._journal = folder / "records", folder / "journal"
        for part in (self.records, self._journal):
            part.mkdir(parents=True, exist_ok=True)

    def finished(self, name: str, key: str) -> FinishedShard | None:
        """Return a complete shard of that name if it was made of the same input (`key`) and is unchanged since; else None."""
        path, entry = self.records / name, self._journal / f"{name}.json"
        if not path.is_file() or not entry.is_file():
            return None
        try:
            shard = FinishedShard.model_validate_json(entry.read_bytes())
        except ValidationError:  # Not swallowed: of another version of ours, so the shard is made again.
            return None
        same = shard.key == key and path.stat().st_size == shard.info.bytes and sha256(path) == shard.info.sha256
        return shard if same else None

    def finish(self, shard: FinishedShard) -> FinishedShard:
        """Note that a shard is complete. The note is written atomically."""
        entry = self._journal / f"{shard.info.name}.json"
        replace_file(entry, shard.model_dump_json())
        return shard

    def text_file(self, name: str, key: str, make: Callable[[], str]) -> None:
        """Write a text file among the records, or keep the one that was made of the same input (`key`)."""
        path, entry = self.records / name, self._journal / f"{name}.key"
        if not (path.is_file() and entry.is_file() and entry.read_text(encoding="utf-8") == f"{key} {sha256(path)}"):
            path.write_text(make(), encoding="utf-8")
            replace_file(entry, f"{key} {sha256(path)}")

    def keep_only(self, names: Collection[str]) -> None:
        """Remove files that an earlier build with other input left among the records."""
        for path in self.records.iterdir():
            if path.name not in names:
                path.unlink()


@contextmanager
def work_folder(out: Path) -> Iterator[WorkFolder]:
    """Open the work folder of the records at `out`, taking up one that a killed build has left.

    After a TriptychError (a mistake in the input) the folder is removed. After anything else (a kill, Ctrl-C, a full disk)
    it stays, so that the same build continues where it stopped.

    Raises:
      DataError: another build is writing the same records.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    folder, former = _beside(out, "partial"), _beside(out, "former")
    if former.exists() and not out.exists():  # Killed between the two renames of `replace_folder`.
        former.rename(out)
    folder.mkdir(exist_ok=True)
    try:
        lock = FileLock(folder / "lock").acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"{out}: another build is writing it; wait for it or name another folder") from error
    with lock:
        try:
            yield WorkFolder(folder)
        except TriptychError:
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
        shutil.rmtree(former, ignore_errors=True)


def replace_folder(out: Path, whole: Path) -> None:
    """Move the folder `whole` to `out`. `work_folder` repairs what a kill between the two renames leaves."""
    former = _beside(out, "former")
    shutil.rmtree(former, ignore_errors=True)
    if out.exists():
        out.rename(former)
    whole.rename(out)


def replace_file(path: Path, text: str) -> None:
    """Write a file atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _beside(out: Path, word: str) -> Path:
    return out.parent / f".{out.name}.{word}"
