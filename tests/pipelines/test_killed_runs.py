"""A run that is killed, in a folder whose name TensorFlow takes for a pattern: it ends as the straight one in a plain folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import tensorflow as tf
from plain import make_plain_folder
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from whole import Whole

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.errors import DataError

ODD = "exp [v1] *?"
MATCHED = "exp v 12"  # what ODD matches as a pattern


def stop(row: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.matrix
def test_a_run_in_an_odd_folder_that_is_killed_twice_is_that_of_a_plain_one(plain: Whole, tmp_path: Path) -> None:
    # Whoever takes ODD for a pattern reads these files.
    for made in (plain.records, plain.run):
        shutil.copytree(made, tmp_path / MATCHED / made.name)
    for path in (tmp_path / MATCHED).rglob("*"):
        if path.is_file():
            path.write_bytes(b"of another run")

    data = make_plain_folder(tmp_path / ODD / "data")
    records = build.run(build.BuildJob(data, tmp_path / ODD / "records", plain.config)).out
    for path in sorted(plain.records.iterdir()):
        if path.suffix != ".json":
            assert (records / path.name).read_bytes() == path.read_bytes(), path.name

    job = train.TrainJob(records, tmp_path / ODD / "run", plain.config)
    first = train.Trainer(job)
    first.prepare()  # and is killed: the encoders are trained, no epoch is
    caches = {name: cache.numpy() for name, cache in first.session.model.cache.items()}
    second = train.Trainer(job)
    fresh = {name: cache.numpy() for name, cache in second.session.model.cache.items()}
    second.prepare = lambda: pytest.fail("the encoders' stage ran again")
    with pytest.raises(KeyboardInterrupt):
        second.train(stop)
    for name, cache in second.session.model.cache.items():
        np.testing.assert_array_equal(cache.numpy(), caches[name])
        assert (fresh[name] != caches[name]).any()
    train.run(job)

    odd, straight = RunFolder(job.out), RunFolder(plain.run)
    assert [row["epoch"] for row in odd.read_metrics()] == [1, 2]
    assert [row["valid_ndcg@10"] for row in odd.read_metrics()] == [
        row["valid_ndcg@10"] for row in straight.read_metrics()
    ]
    before, end, resumed = (
        weights(run.checkpoints / f"epoch-{number}") for run, number in ((straight, 1), (straight, 2), (odd, 2))
    )
    assert len(end) > 20
    # Not bit for bit: threads add floats in any order. With other batches, dropout masks or moments in the optimizer the
    # last epoch would end somewhere else altogether, about as far off as it moved.
    assert distance(before, end) > 0.01
    assert distance(end, resumed) < 0.01 * distance(before, end)
    loaded = [load_trained(run).model.variables for run in (straight, odd)]
    for one, other in zip(*loaded, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    logs = EventMultiplexer().AddRunsFromDirectory(str(odd.logs)).Reload()
    assert set(logs.Runs()) == {"train", "valid"}


def weights(checkpoint: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(checkpoint))
    tensors = {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("model/")
    }
    return {
        name: value for name, value in tensors.items() if name.endswith("VARIABLE_VALUE") and value.dtype == np.float32
    }


def distance(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(first[name] - second[name]).sum() for name in first)))


def test_a_run_folder_is_not_continued_with_another_configuration(plain: Whole) -> None:
    other = load_config(None, ["train.epochs=9"])
    with pytest.raises(DataError, match="another configuration"):
        train.run(train.TrainJob(plain.records, plain.run, other))
