"""The events of the training split as arrays, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.reading.reader import event_spec, shard_paths
from tfrecs.schema import Manifest

Advance = Callable[[int, int], None]
"""Called with the number of events that are read and of all."""


@dataclass(frozen=True)
class TrainingEvents:
    """Every positive training event once; explicit negatives are none.

    Attributes:
      user_ids: str [U], ascending.
      users: positions in `user_ids`, int32 [E].
      items: positions in the catalogue, int32 [E].
      times: unix seconds, int64 [E].
      weights: float32 [E], of mean 1; None where the data has no weights.
    """

    user_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def of(
        cls, user_ids: np.ndarray, items: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None
    ) -> TrainingEvents:
        """Make them of the id of each event's user, str [E], and the other attributes."""
        different, users = np.unique(user_ids, return_inverse=True)
        return cls(different, users.astype(np.int32), items, times, weights)

    def first_times(self, count: int) -> np.ndarray:
        """Return the time of each item's first event, int64 [count]; 0 where it has none."""
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, self.items, self.times)
        return np.where(first == np.iinfo(np.int64).max, 0, first)


def load_training_events(
    records: str | Path, manifest: Manifest, ids: np.ndarray, advance: Advance | None = None
) -> TrainingEvents:
    """Read the positive training events, without those that a later window repeats as history.

    Args:
      ids: the catalogue's item ids [N].

    Raises:
      DataError: a shard is missing or not of the size that the manifest says.
    """
    keys = ("times", "values") if manifest.schema_.has_weights else ("times",)
    code: dict[bytes, int] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    for events, items, target in _batches(records, manifest, ids, advance):
        kept = target & (events["is_positive"].flat_values.numpy() > 0)
        own = np.array([code.setdefault(user, len(code)) for user in events["user_id"].numpy()], np.int32)
        users = np.repeat(own, events["item_ids"].row_lengths().numpy())
        parts.append((users[kept], items[kept], *(events[key].flat_values.numpy()[kept] for key in keys)))
    users, items, times, *values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    del parts
    # In the order of the ids, of those who have a positive event.
    found = np.zeros(len(code), bool)
    found[users] = True
    names = np.array([user.decode() for user in code], np.str_)
    order = np.argsort(names, kind="stable")
    order = order[found[order]]
    place = np.full(len(code), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return TrainingEvents(names[order], place[users], items, times, values[0] / values[0].mean() if values else None)


def _batches(
    records: str | Path, manifest: Manifest, ids: np.ndarray, advance: Advance | None
) -> Iterator[tuple[Mapping[str, Any], np.ndarray, np.ndarray]]:
    """Yield parsed windows; of all their events the items, int32, and which are targets in no other window, bool."""
    spec = {**event_spec(manifest.schema_), "user_id": tf.io.FixedLenFeature([], tf.string)}
    split = manifest.splits["train"]
    position = {item.encode(): index for index, item in enumerate(ids.tolist())}
    done = 0
    for serialized in tf.data.TFRecordDataset(shard_paths(records, split.shards)).batch(256):
        events = tf.io.parse_example(serialized, spec)
        target = events["is_target"].flat_values.numpy() > 0
        items = np.array([position[item] for item in events["item_ids"].flat_values.numpy()], np.int32)
        done += int(target.sum())
        if advance is not None:
            advance(done, split.events)
        yield events, items, target


@dataclass(frozen=True)
class LabelledEvents:
    """Every training event once, positive or not.

    Attributes:
      items: positions in the catalogue, int32 [E].
      labels: float32 [E, labels], NaN = unknown.
    """

    items: np.ndarray
    labels: np.ndarray


def load_labelled_events(records: str | Path, manifest: Manifest, ids: np.ndarray) -> LabelledEvents:
    """Read the labels of the training events, without events that a later window repeats as history.

    Args:
      ids: the catalogue's item ids [N].

    Raises:
      DataError: a shard is missing or not of the size that the manifest says.
    """
    names = [label.name for label in manifest.schema_.labels]
    all_items, all_labels = [np.zeros([0], np.int32)], [np.zeros([0, len(names)], np.float32)]
    for events, items, target in _batches(records, manifest, ids, None):
        all_items.append(items[target])
        columns = [events[f"labels/{name}"].flat_values.numpy()[target] for name in names]
        all_labels.append(np.stack(columns, axis=-1) if columns else np.zeros([int(target.sum()), 0], np.float32))
    return LabelledEvents(np.concatenate(all_items), np.concatenate(all_labels))
