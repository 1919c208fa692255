"""Restoring the best epoch of a run: everything is restored, or an error says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from pipelines.model.checkpoints import restore_best
from pipelines.runs.run_folder import RunFolder
from tfrecs.errors import DataError


def module(**values: list[float]) -> tf.Module:
    result = tf.Module()
    for name, value in values.items():
        setattr(result, name, tf.Variable(value))
    return result


def saved(path: Path, **values: list[float]) -> RunFolder:
    run = RunFolder(path)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=module(**values)), str(run.best), max_to_keep=1).save()
    return run


def test_the_weights_of_the_best_epoch_come_back(tmp_path: Path) -> None:
    run, model = saved(tmp_path / "run", a=[1.0, 2.0], unused=[9.0]), module(a=[0.0, 0.0])
    restore_best(run, "train again", model=model)
    assert model.a.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["empty", "run [1]"], ids=["no checkpoint", "a path that is read as a pattern"])
def test_a_folder_without_a_checkpoint_that_can_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    run = RunFolder(tmp_path / "empty") if name == "empty" else saved(tmp_path / name, a=[1.0])
    with pytest.raises(DataError, match="no checkpoint can be read there; train again, in a folder whose path has"):
        restore_best(run, "train again", model=module(a=[0.0]))


@pytest.mark.parametrize("model", [{"b": [0.0]}, {"a": [0.0]}], ids=["a weight it lacks", "a weight of another shape"])
def test_weights_that_do_not_fit_the_model_are_an_error(tmp_path: Path, model: dict[str, list[float]]) -> None:
    run = saved(tmp_path / "run", a=[1.0, 2.0])
    with pytest.raises(DataError, match=r"its weights do not fit this model \(.*\); train again"):
        restore_best(run, "train again", model=module(**model))
