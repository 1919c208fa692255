"""The stage before the first epoch: item encoders learn from content which items the same users take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.config import CooccurrenceConfig
from pipelines.item_item.neighbours import interaction_matrix
from pipelines.model.prepared_items import PreparedItems
from tfrecs.reading.reader import TrainingEvents
from towers.cooccurrence import CoOccurrence
from towers.two_tower import TwoTower

_BLOCK = 1024  # items whose co-occurrences stand in memory as a dense block


def neighbour_shares(events: TrainingEvents, num_items: int, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Which items the users of an item took besides.

    Args:
      events: of training.
      num_items: N.
      neighbours: K, the most frequent others that are kept.

    Returns:
      indices int32 [N, K] and shares float32 [N, K]: of the users of row i's item, weighed by how often they took it,
      how often each took the other, over the row's sum; all 0 where an item has no users or they took nothing else.
    """
    users, user_index = np.unique(events.users, return_inverse=True)
    matrix = interaction_matrix(user_index, events.items, num_users=len(users), num_items=num_items)
    by_item: sp.csr_matrix = matrix.T.tocsr()
    kept = min(neighbours, num_items)
    indices = np.zeros((num_items, kept), np.int32)
    shares = np.zeros((num_items, kept), np.float32)
    for start in range(0, num_items, _BLOCK):
        counts = (by_item[start : start + _BLOCK] @ matrix).toarray()
        row = np.arange(len(counts))
        counts[row, start + row] = 0.0
        # Stable, so that equal counts keep one order on every machine.
        best = np.argsort(-counts, axis=1, kind="stable")[:, :kept]
        most = np.take_along_axis(counts, best, axis=1)
        indices[start : start + _BLOCK] = best
        shares[start : start + _BLOCK] = most / np.maximum(most.sum(axis=1, keepdims=True), 1e-9)
    return indices, shares


class CoOccurrenceStage:
    """Trains the item encoders of a model whose cache is filled. Deterministic under the seed.

    Args:
      model: its encoders learn; nothing else of it changes.
      items: the catalogue.
      events: of training.
      settings: section `cooccurrence`.
      hidden_dim: of the space in which contents and items meet.
      strategy: under whose scope the model was made.
      seed: of the order of items.
    """

    def __init__(
        self,
        model: TwoTower,
        items: PreparedItems,
        events: TrainingEvents,
        settings: CooccurrenceConfig,
        hidden_dim: int,
        strategy: tf.distribute.Strategy,
        seed: int,
    ):
        self.model, self.items, self.settings, self.strategy, self.seed = model, items, settings, strategy, seed
        self.neighbours, self.shares = neighbour_shares(events, model.num_items, settings.num_neighbours)
        # An item that stands beside a handful of others only says chance.
        counts = np.bincount(events.items, minlength=model.num_items)
        self.taught = np.flatnonzero((counts >= settings.min_events) & (self.shares.sum(axis=1) > 0))
        self.steps = -(-len(self.taught) // settings.batch_size)
        weights = (self.shares * counts[:, None]).ravel()
        beside = np.bincount(self.neighbours.ravel(), weights, minlength=model.num_items)
        with strategy.scope():
            self.learner = CoOccurrence(model.item_encoders, model.standardize, hidden_dim, beside)
            # Once on a row of the cache: every variable is made here, under the scope.
            self.learner.logits({name: cache[:1] for name, cache in model.cache.items()}, model.presence[:1])

    def run(self, advance: Callable[[int, int], None]) -> float:
        """Returns the mean loss of the last epoch, in nats; NaN where there is nothing to learn from."""
        total = self.steps * self.settings.epochs
        if not total:
            return float("nan")
        encoders = self.model.item_encoders.values()
        before = [encoder.trainable for encoder in encoders]
        for encoder in encoders:
            encoder.trainable = True
        with self.strategy.scope():
            schedule = tf.keras.optimizers.schedules.CosineDecay(self.settings.learning_rate, total)
            self.learner.compile(tf.keras.optimizers.Adam(schedule, global_clipnorm=self.settings.clip_norm))
        # One call over all epochs: what Keras calls an epoch here is only when it resets the mean of the loss.
        history = self.learner.fit(
            self.strategy.distribute_datasets_from_function(self._batches),
            epochs=self.settings.epochs,
            steps_per_epoch=self.steps,
            verbose=0,
            callbacks=[_Steps(advance, self.steps, total)],
        ).history
        for encoder, trainable in zip(encoders, before, strict=True):
            encoder.trainable = trainable
        return float(history["cross_entropy"][-1])

    def _batches(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Every epoch in its own order, one after the other; the last batch of each is filled up with -1."""
        rng = np.random.default_rng(self.seed)
        padding = np.full(self.steps * self.settings.batch_size - len(self.taught), -1)
        order = np.concatenate(
            [np.concatenate([rng.permutation(self.taught), padding]) for _ in range(self.settings.epochs)]
        )
        presence = tf.constant(self.items.presence)
        neighbours, shares = tf.constant(self.neighbours), tf.constant(self.shares)

        def rows(index: tf.Tensor) -> dict[str, Any]:
            at = tf.maximum(index, 0)
            return {
                "items": self.items.rows(at),
                "presence": tf.gather(presence, at),
                "neighbours": tf.gather(neighbours, at),
                "shares": tf.gather(shares, at) * tf.cast(index >= 0, tf.float32)[:, None],
            }

        size = self.settings.batch_size // self.strategy.num_replicas_in_sync
        batches = tf.data.Dataset.from_tensor_slices(order.astype(np.int32)).batch(size, drop_remainder=True)
        if context.num_input_pipelines > 1:
            batches = batches.shard(context.num_input_pipelines, context.input_pipeline_id)
        return batches.map(rows, tf.data.AUTOTUNE).prefetch(4)


class _Steps(tf.keras.callbacks.Callback):
    """Shows the steps of all epochs as one."""

    def __init__(self, advance: Callable[[int, int], None], steps: int, total: int):
        super().__init__()
        self.advance, self.steps, self.total, self.epoch = advance, steps, total, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.advance(self.epoch * self.steps + batch + 1, self.total)
