"""Records opened for a model: what training, evaluation and export share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.config import Config
from pipelines.model.encoder_weights import start_encoders
from pipelines.model.model_factory import make_encoders, make_model, records_vocabulary
from pipelines.model.prepared_items import CatalogueInputs, prepare_items
from pipelines.runs.progress import progress
from tfrecs.reading.reader import Catalogue, load_catalogue
from tfrecs.reading.training_events import TrainingEvents, load_training_events
from tfrecs.schema import MANIFEST_FILE, Manifest
from towers.two_tower import TwoTower


@dataclass(frozen=True)
class Session:
    """A model, and the records it is made for.

    Attributes:
      records: folder of the records.
      config: the configuration; of a run that is opened again the run's own.
      manifest: of the records.
      catalogue: its N items, and where they are stored.
      items: the same as the model's encoders take them.
      events: of training.
      model: the two-tower model.
      strategy: under whose scope the model was made.
    """

    records: Path
    config: Config
    manifest: Manifest
    catalogue: Catalogue
    items: CatalogueInputs
    events: TrainingEvents
    model: TwoTower
    strategy: tf.distribute.Strategy

    @cached_property
    def is_cold(self) -> np.ndarray:
        """bool [N], items without a training event."""
        return np.bincount(self.events.items, minlength=len(self.catalogue)) == 0


def records_id(records: Path) -> str:
    """Return a hash of the manifest, which holds the checksum of every shard: it names the content of the records."""
    return hashlib.sha256((records / MANIFEST_FILE).read_bytes()).hexdigest()


def open_session(
    records: Path, config: Config, strategy: tf.distribute.Strategy, pretrained: bool, precision: str = "float32"
) -> Session:
    """Read records, prepares the catalogue and builds a model with fresh weights.

    Args:
      records: folder of the records.
      config: of the model.
      strategy: under whose scope the model is made.
      pretrained: whether encoders start from their pretrained weights; false where a checkpoint is restored anyway.
      precision: that encoders and towers compute in, see `layers_of`; weights fit every one.
    """
    # Random numbers of dropout then live in variables: part of the checkpoint, one stream for each replica.
    tf.keras.backend.experimental.enable_tf_random_generator()
    tf.keras.utils.set_random_seed(config.seed)
    manifest = Manifest.load(records)
    catalogue = load_catalogue(records, manifest)
    vocabulary = records_vocabulary(records)
    with strategy.scope():
        item_encoders = make_encoders(manifest.schema_.items, config, vocabulary, precision)
        user_encoders = make_encoders(manifest.schema_.users, config, vocabulary, precision)
        if pretrained:
            start_encoders(item_encoders, user_encoders, config)
    with progress("preparing items", "items") as advance:
        limit = config.train.items_in_memory
        items = prepare_items(manifest.schema_, item_encoders, catalogue, limit, advance)
    with progress("reading training events", "events") as advance:
        events = load_training_events(records, manifest, catalogue.ids, advance)
    with strategy.scope():
        model = make_model(
            config,
            manifest.schema_,
            item_encoders,
            user_encoders,
            items.presence,
            catalogue.counts(manifest),
            events.first_times(len(catalogue)),
            precision,
        )
    return Session(records, config, manifest, catalogue, items, events, model, strategy)
