"""Reads records back into what they were made of: item ids, events, payloads of users."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrecs.reading.reader import event_spec, shard_paths
from tfrecs.records import Payloads
from tfrecs.schema import SPLITS, Manifest

_BATCH = 256


def stored_item_ids(records: Path, manifest: Manifest) -> list[str]:
    """Return the ids of all items, in record order."""
    spec = {"item_id": tf.io.FixedLenFeature([], tf.string)}
    ids: list[str] = []
    for batch in tf.data.TFRecordDataset(shard_paths(records, manifest.item_shards)).batch(_BATCH):
        ids.extend(value.decode() for value in tf.io.parse_example(batch, spec)["item_id"].numpy())
    return ids


def stored_events(records: Path, manifest: Manifest) -> pd.DataFrame:
    """Read every event once, with the columns of `clean_events` (`order` is the position in the records, `fraction` is 0)
    and `split` (int8).

    Unknown values and numbers of the context come back as the means that replaced them.
    """
    schema = manifest.schema_
    spec = {**event_spec(schema), "user_id": tf.io.FixedLenFeature([], tf.string)}
    frames = [_events_of_split(records, manifest, code, spec) for code in range(len(SPLITS))]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(fraction=np.int64(0), order=np.arange(len(frame), dtype=np.float64))


def _events_of_split(records: Path, manifest: Manifest, code: int, spec: dict[str, object]) -> pd.DataFrame:
    parts: dict[str, list[np.ndarray]] = {key: [] for key in spec if key != "is_target"}
    for batch in tf.data.TFRecordDataset(shard_paths(records, manifest.splits[SPLITS[code]].shards)).batch(_BATCH):
        parsed = tf.io.parse_example(batch, spec)
        target = parsed["is_target"].flat_values.numpy() > 0
        lengths = parsed["is_target"].row_lengths().numpy()
        for key, arrays in parts.items():
            value = np.repeat(parsed[key].numpy(), lengths) if key == "user_id" else parsed[key].flat_values.numpy()
            arrays.append(value[target])
    whole = {key: np.concatenate(arrays) if arrays else np.zeros([0]) for key, arrays in parts.items()}
    columns = {
        "user": _words(whole.pop("user_id")),
        "item": _words(whole.pop("item_ids")),
        "time": whole.pop("times").astype(np.int64),
        "value": whole.pop("values").astype(np.float64),
        "positive": whole.pop("is_positive").astype(bool),
    }
    if "queries" in whole:
        columns["query"] = _words(whole.pop("queries"))
    for name, values in whole.items():  # Labels and context.
        columns[name] = _words(values) if values.dtype.kind == "O" else values.astype(np.float64)
    return pd.DataFrame(columns).assign(split=np.int8(code))


def _words(values: np.ndarray) -> np.ndarray:
    words = np.empty(len(values), object)
    words[:] = [value.decode() for value in values]
    return words


def stored_user_payloads(records: Path, manifest: Manifest, users: Collection[str]) -> dict[str, Payloads]:
    """User id -> payload of each user feature, of those of `users` that the records know."""
    wanted = set(users)
    found: dict[str, Payloads] = {}
    names = [feature.name for feature in manifest.schema_.users]
    shards = tuple(shard for split in SPLITS for shard in manifest.splits[split].shards)
    if not names or not wanted:
        return {}
    for record in tf.data.TFRecordDataset(shard_paths(records, shards)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        user = feature["user_id"].bytes_list.value[0].decode()
        if user in wanted:
            found[user] = {name: feature[f"users/{name}"] for name in names}
    return found
