"""The measurements of scale: what they count, what they keep of an interrupted run, and what they refuse."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.quality.peers.interface import TrainingData
from benchmarks.scale import __main__ as parts
from benchmarks.scale import full_run, sampled_softmax
from benchmarks.scale.full_run import Phases, bars, check_limit, quality_of
from benchmarks.scale.generate import Sizes, generate
from benchmarks.scale.sasrec_rounds import cut_histories
from benchmarks.scale.throughput import Shape, build_ids, peer_batch, rounds_of, summary
from tfrecs.errors import DataError, SpecError

SMALL = Sizes(items=120, events=3_000, users=60)


def test_a_long_history_becomes_pieces_in_which_every_event_but_the_first_is_a_target_once() -> None:
    users, items = cut_histories(np.array([4, 4, 4, 4, 4, 7, 9, 9]), np.array([10, 11, 12, 13, 14, 20, 30, 31]), 2)
    assert [items[users == piece].tolist() for piece in range(4)] == [[10, 11, 12], [12, 13, 14], [20], [30, 31]]


def test_a_batch_of_the_peer_holds_as_many_targets_as_ours() -> None:
    # Pieces of 2, 2 and 1 targets, and one event alone, which RecTools leaves out: 5 / 3 targets a sequence.
    users = np.array([4, 4, 4, 4, 4, 7, 9, 9], np.int32)
    training = TrainingData(np.array(["a", "b", "c"]), users, np.arange(8, dtype=np.int32), 8, {})
    assert peer_batch(training, length=2, targets=100.0) == 60


def test_a_round_is_summed_up_by_medians_over_rounds() -> None:
    rows = [{"targets": 100, "steps": 10, "seconds": seconds} for seconds in (1.0, 2.0, 10.0)]
    assert summary(rows) == {"targets_per_second": 50, "targets_a_step": 10, "milliseconds_a_step": 200.0}


def test_phases_are_run_once_and_kept_when_they_end(tmp_path: Path) -> None:
    path, runs = tmp_path / "result.json", []

    def phase(name: str, fails: bool = False) -> dict[str, Any]:
        runs.append(name)
        if fails:
            raise DataError("stopped")
        return {"seconds": 1.0}

    phases = Phases(path, {"items": 10})
    phases.run("build", None, lambda: phase("build"))
    with pytest.raises(DataError):
        phases.run("train", None, lambda: phase("train", fails=True))
    assert json.loads(path.read_text())["phases"] == {"build": {"seconds": 1.0}}
    again = Phases(path, {"items": 10})
    again.run("build", None, lambda: phase("build"))
    again.run("train", None, lambda: phase("train"))
    assert runs == ["build", "train", "train"]
    again.run("build", tmp_path / "gone", lambda: phase("build"))  # what it had written is no longer there
    assert runs == ["build", "train", "train", "build"]
    assert Phases(path, {"items": 11}).result["phases"] == {}


def test_ials_counts_beside_the_evaluation_only_on_the_same_requests(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    values = {name: {"recall@20": recall, "ndcg@20": recall / 2} for name, recall in (("model", 0.3), ("popular", 0.1))}
    baselines = {"popularity": values["popular"], "item_knn": {"recall@20": 0.2, "ndcg@20": 0.1}}
    report.write_text(json.dumps({"model": values["model"], "baselines": baselines, "slices": {}}))
    peers = {"popularity": values["popular"], "ials": {"recall@20": 0.25, "ndcg@20": 0.12}}
    quality = quality_of(report, peers)
    assert quality["ials"]["recall@20"] == 0.25
    with pytest.raises(DataError, match="not the same requests"):
        quality_of(report, {**peers, "popularity": {"recall@20": 0.11, "ndcg@20": 0.05}})
    phases = {"generate": {"seconds": 6000.0}, "train": {"seconds": 1200.0}, "peers": {"seconds": 6000.0}}
    assert bars({"phases": phases, "quality": quality}) == {
        "minutes": 20.0,
        "minutes_target": 60.0,
        "in_time": True,
        "recall_against": {"popularity": 3.0, "item_knn": 1.5, "ials": 1.2},
        "ahead": True,
        "not_measured": [],
    }


def test_an_option_that_does_not_exist_is_refused_before_the_long_work() -> None:
    assert check_limit("", 10) == ()
    assert check_limit("train.validation_queries", 10) == ("train.validation_queries=10",)
    with pytest.raises(SpecError, match="--limit-option"):
        check_limit("evaluate.no_such_option", 10)


def test_the_parts_are_modules_and_what_lacks_something_is_named() -> None:
    listed = CliRunner().invoke(parts.main, []).output
    for part in parts.PARTS:
        assert part.name in listed
        assert importlib.util.find_spec(f"benchmarks.scale.{part.name}") is not None
    done = CliRunner().invoke(parts.main, ["throughput"])
    assert done.exit_code == 1
    assert "throughput needs --peers-python" in done.output
    assert CliRunner().invoke(parts.main, ["nothing"]).exit_code == 2


@pytest.mark.matrix
@pytest.mark.slow
def test_our_rounds_count_real_targets_and_take_turns(tmp_path: Path) -> None:
    data = generate(tmp_path / "data", SMALL, "csv")
    records = build_ids(data, tmp_path / "built")
    shape = Shape(width=16, layers=1, heads=2, length=20, rows=4, negatives=8, threads=1)
    changes = [part for change in shape.ours("sampled") for part in ("--set", change)]
    arguments = ["--records", str(records), "--threads", "1", "--targets", "300", *changes]
    with rounds_of(sys.executable, "triptych_rounds", arguments, tmp_path / "log") as rounds:
        rows = [next(rounds), next(rounds)]
    for row in rows:
        assert row["targets"] >= 300
        assert row["targets"] <= row["steps"] * 4 * 20  # no more than the rows have room for
        assert row["seconds"] > 0


@pytest.mark.matrix
@pytest.mark.slow
def test_the_sampled_softmax_is_set_beside_the_full_one(tmp_path: Path) -> None:
    data = generate(tmp_path / "data", SMALL, "csv")
    arguments = ["--data", str(data), "--epochs", "1", "--features", "vector", "--work", str(tmp_path / "work")]
    settings = ["--set", "user.hidden_dim=16", "--set", "train.batch_size=4", "--out", str(tmp_path / "out.json")]
    done = CliRunner().invoke(sampled_softmax.main, [*arguments, *settings], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads((tmp_path / "out.json").read_text())
    row = result["test"]["ndcg@20"]
    assert row["full"] > 0
    assert row["sampled_against_full"]["ratio"] == pytest.approx(row["in_batch"] / row["full"], rel=1e-3)
    assert result["holds"] == (row["sampled_against_full"]["ratio"] >= 0.98)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_whole_run_states_every_phase_and_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = ["--items", "120", "--events", "3000", "--requests", "50", "--limit-option", ""]
    arguments += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json")]
    arguments += ["--set", "train.encoders=frozen", "--set", "text.num_layers=1", "--set", "export.parity_requests=20"]
    done = CliRunner().invoke(full_run.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["phases"]) == ["generate", "check", "build", "train", "evaluate", "export"]
    assert all(row["seconds"] > 0 and row["peak_gigabytes"] > 0.05 for row in result["phases"].values())
    assert {"triptych", "popularity", "item_knn"} <= set(result["quality"])
    assert result["bars"]["not_measured"] == ["ials: give --peers-python"]
    again = CliRunner().invoke(full_run.main, arguments, catch_exceptions=False)
    assert again.output.count("done before") == 6
