"""Serialized Examples of items, read where they are needed instead of being held in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tfrecs.errors import DataError

_HEADER, _FOOTER = 12, 4  # bytes around a record of a TFRecord file: length and its checksum, checksum of the record


class ItemRecords:
    """Serialized Examples of N items; what is in memory is where each of them lies, 16 bytes an item.

    Checksums are not looked at here: whoever opens the files reads all of them once with TensorFlow, which does.

    Args:
      sources: paths of files, or bytes that hold Examples themselves.
      source: int32 [N], which of them has the item.
      start: int64 [N], where its Example begins there.
      length: int32 [N], bytes of it.
    """

    def __init__(self, sources: Sequence[Path | bytes], source: np.ndarray, start: np.ndarray, length: np.ndarray):
        self._sources, self._source, self._start, self._length = tuple(sources), source, start, length

    @classmethod
    def of_shards(cls, paths: Sequence[str | Path], lengths: Sequence[np.ndarray]) -> ItemRecords:
        """Name the records of uncompressed TFRecord files.

        Args:
          paths: of the files.
          lengths: of each file the bytes of its records, int64 [records].
        """
        starts = [_HEADER + np.cumsum(own + _HEADER + _FOOTER) - (own + _HEADER + _FOOTER) for own in lengths]
        source = np.repeat(np.arange(len(paths), dtype=np.int32), [len(own) for own in lengths])
        nothing = np.zeros(0, np.int64)
        return cls(
            [Path(path) for path in paths],
            source,
            np.concatenate([nothing, *starts]),
            np.concatenate([nothing, *lengths]).astype(np.int32),
        )

    @classmethod
    def of_bytes(cls, serialized: Sequence[bytes]) -> ItemRecords:
        """Hold Examples that lie in no file."""
        length = np.fromiter(map(len, serialized), np.int32, len(serialized))
        start = np.cumsum(length, dtype=np.int64) - length
        return cls([b"".join(serialized)], np.zeros(len(length), np.int32), start, length)

    def __len__(self) -> int:
        return len(self._source)

    def take(self, rows: ArrayLike) -> ItemRecords:
        """Return the records at positions `rows`, int [R], without reading them."""
        rows = np.asarray(rows)
        return ItemRecords(self._sources, self._source[rows], self._start[rows], self._length[rows])

    def followed_by(self, other: ItemRecords) -> ItemRecords:
        """Return these records, then those of another."""
        return ItemRecords(
            [*self._sources, *other._sources],
            np.concatenate([self._source, other._source + np.int32(len(self._sources))]),
            np.concatenate([self._start, other._start]),
            np.concatenate([self._length, other._length]),
        )

    def __getitem__(self, rows: slice | ArrayLike) -> np.ndarray:
        """Read the Examples of a slice of the items, or of positions int [R]: bytes, as an array of objects [R].

        Raises:
          DataError: a file is gone or shorter than it was.
        """
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        result = np.empty(len(index), object)
        source, start, length = self._source[index], self._start[index], self._length[index]
        for number in np.unique(source).tolist():
            places = np.flatnonzero(source == number)
            spans = zip(places.tolist(), start[places].tolist(), length[places].tolist(), strict=True)
            content = self._sources[number]
            if isinstance(content, bytes):
                for place, first, size in spans:
                    result[place] = content[first : first + size]
                continue
            # Not mapped into memory: pages of the records would count as memory of this process.
            try:
                file = os.open(content, os.O_RDONLY)
            except OSError as error:
                raise DataError(f"{content}: cannot be read ({error.strerror}); build the records again") from error
            try:
                for place, first, size in spans:
                    result[place] = os.pread(file, size, first)
                    if len(result[place]) != size:
                        raise DataError(f"{content}: shorter than it was; build the records again")
            finally:
                os.close(file)
        return result
