"""What is taken of late: which events of the validation split are counted, and which of them a request may know."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.hybrid.trend import LateEvents
from pipelines.scoring.requests import Queries
from tfrecs.reading.reader import UserHistory

ALL = np.arange(4)
NONE_COLD = np.zeros(4, bool)


def user(items: list[int], times: list[int], target: list[bool], positive: list[bool]) -> UserHistory:
    size = len(items)
    return UserHistory(
        user_id="u",
        items=np.array(items, np.int32),
        values=np.ones(size, np.float32),
        times=np.array(times, np.int64),
        target=np.array(target),
        positive=np.array(positive),
        labels=np.zeros((size, 0), np.float32),
        context={},
        user=b"",
        queries=None,
    )


def asked(targets: list[list[int]], times: list[int]) -> Queries:
    count = len(targets)
    held_out = [np.array(items, np.int32) for items in targets]
    history = [np.zeros(0, np.int32)] * count
    return Queries(np.array(["u"] * count), np.array(times, np.int64), history, held_out, np.arange(count))


def test_each_user_is_counted_once_for_an_item_and_only_for_held_out_positives() -> None:
    first = user([0, 1, 1, 2, 3], [5, 30, 10, 20, 40], [False, True, True, True, True], [True, True, True, False, True])
    second = user([1, 3], [15, 25], [True, True], [True, True])
    late = LateEvents.of([first, second], 5)
    # Item 0 is history, item 2 was no positive, and the second time the first user took item 1 adds nothing.
    assert late.counts.tolist() == [0, 2, 0, 2, 0]
    assert late.times.tolist() == [15, 25, 30, 40]
    assert late.items.tolist() == [1, 3, 1, 3]


def test_a_request_knows_the_events_before_it() -> None:
    late = LateEvents(np.array([1, 3, 1, 1], np.int32), np.array([10, 20, 20, 30]), 4)
    # In any order; an event at the moment of the request, its own first of all, is none before it.
    known = late.known_to(asked([[3], [1], [1]], [40, 20, 10]), ALL, NONE_COLD)
    expected = [[1, 0, 3, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(known, np.log1p(expected), rtol=1e-6)


def test_without_times_a_request_knows_all_events_but_its_own() -> None:
    late = LateEvents(np.array([1, 3, 1, 1, 2], np.int32), np.zeros(5, np.int64), 4)
    known = late.known_to(asked([[1, 3], [2]], [0, 0]), ALL, NONE_COLD)
    np.testing.assert_allclose(known, np.log1p([[2, 0, 2, 1, 0], [0, 0, 3, 0, 1]]), rtol=1e-6)


def test_new_items_have_no_such_part() -> None:
    late = LateEvents(np.array([1, 3, 1], np.int32), np.zeros(3, np.int64), 4)
    known = late.known_to(asked([[1], [3]], [0, 0]), np.array([3, 1]), np.array([False, True, False, False]))
    np.testing.assert_allclose(known, np.log1p([[0, 1, 0], [0, 0, 0]]), rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_validation_split_has_nothing_to_tell(count: int) -> None:
    late = LateEvents.of([], 4)
    assert late.counts.tolist() == [0] * 4
    assert not late.known_to(asked([[1]] * count, [5] * count), ALL, NONE_COLD).any()
