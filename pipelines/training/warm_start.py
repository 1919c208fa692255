"""`triptych train --continue`: the weights of an earlier run become the start of one on records that grew since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.model.checkpoints import restore_best
from pipelines.model.model_factory import make_encoders, make_model, records_vocabulary
from pipelines.model.session import Session
from pipelines.runs.run_folder import RunFolder, schema_id
from tfrecs.errors import DataError
from tfrecs.schema import Manifest
from towers.two_tower import TwoTower


def earlier_run(path: Path, manifest: Manifest) -> RunFolder:
    """Open the run to start from.

    Raises:
      DataError: there is none, it has no finished epoch, or its records are not an earlier state of these.
    """
    run = RunFolder(path)
    run.load()
    description = run.described()
    shards = [shard.sha256 for shard in manifest.item_shards]
    earlier = description.get("item_shards")
    if earlier is None or shards[: len(earlier)] != earlier or description["schema"] != schema_id(manifest):
        raise DataError(
            f"{path}: cannot be continued on these records, which are not its own with something appended "
            "(triptych build --append --resplit); train anew"
        )
    return run


def copy_weights(run: RunFolder, session: Session) -> None:
    """Give the session's model the weights of the run's best epoch; items that the run did not have keep fresh ones.

    Raises:
      DataError: the configuration asks for weights of another shape.
    """
    earlier = _model(session, run.described()["items"])
    restore_best(run, "leave the towers' shapes as they are, or train anew", model=earlier)
    take_over(earlier, session.model)


def take_over(earlier: TwoTower, model: TwoTower) -> None:
    """Give a model the weights of one that knows only its first items; the others keep their own."""
    both, count = earlier.stores_encodings and model.stores_encodings, earlier.num_items
    for old, new in zip(_weights(earlier, both), _weights(model, both), strict=True):
        if old.shape == new.shape:
            new.assign(old)
        else:  # One row for each item, those of the earlier run first.
            new.assign(tf.concat([old[:count], new[count:]], axis=0))


def _weights(model: TwoTower, encodings: bool) -> list[tf.Variable]:
    """All variables; without `encodings` not those of the cache, which a run fills anew before it trains."""
    cached = set() if encodings else {id(value) for value in model.cache.values()}
    return [variable for variable in model.variables if id(variable) not in cached]


def _model(session: Session, num_items: int) -> TwoTower:
    """A model like the session's, of its first items alone."""
    schema, config = session.manifest.schema_, session.config
    vocabulary = records_vocabulary(session.records)
    return make_model(
        config,
        schema,
        make_encoders(schema.items, config, vocabulary),
        make_encoders(schema.users, config, vocabulary),
        session.items.presence[:num_items],
        np.zeros(num_items, np.int64),
        np.zeros(num_items, np.int64),
    )
