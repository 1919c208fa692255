"""Reads a sample of items and the events of records, and runs `tfrecs.reading.record_checks` over them."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import InspectConfig
from tfrecs.reading import record_checks
from tfrecs.reading.features import features_for
from tfrecs.reading.reader import item_features, shard_paths
from tfrecs.reading.stored_records import stored_events
from tfrecs.records import is_missing
from tfrecs.schema import REJECTED_FILE, Manifest


@dataclass(frozen=True)
class Sample:
    """The first N items.

    Attributes:
      ids, titles: of the items.
      payloads: feature -> serialized payloads of the items that have it.
      values: feature -> decoded values [N, ...].
      presence: bool [N, M].
    """

    ids: list[str]
    titles: list[str]
    payloads: dict[str, list[bytes]]
    values: dict[str, np.ndarray]
    presence: np.ndarray

    def item(self, row: int) -> tuple[str, str, dict[str, Any]]:
        """Return id, title, and the values that are not missing."""
        columns = enumerate(self.values.items())
        present = {name: values[row] for column, (name, values) in columns if self.presence[row, column]}
        return self.ids[row], self.titles[row], present


def read_sample(records: Path, manifest: Manifest, count: int) -> Sample:
    """Read the first `count` items. They are consecutive, because shifted rows show only beside their neighbours."""
    ids, titles, presences = [], [], []
    payloads: dict[str, list[bytes]] = {name: [] for name in manifest.schema_.modalities}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in manifest.schema_.modalities}
    dataset = tf.data.TFRecordDataset(shard_paths(records, manifest.item_shards)).take(count).batch(128)
    for batch in dataset:
        for record in batch.numpy():
            feature = tf.train.Example.FromString(record).features.feature
            ids.append(feature["item_id"].bytes_list.value[0].decode())
            titles.append(feature["title"].bytes_list.value[0].decode())
            for name, several in payloads.items():
                if not is_missing(payload := feature[f"items/{name}"]):
                    several.append(payload.SerializeToString(deterministic=True))
        values, presence = item_features(manifest.schema_, batch)
        for name, value in values.items():
            parts[name].append(value.numpy())
        presences.append(presence.numpy())
    values = {name: np.concatenate(several) for name, several in parts.items()}
    return Sample(ids, titles, payloads, values, np.concatenate(presences))


def find_warnings(records: Path, manifest: Manifest, sample: Sample, settings: InspectConfig) -> list[str]:
    """Run all checks over records and return their warnings, one line each."""
    warnings = record_checks.from_manifest(manifest)
    for name, payloads in sample.payloads.items():
        warnings += record_checks.one_valued(name, payloads)
    features = features_for(manifest.schema_.items)
    vectors = {feature.name: feature.descriptor(sample.values[feature.name]) for feature in features}
    warnings += record_checks.shifted(vectors, sample.presence, settings.reach)
    pairs = record_checks.near_duplicates(vectors, sample.presence, settings.min_cosine)
    if pairs:
        first = ", ".join(f"{sample.ids[i]} and {sample.ids[j]}" for i, j in pairs[:3])
        warnings.append(f"items: near-duplicates, {len(pairs):,} in pairs ({first}); the same item twice?")
    events = stored_events(records, manifest)
    warnings += record_checks.heavy_users(Counter(events["user"]), settings.heavy, len(events))
    warnings += record_checks.ids_off_by_one(sample.ids, list(events["item"].unique()), _unknown_items(records))
    if manifest.schema_.has_time:
        warnings += record_checks.odd_times(events["time"].to_numpy(), int(time.time()))
    return warnings


def _unknown_items(records: Path) -> list[str]:
    path = records / REJECTED_FILE
    if not path.is_file():
        return []
    rejects = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    unknown = [record_checks.unknown_item(reject.get("reason", ""), reject.get("detail")) for reject in rejects]
    return [item for item in unknown if item is not None]
