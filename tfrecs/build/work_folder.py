"""Where a build works until its records are whole: a hidden folder beside them, which a killed build leaves behind."""

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
    """A shard that is whole, and what the manifest and the list of rejects want to know of it.

    Attributes:
      key: digest of everything that the shard was made of.
      info: its name, size and checksum.
      present: item feature -> how many of the shard's items have it.
      seen: source -> values looked at (see `Rejects.seen`).
      rejects: what was refused while it was made, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    info: ShardInfo
    present: dict[str, int] = {}
    seen: dict[str, int] = {}
    rejects: tuple[Reject, ...] = ()


class WorkFolder:
    """The folder of a build under way: `records/` grows, `journal/` says which of its shards are whole."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.records, self._journal = folder / "records", folder / "journal"
        for part in (self.records, self._journal):
            part.mkdir(parents=True, exist_ok=True)

    def finished(self, name: str, key: str) -> FinishedShard | None:
        """The shard of that name if it is whole, was made of the same things, and still is what it was."""
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
        """Notes that a shard is whole; the note appears at once or not at all."""
        entry = self._journal / f"{shard.info.name}.json"
        replace_file(entry, shard.model_dump_json())
        return shard

    def text_file(self, name: str, key: str, make: Callable[[], str]) -> None:
        """Writes a text file among the records, or keeps the one that was made of the same things."""
        path, entry = self.records / name, self._journal / f"{name}.key"
        if not (path.is_file() and entry.is_file() and entry.read_text(encoding="utf-8") == f"{key} {sha256(path)}"):
            path.write_text(make(), encoding="utf-8")
            replace_file(entry, f"{key} {sha256(path)}")

    def keep_only(self, names: Collection[str]) -> None:
        """Removes what an earlier build with other input left among the records."""
        for path in self.records.iterdir():
            if path.name not in names:
                path.unlink()


@contextmanager
def work_folder(out: Path) -> Iterator[WorkFolder]:
    """Where records that will lie at `out` are made; one that a killed build left is taken up again.

    After a user's mistake (TriptychError) nothing is left. After anything else (a kill, Ctrl-C, a full disk) the folder
    stays, so that the same build goes on where it stopped.

    Raises:
      DataError: another build works there.
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
    """`whole` takes the place of `out`; `work_folder` mends what a kill in between leaves."""
    former = _beside(out, "former")
    shutil.rmtree(former, ignore_errors=True)
    if out.exists():
        out.rename(former)
    whole.rename(out)


def replace_file(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _beside(out: Path, word: str) -> Path:
    return out.parent / f".{out.name}.{word}"
