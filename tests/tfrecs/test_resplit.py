"""Appending with `--resplit`: all events are split as a build of all of them would, and the items stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from growing_folder import NEW_EVENTS, add, data, grow, out, targets
from small_folder import change_spec, digests, event_rows, examples, make_folder, run, write_events

from tfrecs.errors import DataError
from tfrecs.schema import Manifest, files_of

__all__ = ["data", "out"]  # fixtures


@pytest.mark.parametrize("split", ["{by: time, fractions: [0.8, 0.1, 0.1]}", "{by: leave_last}"])
def test_a_resplit_holds_the_events_where_a_build_of_all_would(tmp_path: Path, split: str) -> None:
    data, out = make_folder(tmp_path / "data"), tmp_path / "out"
    change_spec(data, "{by: time, fractions: [0.8, 0.1, 0.1]}", split)
    run(data, out)
    old, before = Manifest.load(out), digests(out)
    grow(data)
    manifest = add(data, out, resplit=True).manifest
    anew = run(data, tmp_path / "anew")
    for name, info in manifest.splits.items():
        assert targets(out, manifest, name) == targets(tmp_path / "anew", anew, name)
        assert (info.events, info.users, info.examples) == (
            anew.splits[name].events, anew.splits[name].users, anew.splits[name].examples
        )  # fmt: skip
        assert (info.first_time, info.last_time) == (anew.splits[name].first_time, anew.splits[name].last_time)
    assert (manifest.train_counts, manifest.cold_items) == (anew.train_counts, anew.cold_items)
    assert (manifest.items, manifest.users, manifest.interactions) == (anew.items, anew.users, anew.interactions)
    assert manifest.schema_ == old.schema_
    after = digests(out)
    assert set(after) == files_of(manifest)
    kept = {shard.name for shard in old.item_shards} | {"vocab.txt"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert manifest.history[-1].action == "resplit"
    assert sum(manifest.history[-1].events.values()) == len(NEW_EVENTS)


def test_appended_events_are_split_anew_without_new_ones(data: Path, out: Path, tmp_path: Path) -> None:
    grow(data)
    add(data, out)
    assert Manifest.load(out).splits["test"].events == 24 + 2
    anew = run(data, tmp_path / "anew")
    (data / "users.csv").unlink()  # The users' features then come from the records.
    manifest = add(data, out, resplit=True).manifest
    assert targets(out, manifest, "test") == targets(tmp_path / "anew", anew, "test")
    ages, expected = (
        {(*one["user_id"], *one["users/age"]) for one in examples(folder, info.splits["test"].shards)}
        for folder, info in ((out, manifest), (tmp_path / "anew", anew))
    )
    assert ages == expected
    assert (b"u0", b"20") in ages
    assert [entry.action for entry in manifest.history] == ["build", "append", "resplit"]


def test_a_split_that_is_a_column_is_not_split_anew(data: Path, tmp_path: Path) -> None:
    change_spec(data, "{by: time, fractions: [0.8, 0.1, 0.1]}", "{by: column, column: device}")
    rows = [[*row[:4], ("train", "train", "valid", "test")[int(row[2]) % 4], row[5]] for row in event_rows()]
    write_events(data, rows)
    run(data, tmp_path / "out")
    with pytest.raises(DataError, match="--resplit: the split is the column device"):
        add(data, tmp_path / "out", resplit=True)
