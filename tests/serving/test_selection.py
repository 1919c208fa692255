"""History, exclusion, diversity and explanations in the graph; expected values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.graph.selection import because, diversify, exclude, newest_events

INF = float("inf")


def test_newest_events_drops_padding_and_unknown_ids_wherever_they_stand() -> None:
    index = tf.constant([[-1, 4, -1, 2, 7, -1], [-1, -1, -1, -1, -1, -1], [1, 2, 3, 4, 5, 6]])
    values = tf.constant(np.arange(18, dtype=np.float32).reshape(3, 6))
    times = tf.cast(values * 10, tf.int64)
    kept, kept_values, kept_times, count = newest_events(index, values, times, 3)
    assert count.numpy().tolist() == [3, 0, 3]
    assert kept.numpy().tolist() == [[4, 2, 7], [0, 0, 0], [4, 5, 6]]
    assert kept_values.numpy().tolist() == [[1, 3, 4], [0, 0, 0], [15, 16, 17]]
    assert kept_times.numpy().tolist() == [[10, 30, 40], [0, 0, 0], [150, 160, 170]]


@pytest.mark.parametrize("length", [0, 1, 2])
def test_newest_events_of_a_history_shorter_than_the_window(length: int) -> None:
    index = tf.ones([2, length], tf.int32) * 5
    kept, *_, count = newest_events(index, tf.zeros([2, length]), tf.zeros([2, length], tf.int64), 4)
    assert kept.numpy().tolist() == [[5] * length + [0] * (4 - length)] * 2
    assert count.numpy().tolist() == [length, length]


@given(st.lists(st.integers(-1, 9), max_size=12), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_newest_events_is_the_tail_of_what_is_known(history: list[int], length: int) -> None:
    values = tf.zeros([1, len(history)])
    index = tf.reshape(tf.constant(history, tf.int32), [1, -1])
    kept, *_, count = newest_events(index, values, tf.cast(values, tf.int64), length)
    expected = [item for item in history if item >= 0][-length:]
    assert kept.numpy()[0, : int(count[0])].tolist() == expected
    assert int(count[0]) == len(expected)


def test_excluded_items_score_minus_infinity_and_negative_indices_are_nothing() -> None:
    scores = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    result = exclude(scores, tf.constant([[2, -1], [0, 0]])).numpy()
    assert result.tolist() == [[1, 2, -INF], [-INF, 5, 6]]


# Items 0 and 1 are the same thing, 2 is orthogonal to them.
UNIT = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("diversity", "order"),
    [
        (0.0, [0, 1, 2]),
        # Relevance in the pool (1.0, 0.9, 0.0): after 0, item 1 gains .5 * .9 - .5 * 1 = -.05 and 2 gains 0.
        (0.5, [0, 2, 1]),
        # .6 * .9 - .4 * 1 = .14 against 0.
        (0.4, [0, 1, 2]),
    ],
)
def test_maximal_marginal_relevance_by_hand(diversity: float, order: list[int]) -> None:
    pool_scores, pool = tf.constant([[3.0, 2.9, 2.0]]), tf.constant([[0, 1, 2]])
    scores, index = diversify(pool_scores, pool, UNIT, tf.constant([diversity]), tf.constant(3))
    assert index.numpy().tolist() == [order]
    np.testing.assert_allclose(scores.numpy(), [[{0: 3.0, 1: 2.9, 2: 2.0}[item] for item in order]])


def test_diversity_never_prefers_nothing_to_something() -> None:
    scores, index = diversify(
        tf.constant([[1.0, 0.5, -INF]]), tf.constant([[0, 1, -1]]), UNIT, tf.constant([1.0]), tf.constant(3)
    )
    assert index.numpy().tolist() == [[0, 1, -1]]
    assert scores.numpy().tolist() == [[1.0, 0.5, -INF]]


def test_each_row_of_a_batch_is_diversified_for_itself() -> None:
    pool_scores, pool = tf.constant([[3.0, 2.9, 2.0]] * 2), tf.constant([[0, 1, 2]] * 2)
    _, index = diversify(pool_scores, pool, UNIT, tf.constant([0.0, 0.5]), tf.constant(2))
    assert index.numpy().tolist() == [[0, 1], [0, 2]]


def test_the_reason_is_the_nearest_event_of_the_history() -> None:
    index = tf.constant([[0, 2], [1, -1], [2, 0]])
    history = tf.constant([[2, 1], [2, 0], [0, 0]])
    result = because(index, history, tf.constant([2, 1, 0]), UNIT).numpy()
    # Row 1 has one event only (item 2); its second result is none. Row 2 has no history.
    assert result.tolist() == [[1, 2], [2, -1], [-1, -1]]
