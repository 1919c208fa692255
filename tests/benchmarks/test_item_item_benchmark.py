"""The benchmark of item-item models, on a log and a catalogue of a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks.scale.item_item import generated_log, main


def test_users_stay_with_few_clusters_and_the_same_seed_gives_the_same_log() -> None:
    users, items = generated_log(1000, 20_000, 1)
    assert (np.diff(users) >= 0).all()
    assert items.min() >= 0
    assert items.max() < 1000
    again = generated_log(1000, 20_000, 1)
    np.testing.assert_array_equal(again[1], items)
    assert not np.array_equal(generated_log(1000, 20_000, 2)[1][:100], items[:100])
    # Four of 200 clusters and a fifth of the events elsewhere: two events of a user share a cluster far more often.
    neighbours = np.bincount(items, minlength=1000)
    assert neighbours.max() > 4 * np.median(neighbours)


def test_it_states_the_time_of_every_phase_and_of_the_score(tmp_path: Path) -> None:
    out = tmp_path / "item-item.json"
    done = CliRunner().invoke(main, ["--items", "400", "--events", "4000", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(out.read_text())
    assert len(result["cost"]["phases"]) == 5
    assert result["score"]["milliseconds_over_all_items_batch1"] > 0
