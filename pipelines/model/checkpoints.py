"""Restoring the weights of a run: all of them, or an error."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipelines.runs.run_folder import RunFolder
from tfrecs.errors import DataError


def restore_best(run: RunFolder, remedy: str, **objects: Any) -> None:
    """Restore objects from the best epoch of a run.

    Args:
      run: a run with a finished epoch.
      remedy: what to do where its weights do not fit.
      **objects: what the checkpoint was written of, under the same names; every variable of it must exist already.

    Raises:
      DataError: there is no checkpoint, or it lacks a weight of the objects or has one of another shape.
    """
    path = tf.train.latest_checkpoint(str(run.best))
    if path is None:
        raise DataError(
            f"{run.best}: no checkpoint can be read there; train again, in a folder whose path has none of [ ] * ?"
        )
    try:
        tf.train.Checkpoint(**objects).restore(path).assert_existing_objects_matched().expect_partial()
    except (ValueError, AssertionError) as error:  # a weight of another shape, or one that the checkpoint lacks
        reason = str(error).splitlines()[0]
        raise DataError(f"{run.path}: its weights do not fit this model ({reason}); {remedy}") from error
