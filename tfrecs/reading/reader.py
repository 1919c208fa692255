"""Records -> tensors: the catalogue, training windows as tf.data, and held-out requests as arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError
from tfrecs.reading.data_service import served
from tfrecs.reading.features import feature_for, parse_batch
from tfrecs.reading.item_records import ItemRecords
from tfrecs.reading.packing import MAX_HISTORIES
from tfrecs.reading.windowing import packed_windows
from tfrecs.schema import Manifest, Schema, ShardInfo

_PARSE_BATCH = 256  # Examples that one op parses; one by one, the calls cost several times the parsing.


@dataclass(frozen=True)
class Catalogue:
    """All items, in record order.

    Attributes:
      ids: str [N].
      records: the Example of each item, read where it is needed.
    """

    ids: np.ndarray
    records: ItemRecords

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def titles(self) -> np.ndarray:
        """Read the titles, str as objects [N]: one long title must not make an array of strings wide."""
        spec = {"title": tf.io.FixedLenFeature([], tf.string, "")}
        titles: list[str] = []
        for start in range(0, len(self), 1024):
            parsed = tf.io.parse_example(self.records[start : start + 1024], spec)
            titles.extend(value.decode() for value in parsed["title"].numpy())
        return np.array(titles, object)

    def counts(self, manifest: Manifest) -> np.ndarray:
        """Return the number of positive training events of each item, int64 [N]."""
        return np.array([manifest.train_counts.get(item, 0) for item in self.ids], np.int64)


@dataclass(frozen=True)
class UserHistory:
    """All T events of one user up to the end of a split, oldest first.

    Attributes:
      user_id: of the user.
      items: positions in the catalogue, int32 [T].
      values: event values, float32 [T].
      times: unix seconds, int64 [T].
      target: whether the event belongs to the split, bool [T].
      positive: whether it can be a target of retrieval there, bool [T]: with weights only from `held_out_at_least` on.
      labels: float32 [T, labels], NaN = unknown.
      context: name -> bytes or float32 [T].
      user: the serialized Example, from which the user's features are parsed.
      queries: bytes [T], b"" = none; None where the data set has none.
    """

    user_id: str
    items: np.ndarray
    values: np.ndarray
    times: np.ndarray
    target: np.ndarray
    positive: np.ndarray
    labels: np.ndarray
    context: Mapping[str, np.ndarray]
    user: bytes
    queries: np.ndarray | None = None


def shard_paths(records: str | Path, shards: tuple[ShardInfo, ...]) -> list[str]:
    """Return the paths of shards. Raises DataError where one is missing or not of the size in the manifest."""
    paths = []
    for shard in shards:
        path = Path(records) / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise DataError(f"{path}: missing or not of the size in manifest.json; build the records again")
        paths.append(str(path))
    return paths


def load_catalogue(records: str | Path, manifest: Manifest) -> Catalogue:
    """Read all items once: their ids, and where their records lie. The records themselves stay in their files."""
    ids: list[str] = []
    lengths: list[np.ndarray] = []
    spec = {"item_id": tf.io.FixedLenFeature([], tf.string)}
    paths = shard_paths(records, manifest.item_shards)
    for path in paths:
        own = [np.zeros(0, np.int64)]
        for batch in tf.data.TFRecordDataset(path).batch(1024):
            ids.extend(value.decode() for value in tf.io.parse_example(batch, spec)["item_id"].numpy())
            own.append(tf.strings.length(batch).numpy().astype(np.int64))
        lengths.append(np.concatenate(own))
    return Catalogue(np.array(ids), ItemRecords.of_shards(paths, lengths))


def item_features(
    schema: Schema, serialized: tf.Tensor, only: Collection[str] | None = None
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Decode serialized items. Graph ops only.

    Args:
      schema: of the records.
      serialized: string [B].
      only: names of the features to decode; None: all.

    Returns:
      name -> values [B, ...], and presence bool [B, M] of these features, in the schema's order.
    """
    features = [feature_for(feature) for feature in schema.items if only is None or feature.name in only]
    return parse_batch(features, serialized, "items")


