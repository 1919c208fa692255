"""`triptych pretrain`: records -> a run folder with item encoders that know the catalogue, and no interaction."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.model.encoder_weights import save_encoders_as, zero_input
from pipelines.model.model_factory import make_encoders, records_vocabulary, resolve_encoders
from pipelines.model.prepared_items import prepare_items
from pipelines.model.session import records_id
from pipelines.model.strategy import make_strategy
from pipelines.runs.progress import progress, say
from pipelines.runs.run_folder import PRETRAIN, RunFolder
from pipelines.training.loop import LearningJob, LearningResult, fit_epoch, kept_when_stopped, schedule
from pipelines.training.pretraining_metrics import constant_guess, masked_accuracy, retrieval
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_catalogue
from tfrecs.schema import Manifest
from towers.optimizer import ScaledAdamW
from towers.pretraining import SelfSupervised

Masked = dict[str, dict[str, tf.Tensor]]


class PretrainJob(LearningJob):
    """Of `triptych pretrain`."""


class PretrainResult(LearningResult):
    """Of `triptych pretrain`."""


class Pretrainer:
    """One run: epochs, what held-out items say, checkpoints. Continues where the run folder says it stopped."""

    def __init__(self, job: PretrainJob):
        manifest = Manifest.load(job.records)
        schema = manifest.schema_
        self.config, self.run = resolve_encoders(job.config, schema), RunFolder(job.out)
        settings = self.config.pretrain
        continued = self.run.create(job.records, self.config, records_id(job.records), PRETRAIN)
        self.rows = self.run.read_metrics() if continued else []
        tf.keras.backend.experimental.enable_tf_random_generator()
        tf.keras.utils.set_random_seed(self.config.seed)
        self.strategy = make_strategy(self.config.train.strategy)
        self.replicas = self.strategy.num_replicas_in_sync
        if settings.batch_size % self.replicas:
            raise DataError(f"pretrain.batch_size must be divisible by {self.replicas} replicas; --set it so")
        catalogue = load_catalogue(job.records, manifest)
        with self.strategy.scope():
            encoders = make_encoders(schema.items, self.config, records_vocabulary(job.records))
            for encoder in encoders.values():
                encoder.load_pretrained()
        with progress("preparing items", "items") as advance:
            self.items = prepare_items(schema, encoders, catalogue, advance)
        self.taught, self.held_out = parts(self.items.presence, settings.held_out, self.config.seed)
        self.steps = -(-len(self.taught) // settings.batch_size)
        with self.strategy.scope():
            self.learner = SelfSupervised(
                encoders, settings.projection_dim, settings.temperature, settings.mask_rate, settings.mask_loss_weight
            )
            if not self.learner.texts and len(encoders) < 2:
                raise DataError(f"{job.records}: neither text nor two modalities, so nothing to learn from items alone")
            self._build()
            optimizer = ScaledAdamW(
                schedule(settings.learning_rate, settings.warmup, self.steps * settings.epochs),
                scale=lambda variable: 1.0,
                weight_decay=settings.weight_decay,
                global_clipnorm=settings.clip_norm,
            )
            optimizer.build(self.learner.trainable_variables)
            self.learner.compile(optimizer=optimizer, jit_compile=self.config.train.jit_compile)
        self.asked = self._masked(self.held_out, -1)
        self.look = tf.function(self.learner.encode)
        self.manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=self.learner, optimizer=optimizer),
            str(self.run.checkpoints),
            max_to_keep=2,
            checkpoint_name="epoch",
        )
        self.best = save_encoders_as(self.run, encoders)
        self._restore()

    def _build(self) -> None:
        """Calls every layer once on one zero row, so that checkpoints restore at once."""
        inputs = {name: zero_input(encoder) for name, encoder in self.learner.encoders.items()}
        self.learner.encode(inputs, self.learner.mask(inputs))

    def _restore(self) -> None:
        # A kill between checkpoint and metrics leaves one epoch's checkpoint without its line: the line is the truth.
        if not self.rows:
            return
        path = self.run.checkpoints / f"epoch-{len(self.rows)}"
        if not path.with_suffix(".index").is_file():
            raise DataError(f"{path}: no such checkpoint; pretrain into another folder")
        self.manager.checkpoint.restore(str(path)).assert_existing_objects_matched()
        say(f"Continuing after epoch {len(self.rows)}.")

    def _masked(self, index: np.ndarray, epoch: int) -> Masked:
        """The texts of those items with holes, the same for the same seed and epoch. Drawn once for all items, so that
        neither threads nor a kill change them."""
        tf.random.set_seed(1_000_003 * (epoch + 2) + self.config.seed)
        parts = [
            self.learner.mask(self.items.rows(tf.constant(index[start : start + 4096])))
            for start in range(0, len(index), 4096)
        ]
        return tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *parts)

    def _dataset(self, epoch: int) -> Any:
        """The taught items in the order of this epoch; the last batch is filled up with rows that count for nothing."""
        rng = np.random.default_rng([self.config.seed, epoch])
        size = self.config.pretrain.batch_size
        order = rng.permutation(len(self.taught))
        order = np.concatenate([order, np.full(self.steps * size - len(order), -1)])
        masked, taught = self._masked(self.taught, epoch), tf.constant(self.taught, tf.int64)
        presence = tf.constant(self.items.presence)

        def rows(position: tf.Tensor) -> dict[str, Any]:
            at, there = tf.maximum(position, 0), position >= 0
            index = tf.gather(taught, at)
            holes = tf.nest.map_structure(lambda value: tf.gather(value, at), masked)
            for hole in holes.values():
                hole["mask_weights"] *= tf.cast(there, tf.float32)[:, None]
            return {
                "items": self.items.rows(index),
                "presence": tf.gather(presence, index) & there[:, None],
                "masked": holes,
            }

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batches = tf.data.Dataset.from_tensor_slices(order).batch(size // self.replicas, drop_remainder=True)
            if context.num_input_pipelines > 1:
                batches = batches.shard(context.num_input_pipelines, context.input_pipeline_id)
            return batches.map(rows, tf.data.AUTOTUNE).prefetch(4)

        return self.strategy.distribute_datasets_from_function(make)

    def _finished(self) -> bool:
        done, settings = len(self.rows), self.config.pretrain
        return done >= settings.epochs or (done > 0 and done - self._best()["epoch"] >= settings.patience)

    def _best(self) -> dict[str, Any]:
        return min(self.rows, key=lambda row: row["valid_loss"])

    def train(self) -> PretrainResult:
        started = time.monotonic()
        writer = tf.summary.create_file_writer(str(self.run.logs))
        while not self._finished():
            row = self._epoch(len(self.rows))
            self.rows.append(row)
            with writer.as_default(step=row["epoch"]):
                for name, value in row.items():
                    if name != "epoch":
                        tf.summary.scalar(name, value)
            # Checkpoint first, then its line in metrics.jsonl: a kill between them repeats one epoch, loses none.
            self.manager.save(checkpoint_number=row["epoch"])
            if self._best() is row:
                self.best.save(checkpoint_number=row["epoch"])
            self.run.write_metrics(self.rows)
            say(f"  epoch {row['epoch']:>3}/{self.config.pretrain.epochs}  {told(row)}  {row['seconds']:.1f} s")
        best = self._best()
        return PretrainResult(self.run.path, len(self.rows), best["epoch"], best, time.monotonic() - started)

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.monotonic()
        row = fit_epoch(self.learner, self.strategy, self._dataset, epoch, steps=self.steps, seed=self.config.seed)
        row |= self.measure()
        row["seconds"] = round(time.monotonic() - started, 2)
        return row

    def measure(self) -> dict[str, float]:
        """What the encoders, as they are, make of items that taught them nothing."""
        points, logits = self._looked_at()
        names = list(self.learner.encoders)
        presence = self.items.presence[self.held_out]
        loss, count = self.learner.contrast(points, tf.constant(presence))
        values = {"valid_contrastive_loss": float(tf.math.divide_no_nan(loss, count))}
        if logits:  # of all texts together: they have one vocabulary
            holes = [self.asked[name] for name in logits]
            asked = {key: tf.concat([hole[key] for hole in holes], axis=0) for key in ("mask_ids", "mask_weights")}
            values |= masked_accuracy(tf.concat(list(logits.values()), axis=0), asked)
            values["valid_masked_guess"] = constant_guess(asked)
        values |= retrieval({name: value.numpy() for name, value in points.items()}, presence, names)
        masked = self.config.pretrain.mask_loss_weight * values.get("valid_masked_loss", 0.0)
        return {"valid_loss": values["valid_contrastive_loss"] + masked, **values}

    def _looked_at(self) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        size = self.config.train.encode_batch_size
        parts = []
        for start in range(0, len(self.held_out), size):
            index = self.held_out[start : start + size]
            masked = tf.nest.map_structure(lambda value, at=start: value[at : at + size], self.asked)
            parts.append(self.look(self.items.rows(tf.constant(index)), masked))
        return tf.nest.map_structure(lambda *values: tf.concat(values, axis=0), *parts)


def parts(presence: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the items that teach and of those held out, both ascending; items without any content are neither.

    Raises:
      DataError: fewer than four items have content.
    """
    there = np.flatnonzero(presence.any(axis=1))
    if len(there) < 4:
        raise DataError(f"only {len(there)} items have content; pretraining takes at least 4")
    order = np.random.default_rng(seed).permutation(there)
    count = min(max(2, round(share * len(there))), len(there) - 2)
    return np.sort(order[count:]), np.sort(order[:count])


def told(row: dict[str, Any]) -> str:
    """The metrics of an epoch in a line."""
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


def run(job: PretrainJob) -> PretrainResult:
    """Pretrains, or continues a killed run, and says what came out.

    Raises:
      TriptychError: records, configuration or run folder are not what they must be.
    """
    trainer = Pretrainer(job)
    say(
        f"Pretraining {', '.join(trainer.learner.encoders)} on {len(trainer.taught):,} items, "
        f"{len(trainer.held_out):,} held out; {trainer.replicas} replica(s), {trainer.steps} steps an epoch."
    )
    with kept_when_stopped(job.out):
        result = trainer.train()
    say(
        f"Best epoch {result.best_epoch} of {result.epochs} ({result.seconds:.0f} s): {told(result.metrics)}. "
        f"Train from it with --set train.pretrained={job.out}."
    )
    return result
