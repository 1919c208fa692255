"""Records -> tensors: the catalogue, training windows as tf.data, and held-out requests as arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError
from tfrecs.reading.data_service import served
from tfrecs.reading.features import feature_for, parse_batch
from tfrecs.reading.packing import MAX_HISTORIES
from tfrecs.reading.windowing import packed_windows
from tfrecs.schema import Manifest, Schema, ShardInfo

_PARSE_BATCH = 256  # Examples that one op parses; one by one, the calls cost several times the parsing.


@dataclass(frozen=True)
class Catalogue:
    """All items, in record order.

    Attributes:
      ids, titles: str [N].
      serialized: the Example of each item, string [N].
    """

    ids: np.ndarray
    titles: np.ndarray
    serialized: tf.Tensor

    def __len__(self) -> int:
        return len(self.ids)

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
    """Read all items into memory, in their encoded form (JPEG, 16-bit sound, text)."""
    serialized: list[tf.Tensor] = []
    ids: list[str] = []
    titles: list[str] = []
    spec = {"item_id": tf.io.FixedLenFeature([], tf.string), "title": tf.io.FixedLenFeature([], tf.string, "")}
    for batch in tf.data.TFRecordDataset(shard_paths(records, manifest.item_shards)).batch(1024):
        parsed = tf.io.parse_example(batch, spec)
        serialized.append(batch)
        ids.extend(value.decode() for value in parsed["item_id"].numpy())
        titles.extend(value.decode() for value in parsed["title"].numpy())
    return Catalogue(np.array(ids), np.array(titles), tf.concat(serialized, axis=0))


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
    values, _ = item_features(schema, catalogue.serialized, only=names)
    return {name: [{value.decode() for value in row if value} for row in values[name].numpy()] for name in names}


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
    schema = manifest.schema_
    spec = {**event_spec(schema), "user_id": tf.io.FixedLenFeature([], tf.string)}
    position = {item: index for index, item in enumerate(ids)}
    contexts = [context for context in schema.context if context.source == "column"]
    result = []
    for serialized in tf.data.TFRecordDataset(shard_paths(records, manifest.splits[split].shards)).as_numpy_iterator():
        events = {key: value.numpy() for key, value in tf.io.parse_single_example(serialized, spec).items()}
        user_id = events["user_id"].decode()
        if keep is not None and not keep(user_id):
            continue
        labels = [events[f"labels/{label.name}"] for label in schema.labels]
        count = len(events["item_ids"])
        result.append(
            UserHistory(
                user_id=user_id,
                items=np.array([position[item.decode()] for item in events["item_ids"]], np.int32),
                values=events["values"],
                times=events["times"],
                target=events["is_target"] > 0,
                positive=_held_out_positives(events, schema),
                labels=np.stack(labels, axis=-1) if labels else np.zeros([count, 0], np.float32),
                context={context.name: events[f"context/{context.name}"] for context in contexts},
                user=serialized,
                queries=events.get("queries"),
            )
        )
    return result


def _held_out_positives(events: Mapping[str, np.ndarray], schema: Schema) -> np.ndarray:
    positive = events["is_positive"] > 0
    return positive & (events["values"] >= schema.held_out_at_least) if schema.has_weights else positive


@dataclass(frozen=True)
class TrainingEvents:
    """Every positive training event once; explicit negatives are none.

    Attributes:
      users: user ids, str [E].
      items: positions in the catalogue, int32 [E].
      times: unix seconds, int64 [E].
      weights: float32 [E], of mean 1; None where the data has no weights.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    weights: np.ndarray | None = None

    def first_times(self, count: int) -> np.ndarray:
        """Return the time of each item's first event, int64 [count]; 0 where it has none."""
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, self.items, self.times)
        return np.where(first == np.iinfo(np.int64).max, 0, first)


def load_training_events(records: str | Path, manifest: Manifest, ids: np.ndarray) -> TrainingEvents:
    """Read the positive training events, without those that a later window repeats as history."""
    spec = {**event_spec(manifest.schema_), "user_id": tf.io.FixedLenFeature([], tf.string)}
    position = {item.encode(): index for index, item in enumerate(ids.tolist())}
    parts = []
    for serialized in tf.data.TFRecordDataset(shard_paths(records, manifest.splits["train"].shards)).batch(256):
        events = tf.io.parse_example(serialized, spec)
        kept = (events["is_target"].flat_values.numpy() > 0) & (events["is_positive"].flat_values.numpy() > 0)
        users = np.repeat(events["user_id"].numpy().astype(np.str_), events["item_ids"].row_lengths().numpy())
        items = np.array([position[item] for item in events["item_ids"].flat_values.numpy()], np.int32)
        parts.append(
            (users[kept], items[kept], *(events[key].flat_values.numpy()[kept] for key in ("times", "values")))
        )
    users, items, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return TrainingEvents(users, items, times, values / values.mean() if manifest.schema_.has_weights else None)


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
    schema = manifest.schema_
    spec = event_spec(schema)
    position = {item.encode(): index for index, item in enumerate(ids.tolist())}
    items, labels = [np.zeros([0], np.int32)], [np.zeros([0, len(schema.labels)], np.float32)]
    for serialized in tf.data.TFRecordDataset(shard_paths(records, manifest.splits["train"].shards)).batch(256):
        events = tf.io.parse_example(serialized, spec)
        kept = events["is_target"].flat_values.numpy() > 0
        positions = [position[item] for item in events["item_ids"].flat_values.numpy()[kept]]
        items.append(np.array(positions, np.int32))
        columns = [events[f"labels/{label.name}"].flat_values.numpy()[kept] for label in schema.labels]
        labels.append(np.stack(columns, axis=-1) if columns else np.zeros([len(positions), 0], np.float32))
    return LabelledEvents(np.concatenate(items), np.concatenate(labels))