def category_values(schema: Schema, catalogue: Catalogue) -> dict[str, list[set[str]]]:
    """Return the values of each item for every item feature that is a list of strings, by feature name."""
    names = [
        feature.name
        for feature in schema.items
        if feature_for(feature).spec.dtype == tf.string and feature_for(feature).spec.shape.rank == 1
    ]
    result: dict[str, list[set[str]]] = {name: [] for name in names}
    for start in range(0, len(catalogue), 1024) if names else ():
        values, _ = item_features(schema, tf.constant(catalogue.records[start : start + 1024]), only=names)
        for name in names:
            result[name].extend({value.decode() for value in row if value} for row in values[name].numpy())
    return result


def user_features(schema: Schema, serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Decode the user features of serialized windows, string [B]: name -> values [B, ...], and presence bool [B, F]."""
    return parse_batch([feature_for(feature) for feature in schema.users], serialized, "users")


def event_spec(schema: Schema) -> dict[str, tf.io.RaggedFeature]:
    """Return the `tf.io.parse_example` spec of the events in a window."""
    dtypes: dict[str, Any] = {
        "item_ids": tf.string,
        "values": tf.float32,
        "times": tf.int64,
        "is_target": tf.int64,
        "is_positive": tf.int64,
        **{f"labels/{label.name}": tf.float32 for label in schema.labels},
    }
    for context in schema.context:
        if context.source == "column":
            dtypes[f"context/{context.name}"] = tf.string if context.kind == "categories" else tf.float32
    if schema.has_queries:
        dtypes["queries"] = tf.string
    return {key: tf.io.RaggedFeature(dtype) for key, dtype in dtypes.items()}


def item_lookup(ids: np.ndarray) -> tf.lookup.StaticHashTable:
    """Make the lookup from item id to position in the catalogue, int32; -1 for an unknown id."""
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(ids, tf.string), tf.range(len(ids), dtype=tf.int32)),
        default_value=-1,
    )


def training_rows(
    records: str | Path,
    manifest: Manifest,
    ids: np.ndarray,
    *,
    length: int,
    stride: int,
    permutation_seed: int | None,
    service: str | None = None,
) -> tf.data.Dataset:
    """Make the dataset of training rows: windows of histories in record order, short ones packed several to a row.

    Args:
      ids: the catalogue's item ids [N].
      length: L.
      stride: see `tfrecs.reading.windowing.window_slices`.
      permutation_seed: of the shuffling of an Example's events, for data without an order; None: no shuffling.
      service: address of a tf.data service whose workers read and cut the shards; the rows and their order are the
        same. Its workers must see the records under the same absolute path. None: this process does it.

    Returns:
      A dataset of dictionaries: `item_index` int32 [L], `values` float32 [L], `times` int64 [L], `target`, `positive`
      bool [L], `segment` int32 [L] (which of the row's histories, -1 = padding), `labels` float32 [L, labels], `context`
      name -> [L] (string or float32), `user` string [S] (serialized, "" where the row has fewer histories), and `query`
      string [L] where events have text queries. Padding at the end: index 0, target False. An epoch with another
      permutation has as many rows.
    """
    schema = manifest.schema_
    spec = event_spec(schema)
    lookup = item_lookup(ids)

    @tf.autograph.experimental.do_not_convert
    def cut(numbers: tf.Tensor, serialized: tf.Tensor) -> dict[str, Any]:
        return packed_windows(
            numbers, serialized, spec, schema, length=length, stride=stride, permutation_seed=permutation_seed
        )

    @tf.autograph.experimental.do_not_convert
    def complete(row: dict[str, Any]) -> dict[str, Any]:
        row = dict(row)
        row.pop("number")
        item = row.pop("item")
        # Here, because a lookup table cannot be sent to a service.
        index = tf.where(item == "", 0, lookup.lookup(item))
        return _with_shapes({"item_index": index, **row}, length)

    shards = manifest.splits["train"].shards
    paths = [os.path.abspath(path) for path in shard_paths(records, shards)]
    before = np.cumsum([0, *(shard.records for shard in shards)])[:-1]

    def numbered(path: tf.Tensor, first: tf.Tensor) -> tf.data.Dataset:
        numbers = tf.data.TFRecordDataset(path).enumerate().map(lambda number, serialized: (first + number, serialized))
        return numbers.batch(_PARSE_BATCH)  # of one file, so that a service packs the same histories together

    files = tf.data.Dataset.from_tensor_slices((paths, before.astype(np.int64)))
    # Not `unbatch`, which crashes where there are no labels (TensorFlow 2.17).
    rows = files.flat_map(numbered).map(cut, tf.data.AUTOTUNE).flat_map(tf.data.Dataset.from_tensor_slices)
    return (rows if service is None else served(rows, service)).map(complete)


def _with_shapes(row: dict[str, Any], length: int) -> dict[str, Any]:
    for key in (
        "item_index",
        "values",
        "times",
        "target",
        "positive",
        "segment",
        *(["query"] if "query" in row else []),
    ):
        row[key] = tf.ensure_shape(row[key], [length])
    row["labels"] = tf.ensure_shape(row["labels"], [length, None])
    row["context"] = {name: tf.ensure_shape(value, [length]) for name, value in row["context"].items()}
    row["user"] = tf.ensure_shape(row["user"], [MAX_HISTORIES])
    return row


def empty_rows(spec: Mapping[str, Any], count: int) -> tf.data.Dataset:
    """Return `count` rows without a target, of the given element spec, to fill a last batch to its static shape."""
    zero = tf.nest.map_structure(lambda part: tf.zeros(part.shape, part.dtype), spec)
    return tf.data.Dataset.from_tensors({**zero, "segment": zero["segment"] - 1}).repeat(count)


def load_histories(
    records: str | Path, manifest: Manifest, split: str, ids: np.ndarray, keep: Callable[[str], bool] | None = None
) -> list[UserHistory]:
    """Read the users of a split ("valid" or "test") with all their events.

    Args:
      ids: the catalogue's item ids [N].
      keep: whether to read a user, by id; None: all.
    """
    return [history for history in Histories(records, manifest, split, ids) if keep is None or keep(history.user_id)]


class Histories:
    """The users of a split, read from the records whenever they are iterated over; arguments as of `load_histories`.

    Args:
      advance: called with the number of users that are read and of all.
    """

    def __init__(
        self,
        records: str | Path,
        manifest: Manifest,
        split: str,
        ids: np.ndarray,
        advance: Callable[[int, int], None] | None = None,
    ):
        self._schema, self._split, self._advance = manifest.schema_, manifest.splits[split], advance
        self._paths = shard_paths(records, self._split.shards)
        self._position = {item.encode(): index for index, item in enumerate(ids.tolist())}

    def __iter__(self) -> Iterator[UserHistory]:
        spec = {**event_spec(self._schema), "user_id": tf.io.FixedLenFeature([], tf.string)}
        done, total = 0, sum(shard.records for shard in self._split.shards)
        for batch in tf.data.TFRecordDataset(self._paths).batch(_PARSE_BATCH).as_numpy_iterator():
            parsed = tf.io.parse_example(batch, spec)
            users = parsed.pop("user_id").numpy()
            ends = np.cumsum(parsed["item_ids"].row_lengths().numpy())
            columns = {key: value.flat_values.numpy() for key, value in parsed.items()}
            for user, serialized, start, end in zip(users, batch, [0, *ends[:-1]], ends, strict=True):
                # Copies: a part would keep the whole batch in memory as long as itself.
                own = {key: value[start:end].copy() for key, value in columns.items()}
                yield self._history(user, serialized, own)
            done += len(users)
            if self._advance is not None:
                self._advance(done, total)

    def _history(self, user: bytes, serialized: bytes, events: Mapping[str, np.ndarray]) -> UserHistory:
        schema = self._schema
        labels = [events[f"labels/{label.name}"] for label in schema.labels]
        contexts = [context.name for context in schema.context if context.source == "column"]
        return UserHistory(
            user_id=user.decode(),
            items=np.array([self._position[item] for item in events["item_ids"]], np.int32),
            values=events["values"],
            times=events["times"],
            target=events["is_target"] > 0,
            positive=_held_out_positives(events, schema),
            labels=np.stack(labels, axis=-1) if labels else np.zeros([len(events["times"]), 0], np.float32),
            context={name: events[f"context/{name}"] for name in contexts},
            user=serialized,
            queries=events.get("queries"),
        )


def _held_out_positives(events: Mapping[str, np.ndarray], schema: Schema) -> np.ndarray:
    positive = events["is_positive"] > 0
    return positive & (events["values"] >= schema.held_out_at_least) if schema.has_weights else positive
