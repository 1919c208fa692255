"""The benchmark of item-item models, on a log and a catalogue of a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks.scale.generate import Sizes, World
from benchmarks.scale.item_item import generated_log, main


def test_the_log_is_the_generators_user_by_user_and_the_same_for_the_same_seed() -> None:
    users, items = generated_log(1000, 20_000, 1)
    assert (np.diff(users) >= 0).all()
    (chunk,) = World(Sizes(items=1000, events=20_000, users=400, seed=1)).events()
    first = chunk["user_id"] == users[0]
    np.testing.assert_array_equal(items[users == users[0]], chunk["item_id"][first])  # oldest first
    np.testing.assert_array_equal(generated_log(1000, 20_000, 1)[1], items)
    assert not np.array_equal(generated_log(1000, 20_000, 2)[1][:100], items[:100])


def test_it_states_the_time_of_every_phase_and_of_the_score(tmp_path: Path) -> None:
    out = tmp_path / "item-item.json"
    done = CliRunner().invoke(main, ["--items", "400", "--events", "4000", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(out.read_text())
    assert len(result["cost"]["phases"]) == 6
    assert result["score"]["milliseconds_over_all_items_batch1"] > 0
