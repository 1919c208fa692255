"""tf.data of a training run: rows of events, a step's candidates, the items that it encodes, and the text queries.

Everything that a compiled step cannot do (strings, look-ups, tokenising, spectrograms) happens here; every tensor of a
batch has a static shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import Config
from pipelines.model.encodings import Encodings
from pipelines.model.model_factory import choose_softmax
from pipelines.model.prepared_items import CatalogueInputs, context_encoder
from pipelines.runs.progress import progress
from tfrecs.reading.reader import Catalogue, empty_rows, training_rows, user_features
from tfrecs.schema import Manifest
from towers.encoders.base import Encoder, TextQueryEncoder


class TrainingFeed:
    """Batches of one training run; epoch e of seed s is always the same sequence of batches.

    Args:
      records: the folder.
      manifest: its manifest.
      catalogue: its items.
      items: the same as the encoders take them.
      user_encoders: user feature -> encoder.
      query_encoder: of the text feature, or None.
      config: sections `train`, `user` and `retrieval`, and the seed of shuffling and sampling.

    Attributes:
      rows: rows of an epoch, each of `user.max_history` events.
      events: events in them, those that a row repeats as history included.
      steps: batches of an epoch.
      encodings: of the catalogue, where batches must bring along those of their candidates.
    """

    encodings: Encodings | None = None

    def __init__(
        self,
        records: Path,
        manifest: Manifest,
        catalogue: Catalogue,
        items: CatalogueInputs,
        user_encoders: Mapping[str, Encoder],
        query_encoder: TextQueryEncoder | None,
        config: Config,
    ):
        self.records, self.manifest, self.catalogue, self.items = records, manifest, catalogue, items
        self.user_encoders, self.query_encoder, self.config = user_encoders, query_encoder, config
        self.length, self.batch_size = config.user.max_history, config.train.batch_size
        self.fresh_items = min(config.train.fresh_items, len(catalogue))
        self.encode_items = config.train.encodes_in_step and bool(manifest.schema_.items)
        self.encode_context, _ = context_encoder(manifest.schema_.context)
        self.in_batch = choose_softmax(config, len(catalogue)) == "in_batch"
        self.shares = shares_of(catalogue.counts(manifest))
        self._kept: tf.data.Dataset | None = None
        self.rows, self.events, self._targets = self._count()
        if manifest.schema_.ordered and self.rows <= config.train.shuffle_rows:
            self._kept = self._rows(0).cache()  # the same in every epoch, and no more than shuffling holds anyway
        self.steps = max(1, -(-self.rows // self.batch_size))

    @property
    def padding(self) -> float:
        """Share of the positions of an epoch's rows that hold no event."""
        return 1.0 - self.events / max(1, self.rows * self.length)

    def _rows(self, epoch: int) -> tf.data.Dataset:
        return self._kept or training_rows(
            self.records,
            self.manifest,
            self.catalogue.ids,
            length=self.length,
            stride=min(self.config.user.stride, self.length),
            permutation_seed=None if self.manifest.schema_.ordered else self.config.seed + epoch,
            service=self.config.train.data_service,
        )

    def target_share(self, replicas: int = 1) -> float:
        """The share of the positions of a replica's batch that its targets seldom exceed: two standard deviations up."""
        mean, deviation = self._targets
        return min(1.0, (mean + 2.0 * deviation / (self.batch_size / replicas) ** 0.5) / self.length)

    def _count(self) -> tuple[int, int, tuple[float, float]]:
        """Return the rows of an epoch, the events in them, and mean and standard deviation of the targets of a row."""
        rows = events = targets = squares = 0
        total = self.manifest.splits["train"].events
        parts = self._rows(0).map(lambda row: (row["segment"], row["target"])).batch(1024)
        with progress("counting rows", "events") as advance:
            for segment, target in parts:
                rows += len(segment)
                events += int(tf.math.count_nonzero(segment >= 0))
                of_rows = np.count_nonzero(target, axis=1)
                targets, squares = targets + int(of_rows.sum()), squares + int((of_rows**2).sum())
                advance(targets, total)
        mean = targets / max(rows, 1)
        return rows, events, (mean, max(0.0, squares / max(rows, 1) - mean**2) ** 0.5)

    def epoch(self, epoch: int, replicas: int = 1, pipelines: int = 1, pipeline: int = 0) -> tf.data.Dataset:
        """The batches of an epoch, each of `train.batch_size / replicas` rows.

        Args:
          epoch: from 0.
          replicas: replicas in all; consecutive elements go to the replicas of this input pipeline.
          pipelines: number of input pipelines (workers).
          pipeline: which of them this is.

        Returns:
          batches as `TwoTower.compute_loss` takes them.
        """
        rows = self._rows(epoch)
        total = self.steps * self.batch_size
        # Empty rows fill the last global batch, so that no event is dropped and every shape is static.
        rows = rows.concatenate(empty_rows(rows.element_spec, total - self.rows))
        buffer = min(total, self.config.train.shuffle_rows)
        rows = rows.shuffle(buffer, seed=self.config.seed + epoch, reshuffle_each_iteration=False)
        batches = rows.batch(self.batch_size, drop_remainder=True).enumerate()
        seed = self.config.seed + 7919 * (epoch + 1)
        batches = batches.map(lambda step, batch: self._draw(batch, step, seed, replicas), tf.data.AUTOTUNE)
        parts = parts_of_replicas(batches, pipelines, pipeline)
        return parts.map(lambda batch: self._complete(batch, replicas), tf.data.AUTOTUNE).prefetch(4)

    @tf.autograph.experimental.do_not_convert
    def _draw(self, batch: dict[str, Any], step: tf.Tensor, seed: int, replicas: int) -> dict[str, Any]:
        """Draw the items of a GLOBAL batch and divide it: [replicas, ...]. Any number of replicas takes the same step."""
        batch = dict(batch)
        step_seed = tf.stack([tf.constant(seed, tf.int64), step])
        if self.in_batch:
            batch["candidates"], batch["item_index"], batch["log_sampled"] = sample_candidates(
                batch["item_index"],
                batch["segment"] >= 0,
                self.shares,
                self.config.retrieval.uniform_negatives,
                tf.stack([tf.constant(seed, tf.int64), -1 - step]),
            )
        if self.encode_items or self.query_encoder is not None:
            count = -(-self.fresh_items // replicas) * replicas
            index = sample_targets(batch["item_index"], batch["target"], count, step_seed)
            batch["fresh_index"] = index
        if self.query_encoder is not None:
            text = self.query_encoder.schema.name
            rows = _catalogue_rows(batch)
            batch["spans"] = self.query_encoder.spans(self.items.rows(rows, only=[text])[text], step_seed + 1)
            if "query" in batch:
                batch |= made_queries(batch["query"], batch["item_index"], batch["target"], index)
        parts = tf.range(replicas, dtype=tf.int64)
        return {
            **divided(batch, replicas),
            "seed": tf.stack([tf.fill([replicas], step_seed[0]), step * replicas + parts], axis=1),
        }

    @tf.autograph.experimental.do_not_convert
    def _complete(self, batch: dict[str, Any], replicas: int) -> dict[str, Any]:
        """Preprocess the part of one replica."""
        schema = self.manifest.schema_
        batch = dict(batch)
        batch["labels"] = tf.ensure_shape(batch["labels"], [None, self.length, len(schema.labels)])
        batch["context"] = self.encode_context(batch["context"])
        serialized, queries, seed = batch.pop("user"), batch.pop("query", None), batch.pop("seed")
        if schema.users:
            values, presence = user_features(schema, tf.reshape(serialized, [-1]))
            shape = serialized.shape
            batch["user"] = {
                name: _as_rows(encoder.preprocess(values[name]), shape) for name, encoder in self.user_encoders.items()
            }
            batch["user_presence"] = _as_rows(presence, shape)
        if self.encodings is not None:
            batch["encodings"] = self.encodings.gather(tf.maximum(batch["candidates"], 0))
        if self.encode_items:
            batch["fresh"] = self.items.rows(_catalogue_rows(batch))
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


def _catalogue_rows(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The positions int32 [R] of a batch's fresh items in the catalogue; any one for padding."""
    rows = tf.maximum(batch["fresh_index"], 0)
    return tf.gather(batch["candidates"], rows) if "candidates" in batch else rows


def divided(batch: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Divide a global batch: [B, ...] -> [replicas, B / replicas, ...]; all replicas get the same candidates."""
    return {
        name: tf.stack([value] * replicas)
        if name in ("candidates", "log_sampled")
        else tf.nest.map_structure(lambda part: tf.stack(tf.split(part, replicas)), value)
        for name, value in batch.items()
    }


def parts_of_replicas(batches: tf.data.Dataset, pipelines: int, pipeline: int) -> tf.data.Dataset:
    """The parts of divided batches, one by one: those of one of several input pipelines (workers)."""
    # Not `unbatch`, which crashes where there are no labels (TensorFlow 2.17).
    parts = batches.flat_map(tf.data.Dataset.from_tensor_slices)
    return parts.shard(pipelines, pipeline) if pipelines > 1 else parts


def _as_rows(values: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    return tf.reshape(values, [*shape, *values.shape[1:]])


def shares_of(counts: np.ndarray) -> tf.Tensor:
    """The share float64 [N] of each item in all events, by their counts [N].

    An item without a count may be in a batch all the same, as history: as if it had one.
    """
    return tf.constant(np.maximum(counts, 1.0) / max(float(counts.sum()), 1.0), tf.float64)


def sample_candidates(
    item_index: tf.Tensor, is_event: tf.Tensor, shares: tf.Tensor, uniform: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Make the candidates of a sampled softmax: the items of a batch, and others drawn uniformly from the catalogue.

    Negatives of both kinds are what Yang et al. (2020, "Mixed negative sampling for learning two-tower neural networks in
    recommendations") train on: those of the batch teach what is likely, and uniform ones that the rest is not.

    Args:
      item_index: int32 [B, L], positions in the catalogue.
      is_event: bool [B, L], False = padding.
      shares: float64 [N], see `shares_of`.
      uniform: draws from the catalogue.
      seed: int64 [2], stateless.

    Returns:
      candidates int32 [B * L + uniform], different items, the batch's first, -1 = none; `item_index` as positions in
      that; and float32 [B * L + uniform], the log of the probability that a batch like this one has the candidate: each
      event has an item by its share, each draw any one.
    """
    # In the place of padding any item of the batch, so that every candidate but the drawn ones has an event.
    some = tf.reduce_max(tf.where(is_event, item_index, 0))
    items = tf.reshape(tf.where(is_event, item_index, some), [-1])
    num_items = tf.shape(shares)[0]
    drawn = tf.random.stateless_uniform([uniform], seed, maxval=num_items, dtype=tf.int32)
    unique, position = tf.unique(tf.concat([items, drawn], axis=0))
    size = item_index.shape[0] * item_index.shape[1] + uniform
    candidates = tf.ensure_shape(tf.pad(unique, [[0, size - tf.size(unique)]], constant_values=-1), [size])
    events = tf.cast(tf.math.count_nonzero(is_event), tf.float64)
    missed = events * tf.math.log1p(-tf.gather(shares, tf.maximum(candidates, 0)))
    missed += uniform * tf.math.log1p(-1.0 / tf.cast(num_items, tf.float64))
    log_sampled = tf.math.log(-tf.math.expm1(missed))
    return candidates, tf.reshape(position[: tf.size(items)], tf.shape(item_index)), tf.cast(log_sampled, tf.float32)


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
