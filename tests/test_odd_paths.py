"""A folder whose name TensorFlow takes for a pattern: a run in it, beside the same run in a plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_folder import SMALL, make_folder
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train

ODD = "exp [v1] *?"
PLAIN = "exp v 12"  # what ODD matches as a pattern
CHANGES = (*SMALL, "train.epochs=2", "train.min_epochs=2", "hybrid.enabled=false")

pytestmark = pytest.mark.slow


def trained(root: Path, *, killed: bool) -> RunFolder:
    """A run in a new folder `root`, killed after its first epoch and continued, or not."""
    config = load_config(None, CHANGES)
    records = build.run(build.BuildJob(make_folder(root / "data"), root / "records", config)).out
    job = train.TrainJob(records, root / "run", config)
    if killed:

        def stop(row: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train.Trainer(job).train(stop)
    train.run(job)
    return RunFolder(job.out)


def test_a_run_in_an_odd_folder_is_that_of_a_plain_one(tmp_path: Path) -> None:
    plain, odd = trained(tmp_path / PLAIN, killed=False), trained(tmp_path / ODD, killed=True)
    for path in sorted((tmp_path / PLAIN / "records").iterdir()):
        if path.suffix != ".json":
            assert (tmp_path / ODD / "records" / path.name).read_bytes() == path.read_bytes(), path.name
    assert [row["valid_ndcg@10"] for row in odd.read_metrics()] == [
        row["valid_ndcg@10"] for row in plain.read_metrics()
    ]
    models = [load_trained(run).model for run in (plain, odd)]
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_array_equal(one, other)
    logs = EventMultiplexer().AddRunsFromDirectory(str(odd.logs)).Reload()
    assert set(logs.Runs()) == {"train", "valid"}
