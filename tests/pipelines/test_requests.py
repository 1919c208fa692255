"""Held-out requests by hand."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from held_out_events import ANN, BOB, history, lists, schema

from pipelines.scoring.requests import Requests, first_requests, make_requests, with_targets
from tfrecs.reading.reader import UserHistory


@pytest.fixture
def requests() -> Requests:
    return make_requests([ANN, BOB], schema(ordered=True))


def test_in_order_each_held_out_event_is_a_request_with_everything_before_it(requests: Requests) -> None:
    queries = requests.queries
    assert len(requests) == len(queries) == 4
    assert queries.user_ids.tolist() == ["ann", "ann", "ann", "bob"]
    assert lists(queries.histories) == [[5, 3], [5, 3, 9], [5, 3, 9, 4], []]
    assert lists(requests.values) == [[0.5, 1.5], [0.5, 1.5, 2.5], [0.5, 1.5, 2.5, 3.5], []]
    assert lists(requests.event_times) == [[100, 101], [100, 101, 102], [100, 101, 102, 103], []]


def test_a_request_has_the_moment_the_context_and_the_user_of_its_event(requests: Requests) -> None:
    assert requests.queries.times.tolist() == [102, 103, 104, 500]
    # What time gives (the hour) is no column.
    assert {name: values.tolist() for name, values in requests.context.items()} == {
        "device": [b"tv", b"phone", b"tv", b"tv"]
    }
    assert requests.users.tolist() == [b"example of ann"] * 3 + [b"example of bob"]


def test_what_was_not_liked_is_no_target_but_history_and_a_label(requests: Requests) -> None:
    assert lists(requests.queries.targets) == [[9], [], [7], [8]]
    assert requests.pair_rows.tolist() == [0, 1, 2, 3]
    assert requests.pair_items.tolist() == [9, 4, 7, 8]
    assert requests.pair_labels.tolist() == [[1, 2], [0, 3], [1, 4], [1, 0]]


def test_only_requests_with_a_target_are_ranked_and_they_remember_their_row(requests: Requests) -> None:
    ranked = with_targets(requests.queries)
    assert lists(ranked.targets) == [[9], [7], [8]]
    assert ranked.rows.tolist() == [0, 2, 3]


def test_without_order_a_user_is_one_request_with_a_set_of_targets() -> None:
    # Held-out events may stand anywhere among those of the past, and none of them is history of another.
    carol = history("carol", [5, 3, 9, 4, 7], [1, 0, 1, 0, 1], [1, 1, 0, 1, 1])
    requests = make_requests([carol, BOB], schema(ordered=False))
    assert requests.queries.user_ids.tolist() == ["carol", "bob"]
    assert lists(requests.queries.histories) == [[3, 4], []]
    assert lists(requests.values) == [[1.5, 3.5], []]
    assert lists(requests.queries.targets) == [[5, 7], [8]]
    assert requests.pair_rows.tolist() == [0, 0, 0, 1]
    assert requests.pair_items.tolist() == [5, 9, 7, 8]
    assert requests.pair_labels[:, 0].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_user_without_held_out_events_asks_nothing(ordered: bool) -> None:
    idle = history("idle", [1, 2], [0, 0], [1, 1])
    requests = make_requests([idle, BOB], schema(ordered=ordered))
    assert requests.queries.user_ids.tolist() == ["bob"]


@pytest.mark.parametrize("ordered", [True, False])
def test_no_history_at_all_is_no_request_but_arrays_of_the_right_shape(ordered: bool) -> None:
    requests = make_requests([], schema(ordered=ordered))
    assert len(requests) == 0
    assert requests.pair_labels.shape == (0, 2)
    assert requests.pair_rows.dtype == np.int64
    assert requests.pair_items.dtype == np.int32
    assert len(with_targets(requests.queries)) == 0


def test_a_limit_draws_the_same_requests_under_the_same_seed() -> None:
    crowd = [history(f"u{index}", [index, index + 1], [0, 1], [1, 1], start=index) for index in range(40)]
    drawn = [make_requests(crowd, schema(ordered=True), limit=10, seed=seed) for seed in (1, 1, 2)]
    users = [part.queries.user_ids.tolist() for part in drawn]
    assert users[0] == users[1] != users[2]
    assert len(set(users[0])) == 10
    # Not the first ten, in the order they had, each still with what is its own.
    numbers = [int(user[1:]) for user in users[0]]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 9
    assert lists(drawn[0].queries.targets) == [[number + 1] for number in numbers]
    assert drawn[0].pair_items.tolist() == [number + 1 for number in numbers]
    assert drawn[0].pair_rows.tolist() == drawn[0].queries.rows.tolist() == list(range(10))


@pytest.mark.parametrize("limit", [None, 4, 5])
def test_a_limit_that_is_not_reached_changes_nothing(limit: int | None) -> None:
    requests = make_requests([ANN, BOB], schema(ordered=True), limit=limit, seed=3)
    assert requests.pair_items.tolist() == [9, 4, 7, 8]


def test_some_requests_keep_their_own_events(requests: Requests) -> None:
    some = requests.take(np.array([1, 3]))
    assert some.queries.user_ids.tolist() == ["ann", "bob"]
    assert some.queries.rows.tolist() == [0, 1]
    assert lists(some.queries.histories) == [[5, 3, 9], []]
    assert lists(some.event_times) == [[100, 101, 102], []]
    assert some.queries.times.tolist() == [103, 500]
    assert {name: values.tolist() for name, values in some.context.items()} == {"device": [b"phone", b"tv"]}
    assert some.pair_rows.tolist() == [0, 1]
    assert some.pair_items.tolist() == [4, 8]
    assert some.pair_labels.tolist() == [[0, 3], [1, 0]]


@pytest.mark.parametrize("ordered", [True, False])
def test_requests_are_chosen_by_their_users_and_targets(ordered: bool) -> None:
    seen = []

    def choose(users: np.ndarray, targets: Sequence[np.ndarray]) -> np.ndarray:
        seen.append((users.tolist(), lists(list(targets))))
        return np.flatnonzero([7 in items for items in targets])

    chosen = make_requests([ANN, BOB], schema(ordered=ordered), choose=choose)
    in_order = [(["ann", "ann", "ann", "bob"], [[9], [], [7], [8]])]
    assert seen == (in_order if ordered else [(["ann", "bob"], [[9, 7], [8]])])
    assert chosen.queries.user_ids.tolist() == ["ann"]
    assert 7 in chosen.queries.targets[0]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_draw_is_of_all_requests_and_holds_no_more_users_than_it_has_drawn(ordered: bool) -> None:
    crowd = [history(f"u{index}", [index, index + 1, 0], [0, 1, 1], [1, 1, 1]) for index in range(20)]
    alive: list[weakref.ref[object]] = []

    class Read:
        """Users as they are read from records: made anew in every pass."""

        def __iter__(self) -> Iterator[UserHistory]:
            for own in crowd:
                made = replace(own)
                alive.append(weakref.ref(made))
                yield made
                del made

    everything = make_requests(crowd, schema(ordered=ordered))
    drawn = make_requests(Read(), schema(ordered=ordered), limit=7, seed=5)
    chosen = np.sort(np.random.default_rng(5).choice(len(everything), 7, replace=False))
    assert drawn.queries.user_ids.tolist() == everything.queries.user_ids[chosen].tolist()
    assert lists(drawn.queries.targets) == [everything.queries.targets[row].tolist() for row in chosen]
    gc.collect()
    assert len(alive) == 40
    assert not any(reference() for reference in alive)


def test_the_first_request_of_an_item_is_the_earliest_that_held_it_out() -> None:
    late = history("late", [9, 7], [1, 0], [1, 1], start=400)
    never = np.iinfo(np.int64).max
    # Ann held out 9, 4 and 7 at 102 to 104, Bob 8 at 500; Late held out 9 at 400, and had 7 as history only.
    first = first_requests([late, ANN, BOB], schema(ordered=True), 10)
    assert first.tolist() == [never] * 4 + [103] + [never] * 2 + [104, 500, 102]
