"""Items and user windows as `tf.train.Example`s, and the shards that hold them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf
from typing_extensions import Self

from tfrecs.schema import ShardInfo
from tfrecs.windows import Window


def item_example(item_id: str, title: str, payloads: Mapping[str, tf.train.Feature]) -> tf.train.Example:
    """One item: `item_id`, `title` and, per feature, its payload under `items/<name>`."""
    feature = {"item_id": _of_bytes([item_id.encode()]), "title": _of_bytes([title.encode()])}
    feature |= {f"items/{name}": payload for name, payload in payloads.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def window_example(
    user_id: str, window: Window, columns: Mapping[str, np.ndarray], payloads: Mapping[str, tf.train.Feature]
) -> tf.train.Example:
    """One user window of T events, oldest first.

    Args:
      user_id: of the user.
      window: which rows of `columns` they are, and which of them are targets.
      columns: Example key -> array over all sorted events: float, integer or `object` (bytes). A slice of each goes
        in under its key, and `is_target` int64 [T] beside them.
      payloads: user feature -> payload, under `users/<name>`.
    """
    rows = slice(window.start, window.stop)
    is_target = [0] * (window.targets - window.start) + [1] * (window.stop - window.targets)
    feature = {"user_id": _of_bytes([user_id.encode()]), "is_target": _of_integers(is_target)}
    feature |= {key: _of_array(values[rows]) for key, values in columns.items()}
    feature |= {f"users/{name}": payload for name, payload in payloads.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def is_missing(payload: tf.train.Feature) -> bool:
    """Whether a payload says that the feature is missing: it is empty, or holds nothing but empty strings."""
    which = payload.WhichOneof("kind")
    if which is None:
        return True
    values = getattr(payload, which).value
    return not len(values) or (which == "bytes_list" and not any(values))


def _of_bytes(values: list[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _of_integers(values: list[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _of_array(values: np.ndarray) -> tf.train.Feature:
    if values.dtype.kind == "O":
        return _of_bytes(values.tolist())
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
    return _of_integers(values.tolist())


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class ShardWriter:
    """Writes a known number of Examples into shards named `<prefix>-00000-of-00004.tfrecord`.

    A context manager; `shards` is complete after it. Examples are serialised with their keys in a fixed order, so
    that the same Examples give the same bytes. There is always at least one shard, if an empty one.
    """

    def __init__(self, folder: Path, prefix: str, *, total: int, per_shard: int):
        if per_shard < 1:
            raise ValueError(f"a shard must hold at least one record, not {per_shard}")
        self._folder, self._prefix = folder, prefix
        self._total, self._per_shard = total, per_shard
        self._of = max(1, math.ceil(total / per_shard))
        self._writer: tf.io.TFRecordWriter | None = None
        self._written = self._in_shard = 0
        self._infos: list[ShardInfo] = []

    @property
    def shards(self) -> tuple[ShardInfo, ...]:
        return tuple(self._infos)

    def write(self, example: tf.train.Example) -> None:
        """Appends one Example. Raises tf.errors.OpError where the disk refuses it."""
        writer = self._writer or self._open()
        writer.write(example.SerializeToString(deterministic=True))
        self._written += 1
        self._in_shard += 1
        if self._in_shard == self._per_shard:
            self._close()

    def _path(self) -> Path:
        return self._folder / f"{self._prefix}-{len(self._infos):05d}-of-{self._of:05d}.tfrecord"

    def _open(self) -> tf.io.TFRecordWriter:
        self._writer = tf.io.TFRecordWriter(str(self._path()))
        self._in_shard = 0
        return self._writer

    def _close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        path = self._path()
        self._infos.append(
            ShardInfo(name=path.name, records=self._in_shard, bytes=path.stat().st_size, sha256=sha256(path))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._total:
            self._open()
        self._close()
        if kind is None and self._written != self._total:
            raise ValueError(f"{self._prefix}: {self._written} records written where {self._total} were announced")
