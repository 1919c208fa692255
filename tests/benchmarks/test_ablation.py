"""The ablation table, whole, on small generated data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from plain import SMALL, SMALL_OPTIONS, make_plain_folder

from benchmarks.ablation import ROWS, main
from pipelines.config import load_config


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_is_a_configuration_that_differs_from_the_first(name: str) -> None:
    changed = load_config(None, ROWS[name])
    assert (changed == load_config(None)) == (name == "as it is")


@pytest.mark.matrix
@pytest.mark.slow
def test_each_row_is_trained_and_measured_and_kept(tmp_path: Path) -> None:
    data, out = make_plain_folder(tmp_path / "data"), tmp_path / "ablation.json"
    arguments = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(out), *SMALL_OPTIONS]
    arguments += ["--set", "train.epochs=1"]
    ran = CliRunner().invoke(main, [*arguments, "--only", "as it is,no event values"])
    assert ran.exit_code == 0, ran.output
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["as it is", "no event values"]
    for found in rows.values():
        assert 0 <= found["hybrid"]["ndcg@20"] <= found["hybrid"]["recall@20"] <= 1
        assert found["epochs"] == 1
        assert set(found["valid_ndcg@20"]) == {"towers", "hybrid"}
    assert rows["no event values"]["set"] == [*SMALL, "train.epochs=1", "user.use_values=false"]
    runs = list((tmp_path / "work").rglob("metrics.jsonl"))
    assert len(runs) == 2
    before = {path: path.read_bytes() for path in runs}
    again = CliRunner().invoke(main, [*arguments, "--only", "as it is"])
    assert again.exit_code == 0, again.output
    assert {path: path.read_bytes() for path in runs} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "all", "--out", "own.json"], "--only all: there are as it is, no event values"),
        (["--only", "as it is"], "name its file with --out"),
        (["--set", "train.epochs=1"], "name its file with --out"),
    ],
)
def test_an_unknown_row_and_a_table_that_would_replace_the_whole_one_are_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    ran = CliRunner().invoke(main, ["--data", str(make_plain_folder(tmp_path / "data")), *arguments])
    assert ran.exit_code == 2
    assert message in ran.output
