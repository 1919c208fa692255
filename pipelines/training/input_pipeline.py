"""tf.data of a training run: windows of events, and the items whose encoders run in the step.

Everything that cannot stand in a compiled step (strings, look-ups, tokenising, spectrograms) happens here; every
tensor that leaves here has a static shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.training.typed_queries import own_queries
from tfrecs.reading.reader import Catalogue, empty_windows, item_features, training_windows, user_features
from tfrecs.schema import ContextSchema, Manifest, Schema
from towers.encoders.base import Encoder, TextQueryEncoder


@dataclass(frozen=True)
class PreparedItems:
    """The catalogue as its encoders take it: `inputs` name -> [N, ...], `presence` bool [N, M].

    Preprocessed once and held in memory (tokens, pixels, spectrograms): a training step picks rows.
    """

    inputs: dict[str, tf.Tensor]
    presence: np.ndarray

    def rows(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.gather(value, index) for name, value in self.inputs.items()}

    def batches(self, size: int) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
        """Slices of at most `size` items, all padded to `size` (one static shape), with their true length."""
        count = len(self.presence)
        for start in range(0, count, size):
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield self.rows(tf.constant(index)), min(size, count - start)


def prepare_items(
    schema: Schema, encoders: Mapping[str, Encoder], catalogue: Catalogue, progress: Callable[[int, int], None] | None
) -> PreparedItems:
    """Parses, decodes and preprocesses every item once."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
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
    """A function from raw column contexts (strings, floats) to what `UserTower` takes; "" and NaN are unknown.

    Returns:
      the function and the look-up tables it uses, which whoever saves it must track.
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


class TrainingFeed:
    """Batches of one training run; epoch e of seed s is always the same sequence of batches.

    Args:
      records: the folder.
      manifest: its manifest.
      catalogue: its items.
      items: the same, preprocessed; None where the encoders are frozen and no text query is trained.
      user_encoders: user feature -> encoder.
      query_encoder: of the text feature, or None.
      batch: windows in a GLOBAL batch.
      length, stride: see `training_windows`.
      fresh: items encoded in a GLOBAL step.
      encode_items: whether those items' features are in the batch (mode finetune), or their text only.
      queries: events' own text queries encoded in a GLOBAL step, where they have any.
      query_share: see `pipelines.training.typed_queries.own_queries`.
      seed: of shuffling and sampling.
      data_service: address of a tf.data service that reads the windows, None: this process.
    """

    def __init__(
        self,
        records: Path,
        manifest: Manifest,
        catalogue: Catalogue,
        items: PreparedItems,
        user_encoders: Mapping[str, Encoder],
        query_encoder: TextQueryEncoder | None,
        *,
        batch: int,
        length: int,
        stride: int,
        fresh: int,
        encode_items: bool,
        queries: int,
        query_share: float,
        seed: int,
        data_service: str | None = None,
    ):
        self.records, self.manifest, self.catalogue, self.items = records, manifest, catalogue, items
        self.user_encoders, self.query_encoder = user_encoders, query_encoder
        self.batch, self.length, self.stride = batch, length, stride
        self.fresh = min(fresh, len(catalogue))
        self.encode_items, self.seed = encode_items, seed
        self.queries, self.query_share = queries, query_share
        self.data_service = data_service
        self.encode_context, _ = context_encoder(manifest.schema_.context)
        self.windows = int(self._windows(0).reduce(0, lambda count, _: count + 1))
        self.steps = max(1, -(-self.windows // batch))

    def _windows(self, epoch: int) -> tf.data.Dataset:
        return training_windows(
            self.records,
            self.manifest,
            self.catalogue.ids,
            length=self.length,
            stride=self.stride,
            permutation_seed=None if self.manifest.schema_.ordered else self.seed + epoch,
            service=self.data_service,
        )

    def epoch(self, epoch: int, replicas: int = 1, pipelines: int = 1, pipeline: int = 0) -> tf.data.Dataset:
        """The batches of an epoch, each of `batch / replicas` windows.

        Args:
          replicas: replicas in all; consecutive elements go to the replicas of this input pipeline.
          pipelines, pipeline: number of input pipelines (workers) and which one this is.
        """
        size = self.batch // replicas
        windows = self._windows(epoch)
        # Empty windows fill the last global batch, so that no event is dropped and every shape is static.
        windows = windows.concatenate(empty_windows(windows.element_spec, self.steps * self.batch - self.windows))
        total = self.steps * self.batch
        windows = windows.shuffle(total, seed=self.seed + epoch, reshuffle_each_iteration=False)
        batches = windows.batch(size, drop_remainder=True).enumerate()
        if pipelines > 1:
            batches = batches.shard(pipelines, pipeline)
        seed = self.seed + 7919 * (epoch + 1)
        return batches.map(lambda step, batch: self._complete(batch, step, seed, replicas), tf.data.AUTOTUNE).prefetch(
            4
        )

    def _complete(self, batch: dict[str, Any], step: tf.Tensor, seed: int, replicas: int) -> dict[str, Any]:
        schema = self.manifest.schema_
        batch = dict(batch)
        batch["labels"] = tf.ensure_shape(batch["labels"], [None, self.length, len(schema.labels)])
        batch["context"] = self.encode_context(batch["context"])
        serialized, typed = batch.pop("user"), batch.pop("query", None)
        if schema.users:
            values, presence = user_features(schema, serialized)
            batch["user"] = {name: encoder.preprocess(values[name]) for name, encoder in self.user_encoders.items()}
            batch["user_presence"] = presence
        if not self.encode_items and self.query_encoder is None:
            return batch
        count = self.fresh // replicas
        at = tf.stack([tf.constant(seed, tf.int64), step])
        index = _some_targets(batch["item_index"], batch["target"], count, at)
        batch["fresh_index"] = index
        rows = tf.maximum(index, 0)
        if self.encode_items:
            batch["fresh"] = self.items.rows(rows)
        if self.query_encoder is not None:
            text = self.query_encoder.schema.name
            batch["spans"] = self.query_encoder.spans(tf.gather(self.items.inputs[text], rows), at + 1)
        if self.query_encoder is not None and typed is not None:
            batch |= own_queries(
                typed,
                batch["item_index"],
                batch["target"],
                index,
                self.query_encoder,
                count=self.queries // replicas,
                share=self.query_share,
                seed=at + 2,
            )
        return batch


def _some_targets(index: tf.Tensor, target: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` different targets of a batch, drawn at random; -1 where there are fewer."""
    shuffled = tf.random.experimental.stateless_shuffle(tf.boolean_mask(index, target), seed=seed)
    unique = tf.unique(shuffled).y[:count]
    return tf.ensure_shape(tf.pad(unique, [[0, count - tf.size(unique)]], constant_values=-1), [count])
