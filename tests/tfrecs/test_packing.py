"""Short histories share a row: where each goes, and that no event is lost, moved or split."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecs.reading.packing import MAX_HISTORIES, assign_rows, pack


def test_the_longest_come_first_and_each_goes_into_the_first_row_with_room() -> None:
    # Capacity 10: 9 has no room for the shortest (2) and is alone; 7, then 6, then 3 beside 7, 4 beside 6, and 2 in a third.
    row, offset, segment = assign_rows(tf.constant([4, 9, 2, 7, 3, 6]), 10)
    assert row.numpy().tolist() == [2, 0, 3, 1, 1, 2]
    assert offset.numpy().tolist() == [6, 0, 0, 0, 7, 0]
    assert segment.numpy().tolist() == [1, 0, 0, 0, 1, 0]


def test_a_row_holds_at_most_so_many_histories() -> None:
    row, _, segment = assign_rows(tf.ones([MAX_HISTORIES + 1], tf.int32), 100)
    assert row.numpy().tolist() == [0] * MAX_HISTORIES + [1]
    assert segment.numpy().tolist() == [*range(MAX_HISTORIES), 0]


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=40))
def test_rows_hold_every_event_once_in_order_and_the_events_of_a_history_side_by_side(lengths: list[int]) -> None:
    capacity, count = 8, len(lengths)
    event = np.arange(capacity)[None] + 100 * np.arange(1, count + 1)[:, None]
    windows = {
        "length": tf.constant(lengths),
        "number": tf.constant([[index, 0] for index in range(count)], tf.int64),
        "user": tf.constant([f"u{index}" for index in range(count)]),
        "event": tf.constant(event),
        "inner": {"pair": tf.constant(np.stack([event, -event], axis=-1))},
    }
    rows = pack(windows, {"event": -7, "inner": {"pair": 0}}, capacity)
    found = []
    for events, segments, users, pairs in zip(
        *(rows[key].numpy() for key in ("event", "segment", "user")), rows["inner"]["pair"].numpy(), strict=True
    ):
        assert (events[segments < 0] == -7).all()
        assert (np.diff(np.where(segments < 0, MAX_HISTORIES, segments)) >= 0).all()
        for segment in range(segments.max() + 1):
            history = events[segments == segment]
            index = history[0] // 100 - 1
            found.append(index)
            assert history.tolist() == event[index, : lengths[index]].tolist()
            assert users[segment] == f"u{index}".encode()
            assert pairs[segments == segment].tolist() == [[value, -value] for value in history]
    assert sorted(found) == list(range(count))
    assert len(rows["event"]) <= 1 + 1.3 * sum(lengths) / capacity + count / MAX_HISTORIES
    assert len({tuple(number) for number in rows["number"].numpy()}) == len(rows["event"])


@pytest.mark.parametrize("count", [300, 1])
def test_six_events_in_a_row_of_fifty_leave_little_padding(count: int) -> None:
    row = assign_rows(tf.fill([count], 6), 50)[0]
    assert int(tf.reduce_max(row)) + 1 == -(-count // 8)
