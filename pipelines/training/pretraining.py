"""`triptych pretrain`: records -> a run folder with item encoders that were trained on the catalogue alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.model.encoder_weights import save_encoders_as, zero_input
from pipelines.model.model_factory import make_encoders, records_vocabulary
from pipelines.model.prepared_items import prepare_items
from pipelines.runs.progress import progress, say
from pipelines.runs.run_folder import PRETRAIN
from pipelines.training.joining import joined_by
from pipelines.training.loop import (
    EarlyStopping,
    TrainingLoop,
    TrainJob,
    TrainResult,
    keyboard_interrupt_hint,
)
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_catalogue
from towers.encoders.rematerialise import rematerialise_all
from towers.pretraining import SelfSupervised

DEPTHS = (1, 10)

Masked = dict[str, dict[str, tf.Tensor]]


class Pretrainer(TrainingLoop):
    """A self-supervised run of the item encoders. See `TrainingLoop`."""

    batch_options = ("pretrain.batch_size",)

    def __init__(self, job: TrainJob, workers: Workers | None = None):
        super().__init__(job, workers, PRETRAIN)
        settings, schema = self.config.pretrain, self.manifest.schema_
        tf.keras.backend.experimental.enable_tf_random_generator()
        tf.keras.utils.set_random_seed(self.config.seed)
        if not schema.items:
            raise DataError(
                f"{job.records}: items have no features, so nothing to learn from items alone; train without pretraining"
            )
        catalogue = load_catalogue(job.records, self.manifest)
        with self.strategy.scope():
            vocabulary, precision = records_vocabulary(job.records), self.config.train.precision
            encoders = make_encoders(schema.items, self.config, vocabulary, precision)
            for encoder in encoders.values():
                encoder.load_pretrained()
        with progress("preparing items", "items") as advance:
            limit = self.config.train.items_in_memory
            self.items = prepare_items(schema, encoders, catalogue, limit, advance)
        self.training_items, self.held_out = split_items(self.items.presence, settings.held_out, self.config.seed)
        self.steps = -(-len(self.training_items) // settings.batch_size)
        self.stopping = EarlyStopping("valid_loss", "min", settings.epochs, settings.patience)
        with self.strategy.scope():
            self.learner = SelfSupervised(
                encoders,
                projection_dim=settings.projection_dim,
                temperature=settings.temperature,
                mask_rate=settings.mask_rate,
                mask_loss_weight=settings.mask_loss_weight,
            )
            if not self.learner.texts and len(encoders) < 2:
                raise DataError(f"{job.records}: neither text nor two modalities, so nothing to learn from items alone")
            # Every layer once on a row of zeros: makes the variables, so that checkpoints restore at once.
            inputs = {name: zero_input(encoder) for name, encoder in encoders.items()}
            self.learner.encode(inputs, self.learner.mask(inputs))
            if self.config.train.rematerialise:
                rematerialise_all(encoders.values())
        self._compile(self.learner, settings, save_encoders_as(self.run, encoders, self.workers))
        self.held_out_masked = self.masked(self.held_out, -1)
        self._encode = tf.function(self.learner.encode, autograph=False)
        self._restore()

    def masked(self, index: np.ndarray, epoch: int) -> Masked:
        """Mask tokens of items, the same ones for the same seed and epoch.

        They are drawn for all items at once, so that neither threads nor a kill change them.

        Args:
          index: int [R], positions in the catalogue.
          epoch: from 0; -1 for the held-out items.

        Returns:
          see `SelfSupervised.mask`.
        """
        tf.random.set_seed(1_000_003 * (epoch + 2) + self.config.seed)
        parts = [
            self.learner.mask(self.items.rows(tf.constant(index[start : start + 4096]), only=list(self.learner.texts)))
            for start in range(0, len(index), 4096)
        ]
        return tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *parts)

    def batches(self, epoch: int) -> Any:
        """The training items in the order of this epoch; rows of padding without weight fill up the last batch."""
        rng = np.random.default_rng([self.config.seed, epoch])
        size = self.config.pretrain.batch_size
        order = rng.permutation(len(self.training_items))
        order = np.concatenate([order, np.full(self.steps * size - len(order), -1)])
        masked = self.masked(self.training_items, epoch)
        training_items, presence = tf.constant(self.training_items, tf.int64), tf.constant(self.items.presence)

        @tf.autograph.experimental.do_not_convert
        def rows(position: tf.Tensor) -> dict[str, Any]:
            row, valid = tf.maximum(position, 0), position >= 0
            index = tf.gather(training_items, row)
            of_rows = tf.nest.map_structure(lambda value: tf.gather(value, row), masked)
            for text in of_rows.values():
                text["mask_weights"] *= tf.cast(valid, tf.float32)[:, None]
            return {
                "items": self.items.rows(index),
                "presence": tf.gather(presence, index) & valid[:, None],
                "masked": of_rows,
            }

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batches = tf.data.Dataset.from_tensor_slices(order).batch(size // self.replicas, drop_remainder=True)
            if context.num_input_pipelines > 1:
                batches = batches.shard(context.num_input_pipelines, context.input_pipeline_id)
            return batches.map(rows, tf.data.AUTOTUNE).prefetch(4)

        return self.strategy.distribute_datasets_from_function(make)

    def validate(self) -> dict[str, float]:
        """Measure the encoders on the held-out items."""
        embeddings, logits = self._encode_held_out()
        presence = self.items.presence[self.held_out]
        loss, count = self.learner.contrast(embeddings, tf.constant(presence))
        values = {"valid_contrastive_loss": float(tf.math.divide_no_nan(loss, count))}
        if logits:  # of all texts together: they have one vocabulary
            texts = [self.held_out_masked[name] for name in logits]
            masked = {key: tf.concat([text[key] for text in texts], axis=0) for key in ("mask_ids", "mask_weights")}
            values |= masked_accuracy(tf.concat(list(logits.values()), axis=0), masked)
            values["valid_masked_guess"] = most_frequent_accuracy(masked)
        names = list(self.learner.encoders)
        values |= retrieval({name: value.numpy() for name, value in embeddings.items()}, presence, names)
        masked_loss = self.config.pretrain.mask_loss_weight * values.get("valid_masked_loss", 0.0)
        return {"valid_loss": values["valid_contrastive_loss"] + masked_loss, **values}

    def _encode_held_out(self) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        size = self.config.train.encode_batch_size
        parts = []
        for start in range(0, len(self.held_out), size):
            index = self.held_out[start : start + size]
            masked = tf.nest.map_structure(lambda value, at=start: value[at : at + size], self.held_out_masked)
            parts.append(self._encode(self.items.rows(tf.constant(index)), masked))
        return tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *parts)

    def summary(self, row: Mapping[str, Any]) -> str:
        words = [f"loss {row['valid_loss']:.3f} on held-out items"]
        if "valid_masked_accuracy" in row:
            words.append(
                f"masked tokens {row['valid_masked_accuracy']:.3f} (one guess for all: {row['valid_masked_guess']:.3f})"
            )
        if "valid_retrieval@10" in row:
            words.append(
                f"other modality in first 10 {row['valid_retrieval@10']:.3f} (chance {row['valid_chance@10']:.3f})"
            )
        return ", ".join(words)


def split_items(presence: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the items with content at random.

    Args:
      presence: bool [N, M].
      held_out: share of the items that are held out; at least two are, and two are not.
      seed: of the split.

    Returns:
      positions of the training items and of the held-out ones, ascending.

    Raises:
      DataError: fewer than four items have content.
    """
    with_content = np.flatnonzero(presence.any(axis=1))
    if len(with_content) < 4:
        raise DataError(f"only {len(with_content)} items have content; pretraining takes at least 4")
    order = np.random.default_rng(seed).permutation(with_content)
    count = min(max(2, round(held_out * len(with_content))), len(with_content) - 2)
    return np.sort(order[count:]), np.sort(order[:count])


