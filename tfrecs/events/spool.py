"""Keeps columns of events in order: in memory while they are few, else in a file."""

from __future__ import annotations

import errno
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from tfrecs.errors import DataError

Columns = dict[str, np.ndarray]
"""Column -> array over events; text columns are arrays of `object` (str)."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Scratch:
    """Where and when events leave the memory.

    Attributes:
      folder: takes the files, which have no names there and so cannot be left over, not even by a kill.
      limit: most events that are in memory at a time.
      written: bytes written so far.
    """

    folder: Path
    limit: int
    written: int = field(default=0, compare=False)

    @contextmanager
    def room(self) -> Iterator[None]:
        """Turn a disk without room into a DataError with the remedy."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise DataError(
                f"{self.folder}: no room for the events of a log that is sorted on the disk ({self.written / 1e9:,.1f} GB of "
                "it written); make room, or name another folder with --set build.scratch=FOLDER"
            ) from error


class Spool:
    """Batches of the same columns, read in the order in which they came.

    Args:
      scratch: where they go.
      on_disk: whether they go there at once; else when there are more than its limit.
    """

    def __init__(self, scratch: Scratch, *, on_disk: bool = False):
        self._scratch, self._on_disk = scratch, on_disk
        self._batches: list[Columns] = []
        self._file: IO[bytes] | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self.rows = 0

    def append(self, columns: Columns) -> None:
        """Add a batch. Raises DataError where the disk is full."""
        count = row_count(columns)
        if not count:
            return
        self.rows += count
        self._batches.append(columns)
        if self._on_disk or self.rows > self._scratch.limit:
            self._on_disk = True
            self._flush()

    def _flush(self) -> None:
        with self._scratch.room():
            for columns in self._batches:
                batch = pa.RecordBatch.from_arrays([_to_arrow(values) for values in columns.values()], [*columns])
                if self._writer is None:
                    self._file = tempfile.TemporaryFile(dir=self._scratch.folder)  # noqa: SIM115, closed with the spool
                    weakref.finalize(self, _close, self._file)
                    self._writer = pa.ipc.new_stream(self._file, batch.schema)
                self._writer.write_batch(batch)
                self._scratch.written += batch.nbytes
        self._batches = []

    def __iter__(self) -> Iterator[Columns]:
        """Yield the batches; nothing may be added meanwhile or afterwards."""
        if self._file is None:
            yield from self._batches
            return
        if self._writer is not None:
            with self._scratch.room():
                self._writer.close()
                self._file.flush()
        self._writer = None
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            for batch in reader:
                yield {name: _to_numpy(batch.column(name)) for name in batch.schema.names}

    def whole(self) -> Columns:
        """Return all batches as one; {} if there are none."""
        return joined(list(self))

    def close(self) -> None:
        """Give the memory and the disk back."""
        self._batches = []
        if self._file is not None:
            _close(self._file)
            self._file = None


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # A full disk has no room for what is left in the buffer, and nobody will read it.
        file.close()


def row_count(columns: Columns) -> int:
    """Return the number of events."""
    return len(next(iter(columns.values()))) if columns else 0


def joined(batches: Sequence[Columns]) -> Columns:
    """Return batches of the same columns as one; {} if there are none."""
    if len(batches) == 1:
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]} if batches else {}


def taken(columns: Columns, rows: np.ndarray | slice) -> Columns:
    """Return the events at these positions, or where a mask is true."""
    return {name: values[rows] for name, values in columns.items()}


def _to_arrow(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.large_string() if values.dtype.kind == "O" else None)


def _to_numpy(values: pa.Array) -> np.ndarray:
    array: np.ndarray = values.to_numpy(zero_copy_only=False)
    return array
