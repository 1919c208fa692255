"""Appending to records: what is new goes in once, what is there stays byte for byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from growing_folder import LATE, NEW_EVENTS, NEWCOMER, NOW, TEST, VALID, add, data, grow, new_items, out, targets
from small_folder import (
    EVENTS,
    ITEMS,
    USERS,
    change_spec,
    digests,
    event_rows,
    examples,
    item_rows,
    rejected,
    run,
    write_events,
    write_items,
)

from tfrecs.errors import DataError, TooManyRejectsError
from tfrecs.reading.reader import load_catalogue, load_histories
from tfrecs.reading.training_events import load_training_events
from tfrecs.schema import Manifest

__all__ = ["data", "out"]  # fixtures


def test_new_rows_go_in_by_the_split_times_and_what_is_there_stays(data: Path, out: Path) -> None:
    before, ids = digests(out), load_catalogue(out, Manifest.load(out)).ids.tolist()
    old = Manifest.load(out)
    grow(data)
    added = add(data, out)
    manifest = Manifest.load(out)
    assert added.manifest == manifest
    after = digests(out)
    assert {name for name in before if after[name] != before[name]} == {"manifest.json"}
    assert load_catalogue(out, manifest).ids.tolist() == [*ids, "100", "101"]
    for name, new in (("train", [LATE]), ("valid", [VALID]), ("test", [TEST, NEWCOMER])):
        assert targets(out, manifest, name) == sorted(
            [*targets(out, old, name), *((row[0], row[1], int(row[2])) for row in new)]
        )
        assert manifest.splits[name].events == old.splits[name].events + len(new)
    assert (added.known_items, added.known_events, added.late) == (ITEMS, USERS * EVENTS, 2)
    assert (manifest.items, manifest.users, manifest.interactions) == (ITEMS + 2, USERS + 1, USERS * EVENTS + 4)
    assert manifest.splits["test"].users == old.splits["test"].users + 1
    assert manifest.splits["test"].last_time == 1_513_030_000
    assert manifest.train_counts["5"] == old.train_counts.get("5", 0) + 1
    assert manifest.coverage["image"] == pytest.approx(26 / 32)
    assert (manifest.schema_, manifest.protocol, manifest.seed) == (old.schema_, old.protocol, old.seed)


def test_ids_in_another_form_than_the_records_are_theirs(data: Path, out: Path) -> None:
    grow(data)
    rows = [{**row, "item_id": f"{row['item_id']}.0" if n else row["item_id"]} for n, row in enumerate(item_rows())]
    write_items(data, [*rows, *new_items()])
    write_events(data, [[row[0], row[1].zfill(3), *row[2:]] for row in [*event_rows(), *NEW_EVENTS]])
    padded = sum(len(row[1]) < 3 for row in [*event_rows(), *NEW_EVENTS])
    added = add(data, out)
    assert (added.known_items, added.known_events) == (ITEMS, USERS * EVENTS)
    assert added.addition is not None
    assert (added.addition.items, added.manifest.interactions) == (2, USERS * EVENTS + 4)
    assert [note.split(" ids ")[0] for note in added.notes] == ["items.jsonl: 29", f"events.tsv: {padded}"]
    assert added.manifest.notes == added.notes


def test_a_new_target_has_all_its_users_past_behind_it(data: Path, out: Path) -> None:
    grow(data)
    manifest = add(data, out).manifest
    (test,) = (one for one in examples(out, manifest.splits["test"].shards[-1:]) if one["user_id"] == [b"u0"])
    own = sorted(int(row[2]) for row in [*event_rows(), *NEW_EVENTS] if row[0] == "u0")
    assert test["times"] == own
    assert test["is_target"] == [0] * 21 + [1]
    assert test["context/device"][-1] == b"radio"
    assert test["users/age"] == [b"20"]
    (valid,) = examples(out, manifest.splits["valid"].shards[-1:])
    assert valid["times"] == [time for time in own if time <= 1_513_016_500]
    assert valid["is_target"] == [0] * 17 + [1]
    assert valid["context/temperature"][-1] == pytest.approx(manifest.schema_.context[2].mean)  # It was empty.
    (train,) = examples(out, manifest.splits["train"].shards[-1:])
    assert train["times"] == [1_513_000_003, 1_513_001_003, 1_513_002_003, 1_513_002_500]
    assert train["is_target"] == [0, 0, 0, 1]


def test_readers_take_the_appended_shards_like_the_others(data: Path, out: Path) -> None:
    grow(data)
    manifest = add(data, out).manifest
    ids = load_catalogue(out, manifest).ids
    histories = load_histories(out, manifest, "test", ids)
    assert sum(int(history.target.sum()) for history in histories) == 24 + 2
    assert {history.user_id for history in histories} >= {"new", "u0"}
    positive = sum(int(row[3]) >= 3 for row in event_rows() if int(row[2]) < 1_513_016_000)
    assert len(load_training_events(out, manifest, ids).items) == positive + 1


def test_a_folder_with_the_new_rows_alone_adds_the_same_bytes(data: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "second")
    grow(data)
    add(data, out)
    only = tmp_path / "only"
    shutil.copytree(data, only)
    write_items(only, new_items())
    write_events(only, NEW_EVENTS)
    (only / "users.csv").unlink()  # The users' features then come from the records.
    added = add(only, tmp_path / "second")
    assert (added.known_items, added.known_events) == (0, 0)
    first, second = digests(out), digests(tmp_path / "second")
    first.pop("manifest.json")
    second.pop("manifest.json")
    assert first == second


def test_appending_again_adds_nothing_and_writes_nothing(data: Path, out: Path) -> None:
    grow(data)
    add(data, out)
    before = digests(out)
    again = add(data, out)
    assert (again.addition, again.known_items, again.known_events) == (None, ITEMS + 2, USERS * EVENTS + 4)
    assert digests(out) == before


def test_history_says_what_was_added_when(data: Path, out: Path) -> None:
    assert [(entry.action, entry.at) for entry in Manifest.load(out).history] == [("build", None)]
    grow(data)
    add(data, out)
    write_events(data, [["u1", "101", "1513040000", "4", "tv", "1"]])
    (data / "items.jsonl").unlink()
    manifest = add(data, out, now="2031-06-01T00:00:00+00:00").manifest
    build, first, second = manifest.history
    assert build.at is not None
    assert (build.items, build.users, sum(build.events.values())) == (ITEMS, USERS, USERS * EVENTS)
    assert (first.at, first.items, first.users, first.events) == (NOW, 2, 1, {"train": 1, "valid": 1, "test": 2})
    assert first.shards == (
        "items-append001-00000-of-00001.tfrecord",
        "train-append001-00000-of-00001.tfrecord",
        "valid-append001-00000-of-00001.tfrecord",
        "test-append001-00000-of-00001.tfrecord",
    )
    assert (second.items, second.users, second.shards) == (0, 0, ("test-append002-00000-of-00001.tfrecord",))


def test_only_new_faults_are_listed_and_too_many_of_them_add_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    waiting = ["u2", "100", "1513012500", "5", "tv", "1"]  # Of an item that comes later.
    write_events(data, [*event_rows(), waiting, ["u2", "no such", "1513012501", "5", "tv", "1"]])
    assert run(data, out).rejected == {"interaction with an unknown item": 2}
    listed = rejected(out)
    before = digests(out)
    grow(data)
    bad = ["u2", "9", "soon", "5", "tv", "1"]
    write_events(data, [*event_rows(), waiting, ["u2", "no such", "1513012501", "5", "tv", "1"], bad, *NEW_EVENTS])
    with pytest.raises(TooManyRejectsError, match="time is neither"):
        add(data, out, max_bad=0.02)  # One of the 5 new rows and 8 new values.
    assert digests(out) == before
    manifest = add(data, out).manifest
    assert rejected(out)[:2] == listed
    assert [one["line"] for one in rejected(out)[2:]] == [244]
    assert manifest.rejected == {
        "interaction with an unknown item": 2,
        "time is neither unix seconds nor ISO-8601": 1,
    }
    assert ("u2", "100", 1_513_012_500) in targets(out, manifest, "train")


@pytest.mark.parametrize("resplit", [False, True])
def test_an_append_that_stops_leaves_the_records_and_goes_on_later(
    data: Path, out: Path, tmp_path: Path, resplit: bool
) -> None:
    shutil.copytree(out, tmp_path / "straight")
    grow(data)
    before = digests(out)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "test":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(data, out, resplit=resplit, progress=stop)
    assert digests(out) == before
    add(data, out, resplit=resplit)
    add(data, tmp_path / "straight", resplit=resplit)
    first, second = digests(out), digests(tmp_path / "straight")
    history = [json.loads(one.pop("manifest.json"))["history"][1:] for one in (first, second)]
    assert history[0] == history[1]
    assert first == second


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("genres: {kind: categories", "styles: {kind: categories", "item features of the records"),
        ("column: image}", "column: image, size: 32}", "options of feature image of the records"),
        ("[0.8, 0.1, 0.1]", "[0.7, 0.2, 0.1]", "split and positives of the records"),
        ("at_least: 3}", "at_least: 2}", "split and positives of the records"),
        ("range: [1, 5]", "range: [0, 5]", "labels of the records"),
        ("[hour, device, temperature]", "[hour, device]", "context of the records"),
        ("0.1, 0.1]", "0.1, 0.1], cold_items: 0.1", "made cold"),
        ("name: tiny", "name: other", "name of the records"),
    ],
)
def test_a_spec_that_would_make_other_records_is_refused(
    data: Path, out: Path, old: str, new: str, message: str
) -> None:
    grow(data)
    change_spec(data, old, new)
    before = digests(out)
    with pytest.raises(DataError, match=message) as error:
        add(data, out)
    assert "\n" not in str(error.value)
    assert digests(out) == before


def test_leave_last_takes_new_items_and_refuses_new_events(data: Path, tmp_path: Path) -> None:
    change_spec(data, "split: {by: time, fractions: [0.8, 0.1, 0.1]}", "split: {by: leave_last}")
    out = tmp_path / "out"
    run(data, out)
    grow(data)
    with pytest.raises(DataError, match="4 new interactions, but the records' split is leave-last-out"):
        add(data, out)
    write_events(data, event_rows())
    added = add(data, out)
    assert added.addition is not None
    assert (added.addition.items, sum(added.addition.events.values())) == (2, 0)


def test_records_that_are_not_there_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="build the records first"):
        add(data, tmp_path / "nowhere" / "out")
    assert not (tmp_path / "nowhere").exists()
