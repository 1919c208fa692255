"""Checkpoints of a run: saving them, and restoring all of one or failing with an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.runs.run_folder import RunFolder
from serving.wire.plain_path import plain_path
from tfrecs.errors import DataError


class Checkpoints:
    """The checkpoints of one folder, which may have any name.

    Args:
      folder: of the checkpoints.
      max_to_keep: so many newest ones are kept.
      name: of the files, before their number.
      workers: of which only the chief writes; None: this process is alone.
      **objects: what is saved and restored.
    """

    def __init__(
        self, folder: Path, *, max_to_keep: int, name: str = "ckpt", workers: Workers | None = None, **objects: Any
    ):
        self.folder, self._name, self._max_to_keep = folder, name, max_to_keep
        self._workers = Workers() if workers is None else workers
        self._checkpoint = tf.train.Checkpoint(**objects)

    def save(self, number: int) -> None:
        """Write a checkpoint, then delete the oldest one of too many. All workers call it."""
        if not self._workers.is_chief:
            if any(_is_read_together(part) for part in self._checkpoint_variables()):
                with TemporaryDirectory() as folder:
                    self._checkpoint.write(str(Path(folder) / self._name))
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # A new manager each time, which reads in the folder what was saved before: its path must be there still.
        manager = tf.train.CheckpointManager(
            self._checkpoint, str(plain_path(self.folder)), self._max_to_keep, checkpoint_name=self._name
        )
        manager.save(checkpoint_number=number)

    def _checkpoint_variables(self) -> Iterator[tf.Variable]:
        for part in tf.train.TrackableView(self._checkpoint).descendants():
            if isinstance(part, tf.Variable):
                yield part

    def has(self, number: int) -> bool:
        """Whether there is a checkpoint of that number."""
        return (self.folder / f"{self._name}-{number}.index").is_file()

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
        if not self.has(number):
            return False
        _restore(self._checkpoint, str(plain_path(self.folder) / f"{self._name}-{number}"), self.folder, remedy)
        return True


def _is_read_together(variable: tf.Variable) -> bool:
    """Whether each replica has a value of its own (batch normalisation), so that saving one takes all workers."""
    return variable.synchronization == tf.VariableSynchronization.ON_READ


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
