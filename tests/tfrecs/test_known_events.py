"""Everything that records hold of users: each event once, oldest first, and features as a client sends them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_folder import USERS, event_rows, make_folder, run

from tfrecs.reading.known_events import KnownEvents, by_user, known_events
from tfrecs.schema import Manifest


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    run(make_folder(root / "data"), root / "records")
    return root / "records"


def test_each_user_has_all_events_of_the_log_in_order(records: Path) -> None:
    """Windows of at most six events overlap by two, and those of valid and test repeat what was before."""
    known = known_events(records, Manifest.load(records))
    rows = sorted(event_rows(), key=lambda row: int(row[2]))
    assert known.user_ids == sorted({row[0] for row in rows})
    for number, user in enumerate(known.user_ids):
        own = [row for row in rows if row[0] == user]
        events = slice(known.starts[number], known.starts[number + 1])
        assert [item.decode() for item in known.item_ids[known.items[events]]] == [row[1] for row in own]
        assert known.times[events].tolist() == [int(row[2]) for row in own]
        assert known.values[events].tolist() == [float(row[3]) for row in own]


def test_features_of_users_are_raw_and_missing_ones_empty(records: Path) -> None:
    known = known_events(records, Manifest.load(records))
    ages = {
        user: [age for age in row if age]
        for user, row in zip(known.user_ids, known.inputs["age"].tolist(), strict=True)
    }
    expected = {f"u{user}": [str(20 + user % 3).encode()] for user in range(USERS - 1)}
    assert ages == {**expected, f"u{USERS - 1}": []}


def test_only_the_users_that_are_asked_for_are_read(records: Path) -> None:
    whole = known_events(records, Manifest.load(records))
    some = known_events(records, Manifest.load(records), keep=lambda user: user in ("u3", "u11"))
    assert some.user_ids == ["u11", "u3"]
    same = whole.take(np.array([whole.user_ids.index(user) for user in some.user_ids]))
    for name in ("starts", "items", "values", "times"):
        assert getattr(some, name).tolist() == getattr(same, name).tolist()
    assert some.inputs["age"].tolist() == same.inputs["age"].tolist()


@pytest.fixture
def small() -> KnownEvents:
    """a: x at 5, y at 7; b: nothing; c: x at an unknown time, z at 6."""
    return by_user(
        ["a", "b", "c"],
        np.array([2, 0, 2, 0]),
        np.array([2, 1, 0, 0]),
        np.array([1.0, 2.0, 3.0, 4.0]),
        np.array([6, 7, 0, 5]),
        np.array([b"x", b"y", b"z"], object),
        inputs={"age": np.array([1.0, 2.0, 3.0])},
    )


def test_events_are_put_together_by_user_and_time(small: KnownEvents) -> None:
    assert small.starts.tolist() == [0, 2, 2, 4]
    assert small.items.tolist() == [0, 1, 0, 2]
    assert small.values.tolist() == [4, 2, 3, 1]


def test_taking_users_keeps_their_events_and_inputs(small: KnownEvents) -> None:
    taken = small.take(np.array([2, 1, 0, 2]))
    assert taken.user_ids == ["c", "b", "a", "c"]
    assert taken.starts.tolist() == [0, 2, 2, 4, 6]
    assert taken.items.tolist() == [0, 2, 0, 1, 0, 2]
    assert taken.inputs["age"].tolist() == [3, 2, 1, 3]


def test_events_before_a_time_leave_out_those_of_unknown_time(small: KnownEvents) -> None:
    before = small.before(7)
    assert before.starts.tolist() == [0, 1, 1, 2]
    assert before.items.tolist() == [0, 2]


def test_ids_that_no_event_names_can_be_dropped(small: KnownEvents) -> None:
    alone = small.take(np.array([2])).only_named_items()
    assert alone.item_ids.tolist() == [b"x", b"z"]
    assert alone.items.tolist() == [0, 1]
