"""The catalogue as the encoders take it (tokens, pixels, spectrograms): in memory where it is small, else read by rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.runs.progress import Advance
from tfrecs.reading.item_records import ItemRecords
from tfrecs.reading.reader import Catalogue, item_features
from tfrecs.schema import ContextSchema, Schema
from towers.encoders.base import Encoder

_BATCH = 256


class CatalogueInputs(ABC):
    """N items, preprocessed.

    Attributes:
      presence: bool [N, M], the modalities that each item has.
    """

    presence: np.ndarray

    @abstractmethod
    def rows(self, index: tf.Tensor, only: Collection[str] | None = None) -> dict[str, tf.Tensor]:
        """Inputs of the items at positions `index`, int [R]: name -> [R, ...]; with `only` of these modalities alone."""

    def batches(self, size: int) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
        """Slices of at most `size` items, padded to `size` so that all have one shape, with their true length."""
        count = len(self.presence)
        for start in range(0, count, size):
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield self.rows(tf.constant(index)), min(size, count - start)


@dataclass(frozen=True)
class PreparedItems(CatalogueInputs):
    """Items that were preprocessed once and are held in memory.

    Attributes:
      inputs: modality -> [N, ...], inputs of its encoder.
      presence: bool [N, M], the modalities that each item has.
    """

    inputs: dict[str, tf.Tensor]
    presence: np.ndarray

    def rows(self, index: tf.Tensor, only: Collection[str] | None = None) -> dict[str, tf.Tensor]:
        names = self.inputs if only is None else only
        return {name: tf.gather(self.inputs[name], index) for name in names}


@dataclass(frozen=True)
class StoredItems(CatalogueInputs):
    """Items whose records are read, decoded and preprocessed whenever they are needed.

    Attributes:
      schema: of the records.
      encoders: modality -> encoder, which preprocesses.
      records: of the items.
      presence: bool [N, M], the modalities that each item has.
    """

    schema: Schema
    encoders: Mapping[str, Encoder]
    records: ItemRecords
    presence: np.ndarray

    def rows(self, index: tf.Tensor, only: Collection[str] | None = None) -> dict[str, tf.Tensor]:
        names = [name for name in self.encoders if only is None or name in only]
        serialized = tf.numpy_function(self.records.__getitem__, [index], tf.string)
        values, _ = item_features(self.schema, tf.ensure_shape(serialized, [index.shape[0]]), only=names)
        inputs = {name: self.encoders[name].preprocess(values[name]) for name in names}
        shapes = {name: [index.shape[0], *self.encoders[name].input_spec_static.shape] for name in names}
        return {name: tf.ensure_shape(value, shapes[name]) for name, value in inputs.items()}

    def batches(self, size: int) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
        count = len(self.presence)

        @tf.autograph.experimental.do_not_convert
        def read(start: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.rows(tf.minimum(start + tf.range(size, dtype=tf.int64), count - 1))

        starts = tf.data.Dataset.range(0, count, size)
        for number, inputs in enumerate(starts.map(read, tf.data.AUTOTUNE).prefetch(2)):
            yield inputs, min(size, count - number * size)


def prepare_items(
    schema: Schema, encoders: Mapping[str, Encoder], catalogue: Catalogue, limit: float, advance: Advance | None = None
) -> CatalogueInputs:
    """Decode and preprocess every item once, or only look which modalities it has where that would be too large to keep.

    Args:
      schema: of the records.
      encoders: modality -> encoder, which preprocesses.
      catalogue: the items as they are stored.
      limit: megabytes of preprocessed items that are kept.
      advance: called with the number of items that are done and of all.
    """
    count, specs = len(catalogue), {name: encoder.input_spec_static for name, encoder in encoders.items()}
    size = count * sum(spec.shape.num_elements() * spec.dtype.size for spec in specs.values())
    kept = encoders if size <= limit * 1e6 else {}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def prepare(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        values, presence = item_features(schema, serialized)
        return {name: encoder.preprocess(values[name]) for name, encoder in kept.items()}, presence

    inputs = {name: np.empty([count, *specs[name].shape], specs[name].dtype.as_numpy_dtype) for name in kept}
    presences = np.zeros([count, len(schema.items)], bool)
    for start in range(0, count, _BATCH):
        rows = slice(start, start + _BATCH)
        parts, presences[rows] = prepare(tf.constant(catalogue.records[rows]))
        for name, part in parts.items():
            inputs[name][rows] = part
        if advance is not None:
            advance(min(start + _BATCH, count), count)
    if encoders and not kept:
        return StoredItems(schema, encoders, catalogue.records, presences)
    return PreparedItems({name: tf.constant(inputs.pop(name)) for name in kept}, presences)


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
