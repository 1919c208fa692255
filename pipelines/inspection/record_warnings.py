"""Reads what `tfrecs.reading.record_checks` judges out of records, and a sample of items decoded."""

from __future__ import annotations

import json
import re
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
    """The first N items: `ids`, `titles` str; `payloads` serialized feature payloads; decoded `values` [N, ...] and
    `presence` bool [N, M]."""

    ids: list[str]
    titles: list[str]
    payloads: dict[str, list[bytes]]
    values: dict[str, np.ndarray]
    presence: np.ndarray

    def item(self, row: int) -> tuple[str, str, dict[str, Any]]:
        """Id, title, and the values that are there."""
        there = {name: values[row] for at, (name, values) in enumerate(self.values.items()) if self.presence[row, at]}
        return self.ids[row], self.titles[row], there


def read_sample(records: Path, manifest: Manifest, count: int) -> Sample:
    """Consecutive items, because rows that are out of line show only beside their neighbours."""
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


def look(records: Path, manifest: Manifest, sample: Sample, settings: InspectConfig) -> list[str]:
    """All warnings about records."""
    says = record_checks.from_manifest(manifest)
    for name, payloads in sample.payloads.items():
        says += record_checks.one_valued(name, payloads)
    features = features_for(manifest.schema_.items)
    vectors = {feature.name: feature.descriptor(sample.values[feature.name]) for feature in features}
    says += record_checks.shifted(vectors, sample.presence, settings.reach)
    pairs = record_checks.near_duplicates(vectors, sample.presence, settings.likeness)
    if pairs:
        first = ", ".join(f"{sample.ids[i]} and {sample.ids[j]}" for i, j in pairs[:3])
        says.append(f"items: near-duplicates, {len(pairs):,} in pairs ({first}); the same item twice?")
    events = stored_events(records, manifest)
    says += record_checks.heavy_users(Counter(events["user"]), settings.heavy)
    says += record_checks.ids_off_by_one(sample.ids, list(events["item"].unique()), _unknown_items(records))
    if manifest.schema_.has_time:
        says += record_checks.odd_times(events["time"].to_numpy(), int(time.time()))
    return says


def _unknown_items(records: Path) -> list[str]:
    path = records / REJECTED_FILE
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        reject = json.loads(line) if line else {}
        if reject.get("reason") == "interaction with an unknown item":
            said = re.search(r" is '(.*)'$", reject.get("detail", ""))
            found.append(said[1] if said else "")
    return found
