"""`triptych train`: records -> a run folder with a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.hybrid.fit import fit_hybrid
from pipelines.hybrid.item_index import item_item_id
from pipelines.item_item import storage
from pipelines.model.checkpoints import Checkpoints, restore_best
from pipelines.model.encoder_weights import encoder_scales, trained_share
from pipelines.model.encoding_store import EncodingStore
from pipelines.model.encodings import Encodings
from pipelines.model.model_factory import query_encoder
from pipelines.model.prepared_items import CatalogueInputs, StoredItems
from pipelines.model.session import open_session, records_id
from pipelines.runs.progress import progress, say
from pipelines.scoring.held_out import validation_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.search.fitting import load_or_fit_text
from pipelines.training.cooccurrence import CoOccurrenceStage
from pipelines.training.input_pipeline import TrainingFeed
from pipelines.training.joining import joined_by
from pipelines.training.loop import (
    EarlyStopping,
    TrainingLoop,
    TrainJob,
    TrainResult,
    keyboard_interrupt_hint,
)
from pipelines.training.semantic_ids import describe_codes, fit_codebooks
from pipelines.training.validation import validate
from pipelines.training.warm_start import copy_weights, earlier_run
from towers.encoders.rematerialise import rematerialise_all

BEST_BY = "ndcg@10"


class Trainer(TrainingLoop):
    """A training run of the two towers. See `TrainingLoop`."""

    batch_options = (
        "train.batch_size",
        "train.fresh_items",
        "cooccurrence.batch_size",
        "retrieval.queries_per_batch",
    )

    def __init__(self, job: TrainJob, workers: Workers | None = None):
        super().__init__(job, workers)
        config, train = self.config, self.config.train
        earlier = None if train.warm_start is None else earlier_run(Path(train.warm_start), self.manifest)
        self.session = open_session(job.records, config, self.strategy, earlier is None, train.precision)
        self.validation = validation_requests(self.session)
        self.feed = self._feed()
        self.steps = self.feed.steps
        self.stopping = EarlyStopping(f"valid_{BEST_BY}", "max", train.planned_epochs, train.patience, train.min_epochs)
        model = self.session.model
        model.target_share = self.feed.target_share(self.replicas)
        if earlier is not None and not self.rows:
            with self.strategy.scope():
                copy_weights(earlier, self.session)
        if train.rematerialise:
            if train.encoders == "frozen" or not model.item_encoders:
                say("train.rematerialise: no encoder is trained, so it changes nothing")
            with self.strategy.scope():
                rematerialise_all(model.item_encoders.values())
        self.encode = tf.function(model.encode_items, autograph=False)
        folder = self.run.encodings(train.encodings_folder)
        self.encodings = EncodingStore(folder, records_id(self.records), self.workers)
        self.graphs = ModelGraphs(model)  # traced once, not at every epoch
        scales = encoder_scales(model.item_encoders.values(), train.encoder_scale, train.layer_decay)
        self._compile(
            model,
            train,
            Checkpoints(self.run.best, max_to_keep=1, workers=workers, model=model),
            scale=lambda variable: scales.get(id(variable), 1.0),
            tables=model.item_tower.tables,
            ema_momentum=train.ema_momentum,
        )
        self._restore()

    def _feed(self) -> TrainingFeed:
        session, config = self.session, self.config
        return TrainingFeed(
            session.records,
            session.manifest,
            session.catalogue,
            session.items,
            session.model.user_encoders,
            query_encoder(session.model.item_encoders),
            config,
        )

    def batches(self, epoch: int) -> Any:
        model = self.session.model
        if not model.stores_encodings:
            if not model.cache:  # the run goes on from a checkpoint, which has none
                self.refresh()
            self.feed.encodings = model.cache if isinstance(model.cache, Encodings) else None

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self.feed.epoch(epoch, self.replicas, context.num_input_pipelines, context.input_pipeline_id)

        return self.strategy.distribute_datasets_from_function(make)

    def prepare(self) -> None:
        """Fill the cache of encodings, after the encoders' own stage where there is one."""
        config = self.config
        if config.train.warm_start is not None:
            self.refresh()
            say(f"  before training  {self._ranking(self._measure())}")
            return
        taught = config.train.encoders == "cooccurrence" and config.cooccurrence.epochs > 0 and self._teach_encoders()
        self.encodings.fill(self.session.model, *self._encoding)
        self._fit_codes()
        if taught:
            self._checkpoints.save(0)

    def _teach_encoders(self) -> bool:
        """Let the encoders without pretrained weights learn from co-occurrences; returns whether there is any."""
        encoders = self.session.model.item_encoders
        if not encoders:
            say("  encoders: none, items have no features; the stage of co-occurrences is skipped")
            return False
        kept = [name for name, encoder in encoders.items() if encoder.is_pretrained]
        if kept:
            say(
                f"  encoders: {', '.join(kept)} started from a checkpoint or a file of weights and stay as they are; "
                "train.encoders=lora or finetune trains them too"
            )
        if len(kept) == len(encoders):
            return False
        self.encodings.fill_statistics(self.session.model, *self._encoding)
        stage = CoOccurrenceStage(
            self.session.model, self.session.items, self.session.events, self.config, self.strategy
        )
        with progress("encoders", "steps") as advance:
            loss = stage.run(advance)
        cut = f" ({stage.left_out:,} more left out: cooccurrence.max_steps)" if stage.left_out else ""
        say(
            f"  encoders: {len(stage.training_items):,} items, {stage.epochs} epochs of {stage.steps:,} steps{cut}, "
            f"cross-entropy {loss:.3f}"
        )
        return True

    def validate(self) -> dict[str, float]:
        """Measure the epoch and calibrate the ranking head, before the checkpoint that keeps both."""
        if self.config.train.encodes_in_step:
            self.refresh()
        return self._measure()

    def throughput(self, seconds: float) -> dict[str, float]:
        events = self.manifest.splits["train"].events
        return {"events_per_second": round(events / seconds, 1), "padding": round(self.feed.padding, 4)}

    def summary(self, row: Mapping[str, Any]) -> str:
        speed = f"{row['events_per_second']:,.0f} events/s  padding {row['padding']:.0%}"
        return f"loss {row['retrieval_loss']:.3f}  {self._ranking(row)}  {speed}"

    def finish(self) -> None:
        """Learn, beside the best epoch's weights, those of the hybrid score and of the words of queries: on the chief."""
        session = self.session
        restore_best(self.run, "train into another folder", model=session.model)
        self.release()
        storage.forget(self.run.path)
        if not session.model.stores_encodings:
            EncodingStore(self.encodings.folder, records_id(self.records)).fill(session.model, *self._encoding)
        if self.config.hybrid.enabled:
            fitted = fit_hybrid(session, self.validation)
            if fitted.item_item is not None:
                storage.save(self.run.path, fitted.item_item, item_item_id(session, fitted.weights.ease))
            fitted.weights.save(self.run.path)
            say(f"  {fitted.weights}")
        self.run.lexicon.unlink(missing_ok=True)  # of an earlier end of this run, beside other weights
        load_or_fit_text(self.run, session.model, session.catalogue, session.config)

    def release(self) -> None:
        """Free also the feed, and what of the encodings' file was read for it: TensorFlow keeps the mapping."""
        if isinstance(self.session.model.cache, Encodings):
            self.session.model.cache.release()
        del self.feed
        super().release()

    @property
    def _encoding(self) -> tuple[Any, CatalogueInputs, int]:
        return self.encode, self.session.items, self.config.train.encode_batch_size

    def refresh(self) -> None:
        """Fill the cache of encodings with those of the encoders as they are."""
        self.encodings.fill(self.session.model, *self._encoding)
        self.session.model.fill_codes()

    def _fit_codes(self) -> None:
        """Fit the codebooks of semantic IDs to the encodings in the cache, where the configuration asks for codes."""
        model = self.session.model
        if model.codes is None:
            return
        codebooks = self.workers.from_chief(lambda: fit_codebooks(model, self.config.seed).tolist())
        model.codes.codebooks.assign(codebooks)
        model.fill_codes()
        say(f"  semantic IDs: {describe_codes(model.codes.catalogue.numpy())}")

    def _measure(self) -> dict[str, float]:
        model, evaluate = self.session.model, self.config.evaluate
        scorer = ModelScorer(self.graphs, self.validation, model.item_embeddings()[0])
        validation = validate(scorer, self.validation, evaluate)
        if model.ranking_head is not None:
            model.ranking_head.calibrate(validation.calibration)
        return {f"valid_{name}": value for name, value in validation.values.items()}

    @staticmethod
    def _ranking(row: Mapping[str, Any]) -> str:
        return f"valid Recall@20 {row['valid_recall@20']:.4f}  NDCG@10 {row['valid_ndcg@10']:.4f}"


