"""One shard of items or of user windows: its content, a digest of the content, and how to write it.

A shard object is self-contained and can be sent to another process or machine; it gives the same bytes everywhere. The
local build, an append and the Beam runner all use it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrecs.build.encoding import Encode
from tfrecs.build.feature_table import Entities
from tfrecs.build.windows import Window
from tfrecs.build.work_folder import FinishedShard
from tfrecs.records import Payloads, is_missing, item_example, window_example, write_shard
from tfrecs.rejects import Rejects
from tfrecs.version import VERSION


def versions() -> dict[str, str]:
    """Versions of the packages on which the bytes of a record depend."""
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "pandas": pd.__version__, "triptych": VERSION}


@dataclass(frozen=True)
class ItemShard:
    """The items of one shard, in order."""

    name: str
    items: Entities

    def key(self) -> str:
        """Return a digest of ids, titles, raw values, lines and parameters; of media files path, size and mtime."""
        digest = _digest()
        for feature in self.items.features:
            digest.update(feature.schema.model_dump_json().encode())
        for parts in (self.items.ids, self.items.titles, self.items.table.files, self.items.table.lines):
            digest.update(repr(list(parts)).encode())
        for name, values in self.items.values.items():
            digest.update(name.encode())
            for value in values:
                _add(digest, value)
        return digest.hexdigest()

    def make(self, folder: Path, key: str, encode: Encode) -> FinishedShard:
        """Write the shard into `folder`; `key` is its digest."""
        rejects, present = Rejects(), Counter[str]()

        def examples() -> Iterator[tf.train.Example]:
            for position, payloads in enumerate(encode(self.items, rejects)):
                present.update(name for name, payload in payloads.items() if not is_missing(payload))
                yield item_example(self.items.ids[position], self.items.titles[position], payloads)

        info = write_shard(folder / self.name, examples())
        return FinishedShard(
            key=key, info=info, present=dict(present), seen=rejects.seen_counts(), rejects=tuple(rejects)
        )


@dataclass(frozen=True)
class WindowShard:
    """The user windows of one shard, in order.

    Attributes:
      name: of the file.
      user_ids: of each window.
      windows: each window, counted from the first row of `columns`.
      columns: Example key -> array over the events that the windows reach.
      payloads: user features of each window.
      new: bool over the same events: only these can be targets; None: all can.
    """

    name: str
    user_ids: Sequence[str]
    windows: Sequence[Window]
    columns: Mapping[str, np.ndarray]
    payloads: Sequence[Payloads]
    new: np.ndarray | None = None

    def key(self) -> str:
        """Return a digest of the content."""
        digest = _digest()
        _add_texts(digest, [user.encode() for user in self.user_ids])
        _add(digest, np.array([window[1:] for window in self.windows], np.int64))
        for name, values in self.columns.items():
            digest.update(name.encode())
            if values.dtype.kind == "O":
                _add_texts(digest, values.tolist())
            else:
                _add(digest, values)
        _add(digest, self.new)
        for payloads in self.payloads:
            for name, payload in payloads.items():
                digest.update(name.encode() + payload.SerializeToString(deterministic=True))
        return digest.hexdigest()

    def make(self, folder: Path, key: str) -> FinishedShard:
        """Write the shard into `folder`; `key` is its digest."""
        rows = zip(self.user_ids, self.windows, self.payloads, strict=True)
        examples = (window_example(user, window, self.columns, payloads, self.new) for user, window, payloads in rows)
        return FinishedShard(key=key, info=write_shard(folder / self.name, examples))


@dataclass(frozen=True)
class WindowPart:
    """Consecutive windows of a shard with no more than the events that they reach; attributes as of `WindowShard`."""

    windows: Sequence[Window]
    columns: Mapping[str, np.ndarray]
    new: np.ndarray | None = None


def cut(
    windows: Sequence[Window],
    columns: Mapping[str, np.ndarray],
    to_examples: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    new: np.ndarray | None = None,
) -> WindowPart:
    """Cut the events out that some windows reach.

    Args:
      windows: in the order of the users, so that what they reach lies close together.
      columns: of sorted events.
      to_examples: turns events into arrays by Example key.
      new: bool over all events, or None.
    """
    first = min((window.start for window in windows), default=0)
    last = max((window.stop for window in windows), default=0)
    return WindowPart(
        [Window(w.user, w.start - first, w.targets - first, w.stop - first) for w in windows],
        to_examples({name: values[first:last] for name, values in columns.items()}),
        None if new is None else new[first:last],
    )


def window_shard(
    name: str, parts: Sequence[WindowPart], user_ids: Sequence[str], payloads_of: Callable[[str], Payloads]
) -> WindowShard:
    """Join parts to a shard.

    Args:
      name: of the file.
      parts: in order, one at least.
      user_ids: user code -> id.
      payloads_of: user id -> user features.
    """
    windows: list[Window] = []
    before = 0
    for part in parts:
        windows += [Window(w.user, w.start + before, w.targets + before, w.stop + before) for w in part.windows]
        before += len(next(iter(part.columns.values())))
    users = [user_ids[window.user] for window in windows]
    columns = {key: np.concatenate([part.columns[key] for part in parts]) for key in parts[0].columns}
    new = None if parts[0].new is None else np.concatenate([part.new for part in parts if part.new is not None])
    return WindowShard(name, users, windows, columns, [payloads_of(user) for user in users], new)


def _digest() -> Any:
    return hashlib.sha256(repr(sorted(versions().items())).encode())


def _add(digest: Any, value: Any) -> None:
    """Add a raw value in a form that is different for different values."""
    if isinstance(value, Path):
        facts = value.stat()
        digest.update(repr((str(value), facts.st_size, facts.st_mtime_ns)).encode())
    elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
        digest.update(repr((value.dtype.str, value.shape)).encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple | np.ndarray):
        _add_each(digest, value)
    else:
        digest.update(repr(value).encode() + b";")


def _add_texts(digest: Any, texts: Sequence[bytes]) -> None:
    digest.update(np.fromiter(map(len, texts), np.int64, len(texts)).tobytes() + b"".join(texts))


def _add_each(digest: Any, values: Iterable[Any]) -> None:
    digest.update(b"[")
    for value in values:
        _add(digest, value)
    digest.update(b"]")
