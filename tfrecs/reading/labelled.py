"""The labels of training events, positives or not: what a statistical baseline of the ranking head learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrecs.reading.reader import event_spec, shard_paths
from tfrecs.schema import Manifest


@dataclass(frozen=True)
class LabelledEvents:
    """Every training event once: `items` int32 [E] (positions), `labels` float32 [E, labels], NaN = unknown."""

    items: np.ndarray
    labels: np.ndarray


def load_labelled_events(records: str | Path, manifest: Manifest, ids: np.ndarray) -> LabelledEvents:
    """Reads the training split; events that a later window repeats as history are left out.

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
        found = [position[item] for item in events["item_ids"].flat_values.numpy()[kept]]
        items.append(np.array(found, np.int32))
        columns = [events[f"labels/{label.name}"].flat_values.numpy()[kept] for label in schema.labels]
        labels.append(np.stack(columns, axis=-1) if columns else np.zeros([len(found), 0], np.float32))
    return LabelledEvents(np.concatenate(items), np.concatenate(labels))
