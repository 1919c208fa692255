"""A search over the configuration: killed and continued, pruned, reported, and blind to the test split."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from plain import SMALL as PLAIN
from plain import make_plain_folder

from pipelines.building import builder as build
from pipelines.cli import main
from pipelines.config import Config, load_config
from pipelines.reporting.tune_report import TrialResult, TuneReport, tune_markdown
from pipelines.tuning import tuner as tune
from pipelines.tuning.tune_space import Dimension, changed, current, make_space
from tfrecs.errors import DataError, DivergedError, SpecError

REPO = Path(__file__).resolve().parents[2]
SMALL = (*PLAIN, "train.encoders=frozen", "tune.trials=3")
SPACE = {
    "train.learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    "user.dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    "user.num_layers": {"low": 1, "high": 2},
    "item.fusion": {"choices": ["concat", "gated"]},
}

# As a kill from outside: in the middle of the second trial, its first epoch done but not yet reported.
KILLED = """
import os, signal, sys
from pathlib import Path
import tfrecs
from pipelines.tuning import tuner as tune
from pipelines.config import load_config

class Killer(tune.Trainer):
    def train(self, after_epoch=None):
        def kill(row):
            if self.run.path.name == sys.argv[4] and row["epoch"] == int(sys.argv[5]):
                os.kill(os.getpid(), signal.SIGKILL)
            after_epoch(row)
        return super().train(kill)