def run(job: TrainJob) -> TrainResult:
    """Train, or continue a killed run, and print what came out.

    Raises:
      TriptychError: records, configuration or run folder are not what they must be.
    """
    with joined_by(job.records, job.config) as workers:
        trainer = Trainer(job, workers)
        manifest, session = trainer.manifest, trainer.session
        say(
            f"Training on {manifest.splits['train'].events:,} events of {manifest.splits['train'].users:,} users, "
            f"{len(session.catalogue):,} items with {', '.join(manifest.schema_.modalities) or 'ids only'}; "
            f"{'in-batch' if trainer.feed.in_batch else 'full'} softmax, "
            f"{trainer.replicas} replica(s), {trainer.steps} steps an epoch."
        )
        if job.config.user.average is None and session.model.user_tower.average:
            say("  histories: events have no order, so the mean of their items is added (user.average)")
        if isinstance(session.items, StoredItems):
            say("  items: preprocessed more than train.items_in_memory, so they are read from their records")
        if not session.model.stores_encodings and session.model.item_encoders:
            say(f"  encodings: in files of {trainer.encodings.folder}")
        if trainer.config.train.encodes_in_step:
            say(f"{trained_share(session.model.item_encoders.values())}.")
        with keyboard_interrupt_hint(job.out):
            result = trainer.train()
            if workers.is_chief:
                trainer.finish()
        workers.wait()
    say(f"Best epoch {result.best_epoch} of {result.epochs} ({result.seconds:.0f} s); run in {job.out}.")
    return result
