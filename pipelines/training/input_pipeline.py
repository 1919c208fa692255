"""tf.data of a training run: windows of events, and the items whose encoders run in the step.

Everything that cannot stand in a compiled step (strings, look-ups, tokenising, spectrograms) happens here; every
tensor that leaves here has a static shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.model.prepared_items import PreparedItems, context_encoder
from pipelines.training.typed_queries import own_queries
from tfrecs.reading.reader import Catalogue, empty_windows, training_windows, user_features
from tfrecs.schema import Manifest
from towers.encoders.base import Encoder, TextQueryEncoder


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
