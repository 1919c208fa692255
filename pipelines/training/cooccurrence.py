"""The stage before the first epoch: item encoders learn from content which items the same users took."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import Config
from pipelines.item_item.neighbours import co_occurrences, interaction_matrix
from pipelines.model.model_factory import choose_softmax
from pipelines.model.prepared_items import CatalogueInputs
from pipelines.training.input_pipeline import divided, parts_of_replicas, sample_candidates, shares_of
from pipelines.training.loop import StepProgress
from tfrecs.reading.training_events import TrainingEvents
from towers.cooccurrence import CoOccurrence
from towers.encoders.base import Encoder
from towers.optimizer import ScaledAdamW, loss_scale_for
from towers.two_tower import TwoTower


def cooccurrence_targets(
    events: TrainingEvents, num_items: int, num_neighbours: int, items: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For items the distribution of the other items that their users took.

    Args:
      events: of training.
      num_items: N.
      num_neighbours: K, the most frequent others that are kept.
      items: int64 [R], positions of the items; None: all.

    Returns:
      neighbours int32 [R, K] and probabilities float32 [R, K]: the users of row i's item, weighted by how often they took
      it (or by the weights of these events), took each neighbour that often, over the row's sum; all 0 where an item has
      no users or they took nothing else.
    """
    count = len(events.user_ids)
    matrix = interaction_matrix(events.users, events.items, events.weights, num_users=count, num_items=num_items)
    neighbours, counts = co_occurrences(matrix, min(num_neighbours, num_items), items)
    counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    return neighbours, counts


def encoders_to_train(model: TwoTower) -> dict[str, Encoder]:
    """Return modality -> item encoder of those that learn: all but those that start from pretrained weights.

    What a text encoder has read elsewhere is more than a catalogue teaches it, and search compares in its space.
    """
    return {name: encoder for name, encoder in model.item_encoders.items() if not encoder.is_pretrained}


