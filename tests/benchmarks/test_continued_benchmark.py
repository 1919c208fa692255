"""The benchmark of `triptych train --continue`, whole, on small generated data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from plain import EVENTS, ITEMS, LATE, SMALL_OPTIONS, START, USERS, make_plain_folder

from benchmarks.continued import main, write_oldest
from tfrecs.rejects import Rejects
from tfrecs.spec.dataset_yaml import load_spec
from tfrecs.tables.table import read_table


def test_the_early_folder_holds_the_oldest_events_and_their_items(tmp_path: Path) -> None:
    data = make_plain_folder(tmp_path / "data")
    (data / "images").mkdir()
    (data / "images" / "1.png").touch()
    spec = load_spec(data, None)
    # A quarter of 20 events each are the first five.
    folder = write_oldest(data, spec, tmp_path / "early", 0.25)
    events = read_table(folder, "events.csv", ["item", "time"], Rejects(), None).frame
    assert len(events) == USERS * EVENTS // 4
    assert events["time"].astype(int).max() == START + 4000 + USERS - 1
    items = [json.loads(line)["item_id"] for line in (folder / "items.jsonl").read_text().splitlines()]
    assert {str(item) for item in items} == set(events["item"])
    assert (folder / "images" / "1.png").is_file()


@pytest.mark.matrix
@pytest.mark.slow
def test_continued_and_anew_are_measured_on_the_same_grown_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.reporting.report.save", lambda figure, path: None)  # seconds a report
    data, out = make_plain_folder(tmp_path / "data"), tmp_path / "continued.json"
    arguments = [
        "--data",
        str(data),
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(out),
        "--share",
        "0.25",
        *SMALL_OPTIONS,
    ]
    arguments += ["--set", "train.epochs=1", "--set", "train.warm_start_epochs=1"]
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())
    assert found["grew"]["interactions"] == [USERS * EVENTS // 4, USERS * EVENTS]
    assert 0 < found["grew"]["items"][0] <= ITEMS - LATE
    assert found["grew"]["items"][1] == ITEMS
    assert found["rows"]["continued"]["baselines"] == found["rows"]["anew"]["baselines"]
    assert [row["epochs"] for row in found["rows"].values()] == [1, 1]