def masked_accuracy(logits: tf.Tensor, masked: Mapping[str, tf.Tensor]) -> dict[str, float]:
    """Accuracy and mean cross-entropy, in nats, of masked tokens.

    Args:
      logits: float [R, P, V].
      masked: `mask_ids` int [R, P] and `mask_weights` float [R, P], 0 = padding.

    Returns:
      `valid_masked_accuracy` and `valid_masked_loss`.
    """
    labels, sample_weight = masked["mask_ids"], masked["mask_weights"]
    total = tf.maximum(tf.reduce_sum(sample_weight), 1.0)
    correct = tf.cast(tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return {
        "valid_masked_accuracy": float(tf.reduce_sum(sample_weight * correct) / total),
        "valid_masked_loss": float(tf.reduce_sum(sample_weight * entropy) / total),
    }


def most_frequent_accuracy(masked: Mapping[str, tf.Tensor]) -> float:
    """Accuracy of the most frequent masked token as the prediction for all of them. `masked` as in `masked_accuracy`."""
    labels = np.asarray(masked["mask_ids"])[np.asarray(masked["mask_weights"]) > 0]
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0


def retrieval(embeddings: Mapping[str, np.ndarray], presence: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """How often one modality of an item retrieves the other one among all items that have both.

    Args:
      embeddings: name -> [R, D], of length 1.
      presence: bool [R, M], columns in the order of `names`.
      names: the modalities.

    Returns:
      `valid_retrieval@k`: share of items among the first k, the mean over all ordered pairs of modalities;
      `valid_chance@k`: the same for a random order; {} where no two items share two modalities. Ties count against.
    """
    recall: dict[int, list[float]] = {k: [] for k in DEPTHS}
    chance: dict[int, list[float]] = {k: [] for k in DEPTHS}
    for query, answer in permutations(names, 2):
        both = presence[:, names.index(query)] & presence[:, names.index(answer)]
        if both.sum() < 2:
            continue
        scores = embeddings[query][both] @ embeddings[answer][both].T
        rank = (scores >= np.diag(scores)[:, None]).sum(axis=1)
        for k in DEPTHS:
            recall[k].append(float((rank <= k).mean()))
            chance[k].append(min(1.0, k / int(both.sum())))
    if not recall[DEPTHS[0]]:
        return {}
    values = {f"valid_retrieval@{k}": float(np.mean(values)) for k, values in recall.items()}
    return {**values, **{f"valid_chance@{k}": float(np.mean(values)) for k, values in chance.items()}}


def run(job: TrainJob) -> TrainResult:
    """Pretrain, or continue a killed run, and print what came out.

    Raises:
      TriptychError: records, configuration or run folder are not what they must be.
    """
    with joined_by(job.records, job.config, PRETRAIN) as workers:
        trainer = Pretrainer(job, workers)
        say(
            f"Pretraining {', '.join(trainer.learner.encoders)} on {len(trainer.training_items):,} items, "
            f"{len(trainer.held_out):,} held out; {trainer.replicas} replica(s), {trainer.steps} steps an epoch."
        )
        with keyboard_interrupt_hint(job.out):
            result = trainer.train()
        workers.wait()
    say(
        f"Best epoch {result.best_epoch} of {result.epochs} ({result.seconds:.0f} s): "
        f"{trainer.summary(result.metrics)}. Train from it with --set train.pretrained={job.out}."
    )
    return result
