"""Encodes a sample of the values and Examples of a planned build, with the build's own code, to tell what all would come to."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrecs.build.build_plan import BuildPlan
from tfrecs.build.encoding import encode_rows
from tfrecs.build.feature_table import Entities
from tfrecs.build.shards import cut
from tfrecs.records import item_example, window_example
from tfrecs.schema import SPLITS


@dataclass(frozen=True)
class FeatureSample:
    """What a sample of the values of a feature came to.

    Attributes:
      name, kind: of the feature.
      total: number of items or users.
      with_value: how many of them have a value that has not been refused yet.
      checked: how many values were encoded.
      broken: how many of these were refused.
      in_part: how many of these can be used in part only.
      fault: why the first one was refused, with file and id; "" where none was.
      seconds: mean time to encode a value, on one core.
      bytes: mean size of an encoded value.
    """

    name: str
    kind: str
    total: int
    with_value: int
    checked: int
    broken: int
    in_part: int
    fault: str
    seconds: float
    bytes: float

    @property
    def coverage(self) -> float:
        """Share of the items or users that will have the feature, if the others are as the sample."""
        return self.with_value * (1.0 - self.broken / max(self.checked, 1)) / max(self.total, 1)


def sample_features(entities: Entities, count: int) -> list[FeatureSample]:
    """Encode at most `count` values of each feature, spread evenly over the entities that have one."""
    samples = []
    for feature in entities.features:
        values = entities.values[feature.name]
        there = np.flatnonzero([value is not None for value in values])
        rows = there[_spread(len(there), count)]
        started = time.perf_counter()
        encoded = [value for (value,) in encode_rows([feature], [[values[row]] for row in rows])]
        seconds = time.perf_counter() - started
        broken = [(row, value) for row, value in zip(rows, encoded, strict=True) if value.fault is not None]
        fault = f"{entities.ids[broken[0][0]]}: {broken[0][1].fault}" if broken else ""
        sizes = [value.payload.ByteSize() for value in encoded if value.payload is not None]
        samples.append(
            FeatureSample(
                name=feature.name,
                kind=feature.schema.kind,
                total=len(entities.ids),
                with_value=len(there),
                checked=len(rows),
                broken=len(broken),
                in_part=sum(bool(value.notes) for value in encoded),
                fault=fault,
                seconds=seconds / max(len(rows), 1),
                bytes=float(np.mean(sizes)) if sizes else 0.0,
            )
        )
    return samples


def sample_items(entities: Entities, count: int) -> list[bytes]:
    """Return the serialized Examples of at most `count` items; a value that is refused counts as missing."""
    part = entities.part(_spread(len(entities.ids), count).tolist())
    missing = [feature.encode(None) for feature in part.features]
    rows = [[part.values[feature.name][at] for feature in part.features] for at in range(len(part.ids))]
    examples = []
    for at, encoded in enumerate(encode_rows(part.features, rows)):
        payloads: dict[str, tf.train.Feature] = {
            feature.name: absent if value.payload is None else value.payload
            for feature, value, absent in zip(part.features, encoded, missing, strict=True)
        }
        example = item_example(part.ids[at], part.titles[at], payloads)
        examples.append(example.SerializeToString(deterministic=True))
    return examples


@dataclass(frozen=True)
class WindowSample:
    """The size of all user windows together, in bytes, and the seconds to write them on one core, from a sample."""

    bytes: float
    seconds: float


def sample_windows(plan: BuildPlan, count: int, user_bytes: float) -> WindowSample:
    """Serialize at most `count` user windows of each split.

    Args:
      plan: of the build.
      count: windows of a split.
      user_bytes: size of the encoded features of a user.
    """
    size = seconds = 0.0
    to_examples = plan.to_examples()
    for split in SPLITS:
        total = plan.examples(split)
        rows = _spread(total, count)
        sizes: list[int] = []
        spent = 0.0
        first = 0
        for windows, columns, _ in plan.windows(split):
            several = list(windows)
            for row in rows[(rows >= first) & (rows < first + len(several))].tolist():
                started = time.perf_counter()
                # One at a time: a shard cuts out the events that its windows reach, and these lie far apart.
                part = cut([several[row - first]], columns, to_examples)
                sizes.append(window_example("", part.windows[0], part.columns, {}).ByteSize())
                spent += time.perf_counter() - started
            first += len(several)
        share = total / max(len(rows), 1)
        seconds += spent * share
        size += sum(sizes) * share + user_bytes * total
    return WindowSample(size, seconds)


def _spread(total: int, count: int) -> np.ndarray:
    """At most `count` of the numbers below `total`, spread evenly."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(np.int64))
