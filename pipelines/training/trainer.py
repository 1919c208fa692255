"""`triptych train`: records -> a run folder with a trained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.hybrid.fit import fit_hybrid
from pipelines.model.encoder_weights import encoder_scales, trained_share
from pipelines.model.model_factory import query_encoder, refresh, resolve_encoders
from pipelines.model.session import open_session, records_id
from pipelines.model.strategy import make_strategy
from pipelines.runs.progress import progress, say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.held_out import validation_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.search.lexical_fit import load_or_fit_lexical
from pipelines.training.cooccurrence import CoOccurrenceStage
from pipelines.training.curves import Curves
from pipelines.training.input_pipeline import TrainingFeed
from pipelines.training.loop import LearningJob, LearningResult, fit_epoch, kept_when_stopped, schedule
from pipelines.training.validation import validate
from pipelines.training.warm_start import former_run, take_over
from tfrecs.errors import DataError
from tfrecs.schema import Manifest
from towers.optimizer import ScaledAdamW

BEST_BY = "ndcg@10"


class TrainJob(LearningJob):
    """Of `triptych train`."""


class TrainResult(LearningResult):
    """Of `triptych train`."""


class Trainer:
    """One run: epochs, validation, checkpoints. Continues where the run folder says it stopped."""

    def __init__(self, job: TrainJob):
        manifest = Manifest.load(job.records)
        config = resolve_encoders(job.config, manifest.schema_)
        self.config, self.run = config, RunFolder(job.out)
        if manifest.splits["train"].events == 0:
            raise DataError(f"{job.records}: no training interactions; see rejected.jsonl and `split` in dataset.yaml")
        continued = self.run.create(job.records, config, records_id(job.records))
        former = None if config.train.warm_start is None else former_run(Path(config.train.warm_start), manifest)
        self.session = open_session(
            job.records, config, make_strategy(config.train.strategy), pretrained=former is None
        )
        self.validation = validation_requests(self.session)
        self.feed = self._feed()
        self.rows = self.run.read_metrics() if continued else []
        model, train = self.session.model, config.train
        if former is not None and not self.rows:
            with self.session.strategy.scope():
                take_over(former, self.session)
        self.encode = tf.function(model.encode_items)
        self.graphs = ModelGraphs(model)  # traced once, not at every epoch
        with self.session.strategy.scope():
            scales = encoder_scales(model.item_encoders.values(), train.encoder_scale, train.layer_decay)
            optimizer = ScaledAdamW(
                schedule(train.learning_rate, train.warmup, self.feed.steps * train.planned_epochs),
                scale=lambda variable: scales.get(id(variable), 1.0),
                weight_decay=train.weight_decay,
                # Keras puts the averages in place at the end of every epoch: what is validated and kept is less noisy.
                use_ema=train.ema_momentum > 0,
                ema_momentum=train.ema_momentum,
                global_clipnorm=train.clip_norm,
            )
            optimizer.build(model.trainable_variables)
            model.compile(optimizer=optimizer, jit_compile=train.jit_compile)
        self.checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(self.run.checkpoints), max_to_keep=2, checkpoint_name="epoch"
        )
        self._restore()

    def _restore(self) -> None:
        # A kill between checkpoint and metrics leaves one epoch's checkpoint without its line: the line is the truth.
        if not self.rows:
            return
        if not self._restored(len(self.rows)):
            raise DataError(
                f"{self.run.checkpoints}: no checkpoint of epoch {len(self.rows)}; train into another folder"
            )

    def _restored(self, epoch: int) -> bool:
        """Whether there was a checkpoint of that epoch (0: the encoders' own stage) to go on from."""
        path = self.run.checkpoints / f"epoch-{epoch}"
        if not path.with_suffix(".index").is_file():
            return False
        self.checkpoint.restore(str(path)).assert_existing_objects_matched()
        say(f"Continuing after epoch {epoch}." if epoch else "Continuing after the encoders.")
        return True

    def _feed(self) -> TrainingFeed:
        session, config = self.session, self.config
        replicas = session.strategy.num_replicas_in_sync
        batches = (
            config.train.batch_size,
            config.train.fresh_items,
            config.cooccurrence.batch_size,
            config.retrieval.queries_per_batch,
        )
        if any(size % replicas for size in batches):
            raise DataError(
                "train.batch_size, train.fresh_items, cooccurrence.batch_size and retrieval.queries_per_batch must be divisible by "
                f"{replicas} replicas; --set them so"
            )
        return TrainingFeed(
            session.records,
            session.manifest,
            session.catalogue,
            session.items,
            session.model.user_encoders,
            query_encoder(session.model.item_encoders),
            batch=config.train.batch_size,
            length=config.user.max_history,
            stride=min(config.user.stride, config.user.max_history),
            fresh=config.train.fresh_items,
            encode_items=config.train.encodes_in_step and bool(session.model.item_encoders),
            queries=config.retrieval.queries_per_batch,
            query_share=config.retrieval.own_query_rate,
            seed=config.seed,
            data_service=config.train.data_service,
        )

    def _dataset(self, epoch: int) -> Any:
        replicas = self.session.strategy.num_replicas_in_sync

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self.feed.epoch(epoch, replicas, context.num_input_pipelines, context.input_pipeline_id)

        return self.session.strategy.distribute_datasets_from_function(make)

    def _finished(self) -> bool:
        done, settings = len(self.rows), self.config.train
        if done >= settings.planned_epochs:
            return True
        return done >= settings.min_epochs and done - self._best()["epoch"] >= settings.patience

    def _best(self) -> dict[str, Any]:
        return max(self.rows, key=lambda row: row[f"valid_{BEST_BY}"])

    def train(self, after_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> TrainResult:
        """Trains to the end. `after_epoch` is called with each new line of `metrics.jsonl` once it is kept; what it
        raises ends the training there, to be continued."""
        started = time.monotonic()
        curves = Curves(self.run.logs)
        while not self._finished():
            row = self._epoch(len(self.rows))
            self.rows.append(row)
            curves.write(row)
            self._keep(row)
            say(
                f"  epoch {row['epoch']:>3}/{self.config.train.planned_epochs}  loss {row['retrieval_loss']:.3f}  valid Recall@20 "
                f"{row['valid_recall@20']:.4f}  NDCG@10 {row['valid_ndcg@10']:.4f}  {row['seconds']:.1f} s"
            )
            if after_epoch is not None:
                after_epoch(row)
        best = self._best()
        return TrainResult(self.run.path, len(self.rows), best["epoch"], best, time.monotonic() - started)

    def finish(self) -> None:
        """What is learned beside the best epoch's weights: the hybrid score's, and what the words of queries are worth."""
        session = self.session
        best = tf.train.latest_checkpoint(str(self.run.best))
        tf.train.Checkpoint(model=session.model).restore(best).expect_partial()
        if self.config.hybrid.enabled:
            weights = fit_hybrid(session, self.validation)
            weights.save(self.run.path)
            say(f"  {weights}")
        if session.model.query_encoder is not None:
            self.run.lexicon.unlink(missing_ok=True)  # of an earlier end of this run, beside other weights
            load_or_fit_lexical(self.run.lexicon, session.model, session.catalogue, session.config)

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.monotonic()
        model, items = self.session.model, self.session.items
        if epoch == 0 and not self._restored(0):
            self._begin()
        row = fit_epoch(
            model, self.session.strategy, self._dataset, epoch, steps=self.feed.steps, seed=self.config.seed
        )
        if self.config.train.encodes_in_step:
            refresh(model, self.encode, items, self.config.train.encode_batch_size)
        row["learning_rate"] = float(model.optimizer.learning_rate)
        row |= self._validate()
        row["seconds"] = round(time.monotonic() - started, 2)
        return row

    def _begin(self) -> None:
        """Fills the cache of encodings, after the encoders' own stage where there is one."""
        model, items, config = self.session.model, self.session.items, self.config
        refresh(model, self.encode, items, config.train.encode_batch_size)
        if config.train.warm_start is not None:
            before = self._validate()
            say(f"  as it was  valid Recall@20 {before['valid_recall@20']:.4f}  NDCG@10 {before['valid_ndcg@10']:.4f}")
            return
        if config.train.encoders != "cooccurrence" or not model.item_encoders or not config.cooccurrence.epochs:
            return
        stage = CoOccurrenceStage(
            model,
            items,
            self.session.events,
            config.cooccurrence,
            config.user.hidden_dim,
            self.session.strategy,
            config.seed,
        )
        with progress("encoders", "steps") as advance:
            loss = stage.run(advance)
        say(f"  encoders: {len(stage.taught):,} items, {config.cooccurrence.epochs} epochs, cross-entropy {loss:.3f}")
        refresh(model, self.encode, items, config.train.encode_batch_size)
        self.manager.save(checkpoint_number=0)

    def _validate(self) -> dict[str, float]:
        """Measures the epoch and calibrates the ranking head, before the checkpoint that keeps both."""
        model, evaluate = self.session.model, self.config.evaluate
        scorer = ModelScorer(self.graphs, self.validation, model.item_embeddings()[0])
        found = validate(scorer, self.validation, depth=evaluate.depth, batch=evaluate.batch)
        if model.ranking_head is not None:
            model.ranking_head.calibrate(found.calibration)
        return {f"valid_{name}": value for name, value in found.values.items()}

    def _keep(self, row: dict[str, Any]) -> None:
        """Checkpoint first, then its line in metrics.jsonl: a kill between them repeats one epoch, loses none."""
        self.manager.save(checkpoint_number=row["epoch"])
        if self._best() is row:
            best = tf.train.CheckpointManager(
                tf.train.Checkpoint(model=self.session.model), str(self.run.best), max_to_keep=1
            )
            best.save(checkpoint_number=row["epoch"])
        self.run.write_metrics(self.rows)


def run(job: TrainJob) -> TrainResult:
    """Trains, or continues a killed run, and says what came out.

    Raises:
      TriptychError: records, configuration or run folder are not what they must be.
    """
    trainer = Trainer(job)
    manifest, session = trainer.session.manifest, trainer.session
    say(
        f"Training on {manifest.splits['train'].events:,} events of {manifest.splits['train'].users:,} users, "
        f"{len(session.catalogue):,} items with {', '.join(manifest.schema_.modalities) or 'ids only'}; "
        f"{session.model.softmax.replace('_', '-')} softmax, "
        f"{session.strategy.num_replicas_in_sync} replica(s), {trainer.feed.steps} steps an epoch."
    )
    if trainer.config.train.encodes_in_step:
        say(f"{trained_share(session.model.item_encoders.values())}.")
    with kept_when_stopped(job.out):
        result = trainer.train()
        trainer.finish()
    say(f"Best epoch {result.best_epoch} of {result.epochs} ({result.seconds:.0f} s); run in {job.out}.")
    return result