class CoOccurrenceStage:
    """Trains the item encoders of a model that has the statistics of their encodings. Deterministic under the seed.

    Args:
      model: its `encoders_to_train` learn; nothing else of it changes.
      items: the catalogue.
      events: of training.
      config: sections `cooccurrence` and `retrieval` (which softmax), `user.hidden_dim` (of the space in which contents
        and items meet), `train.precision` and the seed.
      strategy: under whose scope the model was made.
    """

    def __init__(
        self,
        model: TwoTower,
        items: CatalogueInputs,
        events: TrainingEvents,
        config: Config,
        strategy: tf.distribute.Strategy,
    ):
        self.model, self.items, self.strategy = model, items, strategy
        self.settings, self.seed, self.precision = config.cooccurrence, config.seed, config.train.precision
        self.encoders = encoders_to_train(model)
        self.presence = items.presence[:, [name in self.encoders for name in model.item_encoders]]
        counts = np.bincount(events.items, minlength=model.num_items)
        # What stands beside an item of a handful of events is chance.
        enough = np.flatnonzero(counts >= self.settings.min_events)
        # Of more items than the steps can take, counts of those that they will take are enough.
        rows, most = np.arange(model.num_items), self.settings.max_steps * self.settings.batch_size
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(self.seed).permutation(enough)[:most])
        neighbours, probabilities = cooccurrence_targets(events, model.num_items, self.settings.num_neighbours, rows)
        weights = (probabilities * counts[rows, None]).ravel()
        self.neighbour_counts = np.bincount(neighbours.ravel(), weights, minlength=model.num_items)
        learned = (counts[rows] >= self.settings.min_events) & (probabilities.sum(axis=1) > 0)
        self.training_items, self.neighbours, self.probabilities = (
            rows[learned],
            neighbours[learned],
            probabilities[learned],
        )
        unseen = max(0, len(enough) - len(rows))
        needed = -(-(len(self.training_items) + unseen) // self.settings.batch_size)
        self.steps = min(-(-len(self.training_items) // self.settings.batch_size), self.settings.max_steps)
        self.epochs = min(self.settings.epochs, self.settings.max_steps // max(1, self.steps))
        self.left_out = self.settings.epochs * needed - self.epochs * self.steps
        self.in_batch = choose_softmax(config, model.num_items) == "in_batch"
        self.uniform = config.retrieval.uniform_negatives
        with strategy.scope():
            self.learner = CoOccurrence(
                self.encoders,
                partial(model.standardize, names=list(self.encoders)),
                config.user.hidden_dim,
                self.neighbour_counts,
            )
            # Once on a row: every variable is made here, under the scope.
            row = {name: tf.zeros([1, encoder.output_dim]) for name, encoder in self.encoders.items()}
            self.learner.logits(row, tf.constant(self.presence[:1]))

    def run(self, advance: Callable[[int, int], None]) -> float:
        """Train for all epochs.

        Args:
          advance: called with the number of steps that are done and of all.

        Returns:
          the mean cross-entropy of the last epoch, in nats; NaN where there is nothing to learn from.
        """
        total = self.steps * self.epochs
        if not total:
            return float("nan")
        encoders = self.encoders.values()
        before = [encoder.trainable for encoder in encoders]
        self.compile()
        # One call over all epochs: what Keras calls an epoch here is only when it resets the mean of the loss.
        history = self.learner.fit(
            self.strategy.distribute_datasets_from_function(self.batches),
            epochs=self.epochs,
            steps_per_epoch=self.steps,
            verbose=0,
            callbacks=[StepProgress(advance, self.steps, self.epochs)],
        ).history
        for encoder, trainable in zip(encoders, before, strict=True):
            encoder.trainable = trainable
        return float(history["cross_entropy"][-1])

    def compile(self) -> None:
        """Make the encoders trainable and give the learner its optimizer."""
        for encoder in self.encoders.values():
            encoder.trainable = True
        with self.strategy.scope():
            total = max(1, self.steps * self.epochs)
            schedule = tf.keras.optimizers.schedules.CosineDecay(self.settings.learning_rate, total)
            tables = [self.learner.item_embeddings, self.learner.bias] if self.in_batch else []
            optimizer = ScaledAdamW(
                schedule,
                scale=lambda variable: 1.0,
                tables=tables,
                loss_scale=loss_scale_for(self.precision),
                weight_decay=0.0,
                global_clipnorm=self.settings.clip_norm,
            )
            optimizer.build(self.learner.trainable_variables)
            self.learner.compile(optimizer)

    def batches(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Every epoch in its own order, one after the other; the last batch of each is filled up with -1."""
        rng = np.random.default_rng(self.seed)
        size = self.settings.batch_size
        count = len(self.training_items)
        padding = np.full(-count % size, -1)
        order = np.concatenate(
            [np.concatenate([rng.permutation(count), padding])[: self.steps * size] for _ in range(self.epochs)]
        )
        items, presence = tf.constant(self.training_items, tf.int32), tf.constant(self.presence)
        neighbours, probabilities = tf.constant(self.neighbours), tf.constant(self.probabilities)
        shares, replicas = shares_of(self.neighbour_counts), self.strategy.num_replicas_in_sync

        @tf.autograph.experimental.do_not_convert
        def targets(step: tf.Tensor, index: tf.Tensor) -> dict[str, Any]:
            row = tf.maximum(index, 0)
            batch = {
                "row": tf.gather(items, row),
                "neighbours": tf.gather(neighbours, row),
                "probabilities": tf.gather(probabilities, row) * tf.cast(index >= 0, tf.float32)[:, None],
            }
            if self.in_batch:
                batch["candidates"], batch["neighbours"], batch["log_sampled"] = sample_candidates(
                    batch["neighbours"],
                    batch["probabilities"] > 0,
                    shares,
                    self.uniform,
                    tf.stack([tf.constant(self.seed, tf.int64), step]),
                )
            return divided(batch, replicas)

        @tf.autograph.experimental.do_not_convert
        def complete(batch: dict[str, Any]) -> dict[str, Any]:
            batch = dict(batch)
            row = batch.pop("row")
            return {**batch, "items": self.items.rows(row, self.encoders), "presence": tf.gather(presence, row)}

        batches = tf.data.Dataset.from_tensor_slices(order.astype(np.int32)).batch(size, drop_remainder=True)
        batches = batches.enumerate().map(targets, tf.data.AUTOTUNE)
        parts = parts_of_replicas(batches, context.num_input_pipelines, context.input_pipeline_id)
        return parts.map(complete, tf.data.AUTOTUNE).prefetch(4)
