"""No event in two splits, nothing of the future in training, every training event a target once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecs.build.splits import (
    TEST,
    TRAIN,
    VALID,
    choose_cold_items,
    chronological,
    split_by_column,
    split_by_time,
    split_leave_last,
)
from tfrecs.build.windows import Window, count_windows, plan_windows

times = hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 12))
users = hnp.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 5)).map(np.sort)


def test_ten_events_are_split_eight_one_one_wherever_they_stand_in_the_file() -> None:
    splits = split_by_time(np.array([90, 10, 20, 30, 40, 50, 60, 70, 80, 100]), (0.8, 0.1, 0.1))
    assert splits.tolist() == [VALID, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, TEST]


def test_equal_times_at_the_boundary_all_go_to_the_later_split() -> None:
    # Of 10 events the boundaries fall on positions 8 and 9, and positions 6 to 8 share a time.
    splits = split_by_time(np.array([1, 2, 3, 4, 5, 6, 7, 7, 7, 8]), (0.8, 0.1, 0.1))
    assert splits.tolist() == [TRAIN] * 6 + [VALID] * 3 + [TEST]
    assert split_by_time(np.array([1, 2, 7, 7, 7, 7, 7, 7, 7, 7]), (0.8, 0.1, 0.1)).tolist() == [TRAIN] * 2 + [TEST] * 8


@settings(deadline=None)
@given(times, st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (0.6, 0.0, 0.4), (1.0, 0.0, 0.0)]))
def test_time_splits_never_overlap_in_time(values: np.ndarray, fractions: tuple[float, float, float]) -> None:
    splits = split_by_time(values, fractions)
    for earlier, later in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)):
        if (splits == earlier).any() and (splits == later).any():
            assert values[splits == earlier].max() < values[splits == later].min()
    assert (splits == TRAIN).mean() <= fractions[0] + 1e-9  # Ties shrink training, they never grow it.


@settings(deadline=None)
@given(users)
def test_leave_last_takes_one_test_and_one_valid_event_of_users_with_three(codes: np.ndarray) -> None:
    splits = split_leave_last(codes)
    for user in np.unique(codes):
        own = splits[codes == user].tolist()
        assert own == ([TRAIN] * len(own) if len(own) < 3 else [TRAIN] * (len(own) - 2) + [VALID, TEST])


def test_split_words_are_read_in_any_case_and_others_are_marked() -> None:
    words = ["train", "VALID", "val", "validation", " test ", "dev", None]
    assert split_by_column(words).tolist() == [TRAIN, VALID, VALID, VALID, TEST, -1, -1]


def test_events_sort_by_user_then_keys_then_place_in_the_file() -> None:
    users, seconds = np.array([1, 0, 1, 0, 1]), np.array([5, 9, 5, 3, 1])
    assert chronological(users, seconds).tolist() == [3, 1, 4, 0, 2]
    assert chronological(users, seconds, np.array([2, 0, 1, 0, 0])).tolist() == [3, 1, 4, 2, 0]
    assert chronological(users).tolist() == [1, 3, 0, 2, 4]


def test_cold_items_are_a_seeded_share_whatever_the_order_of_the_catalogue() -> None:
    ids = [str(number) for number in range(50)]
    cold = choose_cold_items(ids, 0.1, seed=3)
    assert len(cold) == 5
    assert cold < set(ids)
    assert choose_cold_items(reversed(ids), 0.1, seed=3) == cold
    assert choose_cold_items(ids, 0.1, seed=4) != cold
    assert choose_cold_items(ids, 0.0, seed=3) == frozenset()


def test_a_long_history_becomes_overlapping_windows() -> None:
    planned = plan_windows(np.zeros(10, np.int64), np.array([0] * 8 + [1, 2]), window=4, overlap=1)
    assert planned["train"] == [Window(0, 0, 0, 4), Window(0, 3, 4, 7), Window(0, 6, 7, 8)]
    assert planned["valid"] == [Window(0, 0, 8, 9)]  # Everything earlier, untruncated.
    assert planned["test"] == [Window(0, 0, 9, 10)]


@settings(deadline=None)
@given(st.data())
def test_every_event_is_a_target_once_and_windows_stay_inside_a_user_and_a_split(data: st.DataObject) -> None:
    codes = data.draw(users)
    splits = data.draw(hnp.arrays(np.int8, len(codes), elements=st.integers(0, 2)))
    order = np.lexsort((splits, codes))
    codes, splits = codes[order], splits[order]
    size = data.draw(st.integers(1, 6))
    overlap = data.draw(st.integers(0, size - 1))
    planned = plan_windows(codes, splits, window=size, overlap=overlap)
    for split, name in enumerate(("train", "valid", "test")):
        targets = [row for window in planned[name] for row in range(window.targets, window.stop)]
        assert targets == np.flatnonzero(splits == split).tolist()
        assert count_windows(codes, splits, split, window=size, overlap=overlap) == len(planned[name])
        for window in planned[name]:
            assert window.start <= window.targets < window.stop
            assert set(codes[window.start : window.stop]) == {window.user}
            history = splits[window.start : window.targets]
            assert (history == TRAIN).all() if split == TRAIN else (history < split).all()
    for window in planned["train"]:
        assert window.stop - window.start <= size
        if window.targets > window.start:
            assert window.targets - window.start == overlap
    for window in (*planned["valid"], *planned["test"]):
        assert window.start == np.flatnonzero(codes == window.user)[0]


def test_an_overlap_as_long_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        plan_windows(np.zeros(3, np.int64), np.zeros(3, np.int8), window=4, overlap=4)
