"""tf.data of a training run: windows of events, the items that a step encodes, and the text queries.

Everything that a compiled step cannot do (strings, look-ups, tokenising, spectrograms) happens here; every tensor of a
batch has a static shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.config import Config
from pipelines.model.prepared_items import PreparedItems, context_encoder
from tfrecs.reading.reader import Catalogue, empty_windows, training_windows, user_features
from tfrecs.schema import Manifest
from towers.encoders.base import Encoder, TextQueryEncoder


class TrainingFeed:
    """Batches of one training run; epoch e of seed s is always the same sequence of batches.

    Args:
      records: the folder.
      manifest: its manifest.
      catalogue: its items.
      items: the same, preprocessed.
      user_encoders: user feature -> encoder.
      query_encoder: of the text feature, or None.
      config: sections `train`, `user` and `retrieval`, and the seed of shuffling and sampling.
    """

    def __init__(
        self,
        records: Path,
        manifest: Manifest,
        catalogue: Catalogue,
        items: PreparedItems,
        user_encoders: Mapping[str, Encoder],
        query_encoder: TextQueryEncoder | None,
        config: Config,
    ):
        self.records, self.manifest, self.catalogue, self.items = records, manifest, catalogue, items
        self.user_encoders, self.query_encoder, self.config = user_encoders, query_encoder, config
        self.length, self.batch_size = config.user.max_history, config.train.batch_size
        self.fresh_items = min(config.train.fresh_items, len(catalogue))
        self.encode_items = config.train.encodes_in_step and bool(items.inputs)
        self.encode_context, _ = context_encoder(manifest.schema_.context)
        self.windows = int(self._windows(0).reduce(0, lambda count, _: count + 1))
        self.steps = max(1, -(-self.windows // self.batch_size))

    def _windows(self, epoch: int) -> tf.data.Dataset:
        return training_windows(
            self.records,
            self.manifest,
            self.catalogue.ids,
            length=self.length,
            stride=min(self.config.user.stride, self.length),
            permutation_seed=None if self.manifest.schema_.ordered else self.config.seed + epoch,
            service=self.config.train.data_service,
        )

    def epoch(self, epoch: int, replicas: int = 1, pipelines: int = 1, pipeline: int = 0) -> tf.data.Dataset:
        """The batches of an epoch, each of `train.batch_size / replicas` windows.

        Args:
          epoch: from 0.
          replicas: replicas in all; consecutive elements go to the replicas of this input pipeline.
          pipelines: number of input pipelines (workers).
          pipeline: which of them this is.

        Returns:
          batches as `TwoTower.compute_loss` takes them.
        """
        windows = self._windows(epoch)
        total = self.steps * self.batch_size
        # Empty windows fill the last global batch, so that no event is dropped and every shape is static.
        windows = windows.concatenate(empty_windows(windows.element_spec, total - self.windows))
        windows = windows.shuffle(total, seed=self.config.seed + epoch, reshuffle_each_iteration=False)
        batches = windows.batch(self.batch_size, drop_remainder=True).enumerate()
        seed = self.config.seed + 7919 * (epoch + 1)
        batches = batches.map(lambda step, batch: self._draw(batch, step, seed, replicas), tf.data.AUTOTUNE).unbatch()
        if pipelines > 1:
            batches = batches.shard(pipelines, pipeline)
        return batches.map(lambda batch: self._complete(batch, replicas), tf.data.AUTOTUNE).prefetch(4)

    @tf.autograph.experimental.do_not_convert
    def _draw(self, batch: dict[str, Any], step: tf.Tensor, seed: int, replicas: int) -> dict[str, Any]:
        """Draw the items of a GLOBAL batch and divide it: [replicas, ...]. Any number of replicas takes the same step."""
        batch = dict(batch)
        step_seed = tf.stack([tf.constant(seed, tf.int64), step])
        if self.encode_items or self.query_encoder is not None:
            count = -(-self.fresh_items // replicas) * replicas
            index = sample_targets(batch["item_index"], batch["target"], count, step_seed)
            batch["fresh_index"] = index
        if self.query_encoder is not None:
            text = self.query_encoder.schema.name
            batch["spans"] = self.query_encoder.spans(
                tf.gather(self.items.inputs[text], tf.maximum(index, 0)), step_seed + 1
            )
            if "query" in batch:
                batch |= made_queries(batch["query"], batch["item_index"], batch["target"], index)
        parts = tf.range(replicas, dtype=tf.int64)
        batch = tf.nest.map_structure(lambda value: tf.stack(tf.split(value, replicas)), batch)
        return {**batch, "seed": tf.stack([tf.fill([replicas], step_seed[0]), step * replicas + parts], axis=1)}

    @tf.autograph.experimental.do_not_convert
    def _complete(self, batch: dict[str, Any], replicas: int) -> dict[str, Any]:
        """Preprocess the part of one replica."""
        schema = self.manifest.schema_
        batch = dict(batch)
        batch["labels"] = tf.ensure_shape(batch["labels"], [None, self.length, len(schema.labels)])
        batch["context"] = self.encode_context(batch["context"])
        serialized, queries, seed = batch.pop("user"), batch.pop("query", None), batch.pop("seed")
        if schema.users:
            values, presence = user_features(schema, serialized)
            batch["user"] = {name: encoder.preprocess(values[name]) for name, encoder in self.user_encoders.items()}
            batch["user_presence"] = presence
        if self.encode_items:
            batch["fresh"] = self.items.rows(tf.maximum(batch["fresh_index"], 0))
        if self.query_encoder is not None and queries is not None:
            batch |= typed_queries(
                queries,
                batch["has_query"],
                self.query_encoder,
                count=self.config.retrieval.queries_per_batch // replicas,
                rate=self.config.retrieval.own_query_rate,
                seed=seed + 2,
            )
        return batch


def sample_targets(item_index: tf.Tensor, target: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw different targets of a batch at random.

    Args:
      item_index: int32 [B, L].
      target: bool [B, L].
      count: R.
      seed: int64 [2], stateless.

    Returns:
      int32 [R], -1 where there are fewer.
    """
    shuffled = tf.random.experimental.stateless_shuffle(tf.boolean_mask(item_index, target), seed=seed)
    unique = tf.unique(shuffled).y[:count]
    return tf.ensure_shape(tf.pad(unique, [[0, count - tf.size(unique)]], constant_values=-1), [count])


