"""Checkpoints of a run: saving them, and restoring all of one or failing with an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.runs.run_folder import RunFolder
from serving.wire.plain_path import plain_path
from tfrecs.errors import DataError


class Checkpoints:
    """The checkpoints of one folder, which may have any name.

    Args:
      folder: of the checkpoints.
      max_to_keep: so many newest ones are kept.
      name: of the files, before their number.
      **objects: what is saved and restored.
    """

    def __init__(self, folder: Path, *, max_to_keep: int, name: str = "ckpt", **objects: Any):
        self.folder, self._name, self._max_to_keep = folder, name, max_to_keep
        self._checkpoint = tf.train.Checkpoint(**objects)

    def save(self, number: int) -> None:
        """Write a checkpoint, then delete the oldest one of too many."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # A new manager each time, which reads in the folder what was saved before: its path must be there still.
        manager = tf.train.CheckpointManager(
            self._checkpoint, str(plain_path(self.folder)), self._max_to_keep, checkpoint_name=self._name
        )
        manager.save(checkpoint_number=number)

    def restore(self, number: int, remedy: str) -> bool:
        """Restore a checkpoint into every variable that exists.

        Args:
          number: of the checkpoint.
          remedy: what to do where its weights do not fit.

        Returns:
          Whether there is a checkpoint of that number.

        Raises:
          DataError: see `restore_best`.
        """
        if not (self.folder / f"{self._name}-{number}.index").is_file():
            return False
        _restore(self._checkpoint, str(plain_path(self.folder) / f"{self._name}-{number}"), self.folder, remedy)
        return True


def restore_best(run: RunFolder, remedy: str, **objects: Any) -> None:
    """Restore objects from the best epoch of a run.

    Args:
      run: a run with a finished epoch.
      remedy: what to do where its weights do not fit.
      **objects: what the checkpoint was written of, under the same names; every variable of it must exist already.

    Raises:
      DataError: there is no checkpoint, or it lacks a weight of the objects or has one of another shape.
    """
    path = tf.train.latest_checkpoint(str(plain_path(run.best)))
    if path is None:
        raise DataError(f"{run.best}: no checkpoint can be read there; train again")
    _restore(tf.train.Checkpoint(**objects), path, run.path, remedy).expect_partial()


def _restore(checkpoint: tf.train.Checkpoint, path: str, folder: Path, remedy: str) -> Any:
    """Restore every variable that exists and return the status. Raises DataError, with the folder's name."""
    try:
        return checkpoint.restore(path).assert_existing_objects_matched()
    except (ValueError, AssertionError) as error:  # a weight of another shape, or one that the checkpoint lacks
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder}: its weights do not fit this model ({reason}); {remedy}") from error
