"""Items and user windows as `tf.train.Example`s, and the files that hold them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecs.build.windows import Window
from tfrecs.schema import ShardInfo

Payloads = Mapping[str, tf.train.Feature]  # Feature name -> its payload.


def item_example(item_id: str, title: str, payloads: Payloads) -> tf.train.Example:
    """Make the Example of an item: `item_id`, `title` and the payload of each feature under `items/<name>`."""
    feature = {"item_id": _of_bytes([item_id.encode()]), "title": _of_bytes([title.encode()])}
    feature |= {f"items/{name}": payload for name, payload in payloads.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def window_example(
    user_id: str,
    window: Window,
    columns: Mapping[str, np.ndarray],
    payloads: Payloads,
    new: np.ndarray | None = None,
) -> tf.train.Example:
    """Make the Example of a user window of T events, oldest first.

    Args:
      user_id: of the user.
      window: the rows of `columns`, and which of them are targets.
      columns: Example key -> array over all sorted events: float, integer or `object` (bytes). The Example holds a
        slice of each, and `is_target` int64 [T].
      payloads: user feature -> payload, under `users/<name>`.
      new: bool over all sorted events: only these can be targets; None: all can.
    """
    rows = slice(window.start, window.stop)
    is_target = [int(new is None or new[at]) if at >= window.targets else 0 for at in range(window.start, window.stop)]
    feature = {"user_id": _of_bytes([user_id.encode()]), "is_target": _of_integers(is_target)}
    feature |= {key: _of_array(values[rows]) for key, values in columns.items()}
    feature |= {f"users/{name}": payload for name, payload in payloads.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


def is_missing(payload: tf.train.Feature) -> bool:
    """Whether a payload is that of a missing feature: empty, or only empty strings."""
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
    """Return the hexadecimal digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def shard_ranges(prefix: str, total: int, per_shard: int) -> list[tuple[str, range]]:
    """Distribute `total` records over shards: file name `<prefix>-00000-of-00004.tfrecord`, positions.

    There is always at least one shard, which may be empty.
    """
    if per_shard < 1:
        raise ValueError(f"a shard must hold at least one record, not {per_shard}")
    of = max(1, math.ceil(total / per_shard))
    return [
        (f"{prefix}-{n:05d}-of-{of:05d}.tfrecord", range(n * per_shard, min((n + 1) * per_shard, total)))
        for n in range(of)
    ]


def write_shard(path: Path, examples: Iterable[tf.train.Example]) -> ShardInfo:
    """Write Examples, with keys in a fixed order, so that equal Examples give equal bytes.

    Raises:
      tf.errors.OpError: the file cannot be written.
    """
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString(deterministic=True))
            count += 1
    return ShardInfo(name=path.name, records=count, bytes=path.stat().st_size, sha256=sha256(path))
