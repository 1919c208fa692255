"""Drift, by hand: a model of four items on two axes, and what people do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.config.running import MonitorConfig
from pipelines.monitoring.drift import embedding_shift, measure_drift, modality_shift
from serving.wire.layout import ItemFacts

# Trained on a and b alike.
FACTS = ItemFacts(
    np.array(["a", "b", "c", "d"]),
    np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float16),
    np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]], np.float16),
    np.array([10, 10, 0, 0]),
    [[], [], [], []],
)


def bounds(**changes: Any) -> MonitorConfig:
    return MonitorConfig(**{"least_lists": 2, "least_events": 2, **changes})


def test_the_same_taste_is_no_shift_and_the_opposite_one_is() -> None:
    # mean (.5, .5), spread .5; the mean of c and d is (-.5, -.5): distance 2.
    assert embedding_shift(FACTS, [0, 1]) == pytest.approx(0)
    assert embedding_shift(FACTS, [2, 3]) == pytest.approx(4)
    # mean weights (.75, .25) against (0, 1)
    assert modality_shift(FACTS, [0, 1]) == pytest.approx(0)
    assert modality_shift(FACTS, [2, 3]) == pytest.approx(0.75)


def test_click_through_coverage_and_unknown_items_are_shares() -> None:
    shown = [{"list": "1", "items": ["a", "b"]}, {"list": "2", "items": ["a", "x"]}, {"list": "3", "items": []}]
    events = [{"item": "a", "_event": "click", "_list": "1"}, {"item": "b", "_event": "dislike", "_list": "2"},
              {"item": "x", "_event": "like", "_list": ""}, {"item": "a", "_event": "like", "_list": "9"}]  # fmt: skip
    measures = {
        measure.name: measure for measure in measure_drift(shown, events, "item", FACTS, bounds(most_unknown=0.2))
    }
    assert measures["click-through"].value == 0.5
    assert measures["coverage"].value == 0.5
    assert measures["unknown items"].value == 0.25
    assert measures["unknown items"].crossed
    assert not measures["click-through"].crossed


def test_too_little_to_go_by_is_said_and_crosses_nothing() -> None:
    measures = measure_drift([], [], "item", FACTS, bounds())
    assert [measure.value for measure in measures] == [None] * 5
    assert not any(measure.crossed for measure in measures)


def test_the_command_tells_by_its_exit_status(tmp_path: Path) -> None:
    extra = tmp_path / "models" / "tiny" / "1" / "assets.extra"
    extra.mkdir(parents=True)
    FACTS.save(extra)
    state = tmp_path / "state"
    for name in ("events", "served"):
        (state / name).mkdir(parents=True)
    (state / "events" / "dataset.yaml").write_text("interactions: {item: item, time: at}")
    rows = [{"item": item, "at": 4e9, "_event": "like", "_list": ""} for item in "ab"]
    log = state / "events" / "interactions-00000001.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"ite')
    command = ["monitor", "--model", "tiny", "--models", str(tmp_path / "models"), "--state", str(state), "--json"]
    command += ["--set", "monitor.least_events=2"]
    same = CliRunner().invoke(main, command)
    assert (same.exit_code, json.loads(same.output)["drifted"]) == (0, False)
    log.write_text("".join(json.dumps({**row, "item": "c"}) + "\n" for row in rows))
    other = CliRunner().invoke(main, command)
    crossed = [finding["name"] for finding in json.loads(other.output)["findings"] if finding["crossed"]]
    assert (other.exit_code, crossed) == (1, ["embedding shift", "modality shift"])
    nowhere = CliRunner().invoke(main, [*command[:6], str(tmp_path / "nobody")])
    assert (nowhere.exit_code, "nothing of an app there" in nowhere.output) == (2, True)
