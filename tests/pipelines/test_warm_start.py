"""`triptych train --continue`: a model goes on from where an earlier run ended, on records that grew since."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from grouped_folder import EVENTS, ITEMS, grouped

from pipelines.building import builder as build
from pipelines.cli import main
from pipelines.config import Config, load_config
from pipelines.evaluation.evaluator import evaluate
from pipelines.exporting import exporter as export
from pipelines.hybrid.trained_run import load_trained
from pipelines.model.session import open_session
from pipelines.reporting.report_data import value_of
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from pipelines.training.warm_start import copy_weights, earlier_run
from tfrecs.errors import DataError
from tfrecs.schema import Manifest

pytestmark = pytest.mark.slow

KNOWN, BEFORE = ITEMS - 20, EVENTS // 2  # items, and events of each user, that the first run knows
SETTINGS = (
    "user.hidden_dim=16",
    "user.num_layers=1",
    "user.max_history=20",
    "user.stride=20",
    "cooccurrence.epochs=2",
    "train.epochs=4",
    "train.warm_start_epochs=3",
    "hybrid.regularizations=[100]",
    "hybrid.softness=[1]",
    "hybrid.content_weights=[30]",
    "evaluate.diversities=[0]",
    "evaluate.patterns=2",
    "export.parity_requests=20",
)


def whole(folder: Path) -> Path:
    """Without items made cold, which records that grow cannot have."""
    data = grouped(folder, shuffled=False)
    spec = data / "dataset.yaml"
    spec.write_text(spec.read_text().replace(", cold_items: 0.25", ""))
    return data


def early(folder: Path) -> Path:
    """The data folder as it was before the last items came and half of the events happened."""
    whole(folder)
    lines = (folder / "items.jsonl").read_text().splitlines()[:KNOWN]
    (folder / "items.jsonl").write_text("".join(f"{line}\n" for line in lines))
    ids = {json.loads(line)["item_id"] for line in lines}
    header, *events = (folder / "events.tsv").read_text().splitlines()
    kept = [
        row for row in events if row.split("\t")[1] in ids and int(row.split("\t")[2]) < 1_513_000_000 + 1000 * BEFORE
    ]
    (folder / "events.tsv").write_text("\n".join([header, *kept, ""]))
    return folder


class Grown:
    """A run on the early folder, then its records with everything: `first` was trained on what `records` held before."""

    def __init__(self, root: Path):
        self.config = load_config(None, SETTINGS)
        self.before = build.run(build.BuildJob(early(root / "early"), root / "before", self.config)).out
        self.first = root / "first"
        train.run(train.TrainJob(self.before, self.first, self.config))
        self.trained = load_trained(RunFolder(self.first))
        self.records = root / "records"
        shutil.copytree(self.before, self.records)
        build.run(build.BuildJob(whole(root / "whole"), self.records, self.config, append=True, resplit=True))
        self.manifest = Manifest.load(self.records)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(tmp_path_factory.mktemp("grown"))


def going_on(grown: Grown, changes: Sequence[str] = ()) -> Config:
    return load_config(RunFolder(grown.first).config_file, [f"train.warm_start={grown.first}", *changes])


@pytest.mark.slow
def test_the_start_is_the_earlier_model_and_new_items_have_fresh_weights(grown: Grown) -> None:
    assert (len(grown.trained.catalogue), grown.manifest.items) == (KNOWN, ITEMS)
    session = open_session(grown.records, going_on(grown), tf.distribute.get_strategy(), pretrained=False)
    fresh = [variable.numpy() for variable in session.model.variables]
    copy_weights(earlier_run(grown.first, grown.manifest), session)
    grew = 0
    for old, new, unlearned in zip(grown.trained.model.variables, session.model.variables, fresh, strict=True):
        if old.shape == new.shape:
            np.testing.assert_array_equal(old, new)
        else:
            grew += 1
            assert new.shape[0] - old.shape[0] == ITEMS - KNOWN
            np.testing.assert_array_equal(old[:KNOWN], new[:KNOWN])
            np.testing.assert_array_equal(unlearned[KNOWN:], new[KNOWN:])
    assert grew == 2  # Embeddings of ids and the cache of the vectors' encodings.


@pytest.fixture(scope="module")
def second(grown: Grown, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """`first` continued with the command, and what it printed."""
    out = tmp_path_factory.mktemp("second") / "run"
    done = CliRunner().invoke(main, [*command(grown, out), "--continue", str(grown.first)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out, done.output


def command(grown: Grown, out: Path) -> list[str]:
    return ["train", "--records", str(grown.records), "--out", str(out)]


@pytest.mark.matrix
@pytest.mark.slow
def test_a_continued_run_begins_ahead_of_a_new_one_and_goes_the_whole_way(
    grown: Grown, second: tuple[Path, str], tmp_path: Path
) -> None:
    run, said = second
    assert "before training  valid Recall@20" in said
    assert "epoch   3/3" in said
    anew = train.TrainJob(grown.records, tmp_path / "anew", grown.config)
    with pytest.raises(KeyboardInterrupt):
        train.Trainer(anew).train(stop)
    (first_epoch,) = RunFolder(anew.out).read_metrics()
    continued = RunFolder(run).read_metrics()
    assert len(continued) == 3
    assert continued[0]["retrieval_loss"] < first_epoch["retrieval_loss"] - 0.05

    report = evaluate(load_trained(RunFolder(run)), commands={}, curve=[])
    assert value_of(report.model, "recall@20") > 2 * value_of(report.baselines["random"], "recall@20")
    assert export.run(export.ExportJob(run, tmp_path / "models" / "grown")).gate.requests == 20

    # The same command again finds a finished run; another start is another run.
    again = CliRunner().invoke(main, [*command(grown, run), "--continue", str(grown.first)], catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert RunFolder(run).read_metrics() == continued
    other = CliRunner().invoke(main, command(grown, run))
    assert other.exit_code == 2
    assert "another configuration" in other.output


def stop(row: object) -> None:
    """Ends a training after its first epoch."""
    raise KeyboardInterrupt


@pytest.mark.matrix
@pytest.mark.slow
def test_a_continued_run_that_was_killed_ends_at_the_same_weights(
    grown: Grown, second: tuple[Path, str], tmp_path: Path
) -> None:
    job = train.TrainJob(grown.records, tmp_path / "killed", going_on(grown))
    with pytest.raises(KeyboardInterrupt):
        train.Trainer(job).train(stop)
    train.Trainer(job).train()
    straight, killed = (RunFolder(run).checkpoints / "epoch-3" for run in (second[0], job.out))
    assert len(weights(straight)) > 10
    for name, value in weights(straight).items():
        np.testing.assert_array_equal(weights(killed)[name], value, err_msg=name)


def weights(checkpoint: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(checkpoint))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if name.startswith("model/")}


@pytest.mark.slow
def test_what_cannot_be_continued_is_said_in_one_line(grown: Grown, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run there"):
        earlier_run(tmp_path / "nothing", grown.manifest)
    other = build.run(build.BuildJob(grouped(tmp_path / "data", shuffled=True), tmp_path / "other", grown.config)).out
    with pytest.raises(DataError, match="cannot be continued on these records"):
        train.run(train.TrainJob(other, tmp_path / "run", going_on(grown)))
    with pytest.raises(DataError, match="weights do not fit this model"):
        train.run(train.TrainJob(grown.records, tmp_path / "wide", going_on(grown, ["user.hidden_dim=32"])))
    with pytest.raises(DataError, match="weights do not fit this model"):
        train.run(train.TrainJob(grown.records, tmp_path / "deep", going_on(grown, ["user.num_layers=2"])))


def test_a_run_on_records_that_grew_says_how_to_take_it_on(grown: Grown, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(grown.first, run)
    said = RunFolder(run).described() | {"records": str(grown.records)}
    (run / "run.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=f"triptych train --continue {run}"):
        load_trained(RunFolder(run))