tune.Trainer = Killer
tune.run(tune.TuneJob(Path(sys.argv[1]), Path(sys.argv[2]), load_config(None, sys.argv[6:]), Path(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune")
    made = build.run(build.BuildJob(make_plain_folder(root / "data"), root / "records", Config())).out
    for shard in made.glob("test-*"):
        shard.unlink()  # whoever reads the test split fails
    return made


@pytest.fixture(scope="module")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


@pytest.fixture(scope="module")
def straight(records: Path, space_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tune.TuneResult:
    out = tmp_path_factory.mktemp("straight") / "search"
    return tune.run(tune.TuneJob(records, out, load_config(None, SMALL), space_file))


@pytest.mark.matrix
@pytest.mark.slow
def test_a_search_without_the_test_split_ends_with_the_best_configuration(straight: tune.TuneResult) -> None:
    assert [trial.state for trial in straight.trials] == ["complete"] * 3
    assert all(len(trial.curve) == 2 for trial in straight.trials)
    assert straight.best.value == max(trial.value or 0.0 for trial in straight.trials)
    assert straight.best.value == max(row["valid_ndcg@10"] for row in straight.best.curve)
    config = load_config(straight.config)
    assert config.train.learning_rate == straight.best.params["train.learning_rate"]
    assert config.item.fusion == straight.best.params["item.fusion"]
    assert config.user.hidden_dim == 16
    # The first trial is the configuration as it was, where the space has it: attention is none of the choices.
    assert straight.trials[0].params["train.learning_rate"] == 3e-3
    assert straight.trials[0].params["user.num_layers"] == 1
    assert straight.trials[0].params["item.fusion"] in ("concat", "gated")
    assert len({trial.params["train.learning_rate"] for trial in straight.trials}) == 3


@pytest.mark.slow
def test_the_folder_holds_the_report_and_no_weights_but_the_best(straight: tune.TuneResult) -> None:
    content = json.loads((straight.out / "report.json").read_text())
    assert content["best"]["number"] == straight.best.number
    assert len(content["trials"]) == 3
    assert {"history.png", "options.png"} <= {path.name for path in (straight.out / "plots").iterdir()}
    text = (straight.out / "report.md").read_text()
    assert "3 finished trials are too few to tell" in text
    for trial in straight.trials:
        folder = straight.out / "trials" / f"{trial.number:04}"
        assert (folder / "metrics.jsonl").is_file()
        assert not (folder / "checkpoints").exists()
        assert (folder / "best").exists() == (trial.number == straight.best.number)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_search_that_was_killed_loses_nothing_and_ends_the_same(
    straight: tune.TuneResult, records: Path, space_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(records), str(out), str(space_file), "0001", "1", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (out / "config.yaml").is_file()  # of the best so far
    kept = out / "trials" / "0000" / "metrics.jsonl"
    before = kept.stat().st_mtime_ns
    half = (out / "trials" / "0001" / "metrics.jsonl").read_text()
    assert half.count("\n") == 1

    result = tune.run(tune.TuneJob(records, out, load_config(None, SMALL), space_file))
    assert kept.stat().st_mtime_ns == before
    assert (out / "trials" / "0001" / "metrics.jsonl").read_text().startswith(half)
    assert [trial.params for trial in result.trials] == [trial.params for trial in straight.trials]
    for found, expected in zip(result.trials, straight.trials, strict=True):
        assert found.state == expected.state
        assert found.value == pytest.approx(expected.value, abs=0.02)


@pytest.mark.matrix
@pytest.mark.slow
def test_more_trials_go_on_where_it_ended_and_the_same_number_is_nothing_to_do(
    straight: tune.TuneResult, records: Path, space_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    shutil.copytree(straight.out, out)
    job = tune.TuneJob(records, out, load_config(None, SMALL), space_file)
    assert tune.run(job).trials == straight.trials
    more = tune.run(tune.TuneJob(records, out, load_config(None, (*SMALL, "tune.trials=4")), space_file))
    assert more.trials[:3] == straight.trials
    assert len(more.trials) == 4
    # Four are enough to say something.
    shares = json.loads((out / "report.json").read_text())["importances"]
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert (out / "plots" / "importances.png").is_file()


class FakeTrainer:
    """A trainer whose curves are told: trial n has `CURVES[n]`; an error ends it."""

    curves: tuple[Any, ...] = ()

    def __init__(self, job: Any):
        self.number, self.rows = int(job.out.name), []
        self.folder = tune.RunFolder(job.out)
        job.out.mkdir(parents=True, exist_ok=True)

    def train(self, after_epoch: Any) -> Any:
        for epoch, value in enumerate(self.curves[self.number], start=1):
            if isinstance(value, Exception):
                raise value
            self.rows.append({"epoch": epoch, tune.METRIC: value})
            self.folder.write_metrics(self.rows)
            after_epoch(self.rows[-1])
        best = max(self.rows, key=lambda row: row[tune.METRIC])
        return type("Result", (), {"metrics": best, "best_epoch": best["epoch"], "epochs": len(self.rows)})


def fake(monkeypatch: pytest.MonkeyPatch, curves: tuple[Any, ...]) -> None:
    monkeypatch.setattr(FakeTrainer, "curves", curves)
    monkeypatch.setattr(tune, "Trainer", FakeTrainer)
    monkeypatch.setattr("pipelines.reporting.report.save", lambda figure, path: None)  # seconds a search


def searched(records: Path, out: Path, space: Path, trials: int) -> tune.TuneResult:
    changes = (*SMALL, f"tune.trials={trials}", "tune.startup=2", "tune.prune_after=2")
    return tune.run(tune.TuneJob(records, out, load_config(None, changes), space))


@pytest.mark.matrix
@pytest.mark.slow
def test_a_hopeless_trial_ends_early(
    records: Path, space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the third epoch the third is below the median of the first two, the fourth above.
    fake(monkeypatch, ([0.1, 0.2, 0.3, 0.3], [0.1, 0.2, 0.4, 0.3], [0.0, 0.1, 0.2, 0.9], [0.0, 0.1, 0.5, 0.45]))
    result = searched(records, tmp_path / "search", space_file, 4)
    assert [(trial.state, trial.value, len(trial.curve)) for trial in result.trials] == [
        ("complete", 0.3, 4),
        ("complete", 0.4, 4),
        ("pruned", None, 3),
        ("complete", 0.5, 4),
    ]
    assert result.best.number == 3
    assert "3 complete, 1 pruned" in (result.out / "report.md").read_text()


@pytest.mark.matrix
@pytest.mark.slow
def test_a_trial_that_diverges_is_a_failure_and_the_search_goes_on(
    records: Path, space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, ([0.1, DivergedError("scores are not finite")], [0.2]))
    result = searched(records, tmp_path / "search", space_file, 2)
    assert [trial.state for trial in result.trials] == ["fail", "complete"]
    assert result.best.number == 1
    fake(monkeypatch, ([DivergedError("scores are not finite")],))
    with pytest.raises(DataError, match="no trial finished"):
        searched(records, tmp_path / "other", space_file, 1)


@pytest.mark.slow
def test_a_folder_of_another_search_is_refused(
    straight: tune.TuneResult, records: Path, space_file: Path, tmp_path: Path
) -> None:
    def refused(match: str, out: Path, changes: tuple[str, ...] = SMALL, space: Path | None = space_file) -> None:
        with pytest.raises(DataError, match=match):
            tune.run(tune.TuneJob(records, out, load_config(None, changes), space))

    refused("a search with other configuration", straight.out, (*SMALL, "train.epochs=3"))
    refused("a search with other space", straight.out, space=None)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    refused("not empty and not a search of ours", tmp_path / "notes")
    with tune._lock(tmp_path / "busy"):
        refused("another search is running", tmp_path / "busy")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"user.hiden_dim": {"choices": [16]}}, "no option user.hiden_dim; did you mean 'hidden_dim'"),
        ({"user.num_layers": {"low": 2, "high": 1}}, "user.num_layers: `low` must be less than `high`"),
        ({"user.num_layers": {"choices": [1], "low": 1}}, "give `choices`, or `low` and `high`"),
        ({"user.num_layers": {"low": 0, "high": 2}}, "user.num_layers: Input should be greater than or equal to 1"),
        ({"user.dropout": {"low": 0.0, "high": 0.5, "log": True}}, "`log` needs a `low` above 0"),
        ({"evaluate.bins": {"low": 5, "high": 9}}, "not an option of training"),
        ({"user.num_layers": 3}, "user.num_layers: "),
    ],
)
def test_a_wrong_space_is_one_line_before_anything_is_trained(space: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_space(space, Config(), "space.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("space.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_default_space_fits_the_defaults() -> None:
    config = Config()
    space = make_space(config.tune.space, config, "tune.space")
    assert set(current(config, space)) == set(config.tune.space)
    assert changed(config, {"user.hidden_dim": 128}, "here").user.hidden_dim == 128


def test_what_a_dimension_holds() -> None:
    steps = Dimension(low=2, high=8, step=2)
    assert [value for value in range(11) if steps.contains(value)] == [2, 4, 6, 8]
    assert not Dimension(low=0.0, high=1.0).contains("a")
    assert Dimension(choices=["a", None]).contains(None)


def test_the_report_sets_the_best_against_the_first() -> None:
    trials = [
        TrialResult(0, "complete", 0.25, {"a.b": 1}, []),
        TrialResult(1, "complete", 0.5, {"a.b": 0.123456}, [{"epoch": 1}]),
    ]
    report = TuneReport(trials, trials[1], {"a.b": 1.0}, "valid_ndcg@10", ["a.b"], "train it")
    text = tune_markdown(report, ["importances"])
    assert text.startswith("# valid_ndcg@10 0.5000 in trial 2, the first trial 0.2500")
    assert "| 2 | complete | 0.5000 | 1 | 0.1235 |" in text
    assert "| a.b | 1.00 |" in text
    assert "importances.png" in text
    assert "options.png" not in text


def test_the_command_says_a_user_s_mistake_in_one_line(records: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("train.lerning_rate: {low: 0.1, high: 0.2}\n")
    arguments = ["tune", "--records", str(records), "--out", str(tmp_path / "out"), "--trials", "1"]
    found = CliRunner().invoke(main, [*arguments, "--space", str(tmp_path / "space.yaml")])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert "did you mean 'learning_rate'" in found.stderr
    found = CliRunner().invoke(main, [*arguments, "--space", str(tmp_path / "nowhere.yaml")])
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
