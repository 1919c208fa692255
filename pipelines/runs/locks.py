"""A lock on a folder, so that one process at a time writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path, error: Exception, *, keep: bool = False) -> Iterator[None]:
    """Hold the lock on a folder, which is made where it is missing. It ends with the process, however that ends.

    Args:
      folder: whose file `.lock` is locked.
      error: raised where another process holds the lock.
      keep: leave the file there afterwards, as a mark of what the folder is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise error from None
    try:
        yield
    finally:
        if not keep:
            (folder / LOCK_FILE).unlink(missing_ok=True)
        lock.release()
