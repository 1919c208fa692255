"""The preprocessed catalogue, and the look-ups of column contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.reading.reader import Catalogue, item_features
from tfrecs.schema import ContextSchema, Schema
from towers.encoders.base import Encoder


@dataclass(frozen=True)
class PreparedItems:
    """The catalogue, preprocessed once (tokens, pixels, spectrograms) and held in memory: a training step gathers rows.

    Attributes:
      inputs: modality -> [N, ...], inputs of its encoder.
      presence: bool [N, M], the modalities that each item has.
    """

    inputs: dict[str, tf.Tensor]
    presence: np.ndarray

    def rows(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inputs of the items at positions `index`, int [R]: name -> [R, ...]."""
        return {name: tf.gather(value, index) for name, value in self.inputs.items()}

    def batches(self, size: int) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
        """Slices of at most `size` items, padded to `size` so that all have one shape, with their true length."""
        count = len(self.presence)
        for start in range(0, count, size):
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield self.rows(tf.constant(index)), min(size, count - start)


def prepare_items(
    schema: Schema, encoders: Mapping[str, Encoder], catalogue: Catalogue, progress: Callable[[int, int], None] | None
) -> PreparedItems:
    """Parse, decode and preprocess every item once.

    Args:
      schema: of the records.
      encoders: modality -> encoder, which preprocesses.
      catalogue: the items as they are stored.
      progress: called with the number of items that are done and of all.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def prepare(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        values, presence = item_features(schema, serialized)
        return {name: encoder.preprocess(values[name]) for name, encoder in encoders.items()}, presence

    parts: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    presences = []
    for start in range(0, len(catalogue), 256):
        inputs, presence = prepare(catalogue.serialized[start : start + 256])
        for name, value in inputs.items():
            parts[name].append(value.numpy())
        presences.append(presence.numpy())
        if progress is not None:
            progress(min(start + 256, len(catalogue)), len(catalogue))
    return PreparedItems(
        {name: tf.constant(np.concatenate(values)) for name, values in parts.items()}, np.concatenate(presences)
    )


ContextEncoder = Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]


def context_encoder(context: tuple[ContextSchema, ...]) -> tuple[ContextEncoder, list[Any]]:
    """Make the function from raw column contexts (strings, floats) to those of `UserTower`; "" and NaN are unknown.

    Args:
      context: of the schema.

    Returns:
      the function, and the look-up tables it uses, which a SavedModel must track.
    """
    tables = {
        row.name: tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(row.vocabulary, tf.string), tf.range(1, len(row.vocabulary) + 1, dtype=tf.int32)
            ),
            default_value=0,
        )
        for row in context
        if row.source == "column" and row.kind == "categories"
    }

    def encode(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        result = {}
        for row in context:
            if row.source != "column":
                continue
            value = raw[row.name]
            if row.kind == "categories":
                result[row.name] = tables[row.name].lookup(value)
            else:
                standard = (value - row.mean) / row.std
                result[row.name] = tf.where(tf.math.is_nan(value), 0.0, tf.clip_by_value(standard, -10.0, 10.0))
        return result

    return encode, list(tables.values())
