"""The encodings of a large catalogue as they lie in a file of float16: rows of them, by modality."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["EncodingColumn", "Encodings", "in_order"]


class EncodingColumn:
    """The encodings of one modality, like a float32 array [N, d] of which rows are read from the file.

    Args:
      stored: float16 [N, all d].
      columns: of this modality.
      offset, scale: float32 [d]; an encoding is `offset + scale * stored`.
      order: int64 [N], the item whose encoding each row is; None: its own.
    """

    def __init__(
        self,
        stored: np.ndarray,
        columns: slice,
        offset: np.ndarray,
        scale: np.ndarray,
        order: np.ndarray | None = None,
    ):
        self._stored, self._columns, self._offset, self._scale, self._order = stored, columns, offset, scale, order
        self.shape = (len(stored) if order is None else len(order), len(offset))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows, a slice or int [R]: float32 [R, d]."""
        if self._order is not None:
            rows = self._order[rows]
        return self._stored[rows, self._columns].astype(np.float32) * self._scale + self._offset

    def take(self, order: np.ndarray) -> EncodingColumn:
        """Return the encodings in another order, int64 [N], without reading them."""
        own = order if self._order is None else self._order[order]
        return EncodingColumn(self._stored, self._columns, self._offset, self._scale, own)


class Encodings(Mapping[str, EncodingColumn]):
    """The encodings of all modalities, by name. A file of float16: the numbers of an item lie together.

    They are relative to the mean and deviation of a sample of the items. An untrained network encodes all items nearly
    alike, and the digits of a float16 would go into what all of them share.

    Args:
      stored: float16 [N, sum of the d_m], mapped into memory.
      offset, scale: modality -> float32 [d_m].
    """

    def __init__(self, stored: np.ndarray, offset: Mapping[str, np.ndarray], scale: Mapping[str, np.ndarray]):
        self._stored = stored
        self._dims = [len(values) for values in offset.values()]
        self._offset = np.concatenate([np.asarray(value, np.float32) for value in offset.values()])
        self._scale = np.concatenate([np.asarray(value, np.float32) for value in scale.values()])
        ends = np.cumsum(self._dims)
        self._columns = {
            name: EncodingColumn(stored, columns, self._offset[columns], self._scale[columns])
            for name, end, dim in zip(offset, ends, self._dims, strict=True)
            for columns in [slice(end - dim, end)]
        }

    def __getitem__(self, name: str) -> EncodingColumn:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def release(self) -> None:
        """Give back the pages of the file that were read; they are read again where they are needed."""
        mapped = getattr(self._stored, "_mmap", None)  # numpy has no public name for it
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def gather(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Read rows int32 [R] in a graph of tf.data: modality -> float32 [R, d_m]."""
        stored = tf.numpy_function(self._stored.__getitem__, [rows], tf.float16)
        stored = tf.ensure_shape(stored, [rows.shape[0], sum(self._dims)])
        parts = tf.split(tf.cast(stored, tf.float32) * self._scale + self._offset, self._dims, axis=1)
        return dict(zip(self._columns, parts, strict=True))


def in_order(cache: Mapping[str, Any], order: np.ndarray | None) -> dict[str, Any]:
    """A model's cache with the encodings of other items.

    Args:
      cache: modality -> variable, or column of a file.
      order: int64 [N], the item whose encoding each one gets; None: its own.
    """
    if order is None:
        return dict(cache)
    return {
        name: value.take(order) if isinstance(value, EncodingColumn) else tf.gather(value, order)
        for name, value in cache.items()
    }
