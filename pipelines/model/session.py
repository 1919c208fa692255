"""What training, evaluation and export stand on: records, the prepared catalogue and the model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.config import Config
from pipelines.item_item.content_features import contents
from pipelines.item_item.content_similarity import likeness
from pipelines.item_item.weights import Blend
from pipelines.model.encoder_weights import start_encoders
from pipelines.model.model_factory import make_encoders, make_model, records_vocabulary
from pipelines.model.prepared_items import PreparedItems, prepare_items
from pipelines.runs.progress import progress
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.requests import Requests, make_requests
from pipelines.search.lexical_index import Lexicon
from tfrecs.errors import DataError
from tfrecs.reading.reader import Catalogue, TrainingEvents, load_catalogue, load_histories, load_training_events
from tfrecs.schema import MANIFEST_FILE, Manifest
from towers.two_tower import TwoTower


@dataclass(frozen=True)
class Session:
    """A model with all it stands on: what training, evaluation and export share."""

    records: Path
    config: Config
    manifest: Manifest
    catalogue: Catalogue
    items: PreparedItems
    events: TrainingEvents
    model: TwoTower
    strategy: tf.distribute.Strategy
    blend: Blend | None = None  # of a finished run
    lexicon: Lexicon | None = None  # of a finished run whose model takes text

    @cached_property
    def unseen(self) -> np.ndarray:
        """bool [N], items without a training event."""
        return np.bincount(self.events.items, minlength=len(self.catalogue)) == 0

    @cached_property
    def contents(self) -> dict[str, sp.csr_matrix]:
        """`pipelines.item_item.content_features.contents` of the catalogue; none where it has none, or is too large to compare with itself."""
        small = len(self.catalogue) <= self.config.hybrid.linear_items
        return contents(self.manifest.schema_, self.catalogue) if small else {}

    @cached_property
    def likeness(self) -> np.ndarray | None:
        """`pipelines.item_item.content_similarity.likeness` of the catalogue; None where `contents` is empty."""
        return likeness(self.contents) if self.contents else None


def records_id(records: Path) -> str:
    """A hash of the manifest: it holds the checksum of every shard, so it names the records' content."""
    return hashlib.sha256((records / MANIFEST_FILE).read_bytes()).hexdigest()


def open_session(records: Path, config: Config, strategy: tf.distribute.Strategy, pretrained: bool) -> Session:
    """Reads records, prepares the catalogue and builds the model under the strategy, with fresh weights but for those
    of encoders that start from pretrained ones; with `pretrained` false they are fresh too, for who restores them."""
    # Random numbers of dropout then live in variables: part of the checkpoint, one stream for each replica.
    tf.keras.backend.experimental.enable_tf_random_generator()
    tf.keras.utils.set_random_seed(config.seed)
    manifest = Manifest.load(records)
    catalogue = load_catalogue(records, manifest)
    vocabulary = records_vocabulary(records)
    with strategy.scope():
        item_encoders = make_encoders(manifest.schema_.items, config, vocabulary)
        user_encoders = make_encoders(manifest.schema_.users, config, vocabulary)
        if pretrained:
            start_encoders(item_encoders, user_encoders, config)
    with progress("preparing items", "items") as advance:
        items = prepare_items(manifest.schema_, item_encoders, catalogue, advance)
    events = load_training_events(records, manifest, catalogue.ids)
    with strategy.scope():
        model = make_model(
            config,
            manifest.schema_,
            item_encoders,
            user_encoders,
            items.presence,
            catalogue.counts(manifest),
            events.first_times(len(catalogue)),
        )
    return Session(records, config, manifest, catalogue, items, events, model, strategy)


def load_trained(run: RunFolder) -> Session:
    """The best epoch of a run, on the CPU or GPU that is there. Raises DataError where its records have grown since."""
    records, config = run.load()
    items, trained = Manifest.load(records).items, run.described().get("items")
    if trained not in (None, items):
        raise DataError(
            f"{records}: has {items:,} items, {run.path} was trained on {trained:,} of them; take its model on with "
            f"triptych train --continue {run.path}"
        )
    session = open_session(records, config, tf.distribute.get_strategy(), pretrained=False)
    checkpoint = tf.train.Checkpoint(model=session.model)
    checkpoint.restore(tf.train.latest_checkpoint(str(run.best))).expect_partial()
    lexicon = Lexicon.load(run.lexicon) if run.lexicon.is_file() else None
    return replace(session, blend=Blend.load(run.path), lexicon=lexicon)


def validation_requests(session: Session) -> Requests:
    """The requests of the validation split, at most `train.validation_queries`: the same ones for every run."""
    return _validation(session, session.config.train.validation_queries)


def all_validation(session: Session) -> Requests:
    """All requests of the validation split."""
    return _validation(session, None)


def _validation(session: Session, limit: int | None) -> Requests:
    histories = load_histories(session.records, session.manifest, "valid", session.catalogue.ids)
    return make_requests(histories, session.manifest.schema_, limit=limit, seed=session.config.seed)