def made_queries(
    texts: tf.Tensor, item_index: tf.Tensor, target: tf.Tensor, fresh_index: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Which queries are made of items' texts, where events have text queries of their own.

    Args:
      texts: string [B, L], "" = none.
      item_index: int32 [B, L].
      target: bool [B, L].
      fresh_index: int32 [R], the items that queries are made for, -1 = padding.

    Returns:
      `has_query` bool [B, L] and `span_index` int32 [R], see `towers.text_queries`.
    """
    has_query = target & (texts != "")
    without_query = tf.boolean_mask(item_index, target & ~has_query)
    keep_made = tf.reduce_any(fresh_index[:, None] == without_query[None, :], axis=1)
    return {"has_query": has_query, "span_index": tf.where(keep_made, fresh_index, -1)}


def typed_queries(
    texts: tf.Tensor,
    has_query: tf.Tensor,
    encoder: TextQueryEncoder,
    *,
    count: int,
    rate: float,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Draw and tokenise text queries that events of a batch have of their own.

    Args:
      texts: string [B, L].
      has_query: bool [B, L], the events that have one.
      encoder: takes the queries.
      count: Q; of more events with a query, these are drawn at random.
      rate: share of the drawn ones that the user tower gets. Not all: most requests have no text.
      seed: int64 [2], stateless; this one and the next are used.

    Returns:
      the part of a batch that `towers.text_queries` describes.
    """
    flat = tf.reshape(texts, [-1])
    position = tf.cast(tf.where(tf.reshape(has_query, [-1]))[:, 0], tf.int32)
    drawn = tf.random.experimental.stateless_shuffle(position, seed=seed)[:count]
    drawn = tf.ensure_shape(tf.pad(drawn, [[0, count - tf.size(drawn)]], constant_values=-1), [count])
    queries = tf.where(drawn >= 0, tf.gather(flat, tf.maximum(drawn, 0)), "")
    return {
        "queries": tf.ensure_shape(encoder.preprocess_query(queries), [count, encoder.query_tokens]),
        "query_position": drawn,
        "query_given": (tf.random.stateless_uniform([count], seed + 1) < rate) & (drawn >= 0),
    }
