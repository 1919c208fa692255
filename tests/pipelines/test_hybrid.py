"""The hybrid score: what is counted, what new items borrow, how the parts are added, what the weights are."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import HybridConfig
from pipelines.item_item.cold_start import Loans, loans, nearest_shares, ridge_shares
from pipelines.item_item.content_similarity import likeness
from pipelines.item_item.statistics import Linear, completed, count_statistics, packed, succession, unpacked
from tfrecs.reading.reader import TrainingEvents
from towers.hybrid import (
    BIAS,
    NEIGHBOURS,
    POPULARITY,
    RECENT,
    SUCCESSORS,
    TOWER,
    HybridScore,
    Links,
    Statistics,
    newest_different,
)

SETTINGS = HybridConfig(neighbours=4, shrinkage=0.0, window=1)
SOFTNESS = {NEIGHBOURS: 0.5, SUCCESSORS: 0.1}
COUNTED = {"linear": Linear(1.0), "likeness": None, "settings": SETTINGS}


def dense(links: Links) -> np.ndarray:
    return unpacked(links, len(links.index)).toarray()


def three_items() -> Statistics:
    """Item 0 speaks for 1 (0.5) and 2 (0.25), item 1 for 2 (1.0); after 1 comes 0 (2.0); item 2 is new."""
    near = Links(np.array([[1, 2], [2, 0], [0, 0]], np.int32), np.array([[0.5, 0.25], [1.0, 0], [0, 0]], np.float32))
    after = Links(np.array([[0], [0], [0]], np.int32), np.array([[0.0], [2.0], [0]], np.float32))
    popularity, new = np.array([3.0, 2.0, 1.0], np.float32), np.array([False, False, True])
    return Statistics({NEIGHBOURS: near, SUCCESSORS: after}, popularity, new, {NEIGHBOURS: 2, RECENT: 1, SUCCESSORS: 2})


def score(
    weights: dict[str, float],
    history: list[int],
    new: dict[str, float] | None = None,
    softness: dict[str, float] | None = None,
) -> list[float]:
    index = tf.constant([history + [0] * (4 - len(history))], tf.int32)
    hybrid = HybridScore(three_items(), weights, new or {}, softness or {})
    return hybrid(tf.zeros([1, 3]), index, tf.constant([len(history)])).numpy()[0].tolist()


def test_each_part_is_its_sum_over_the_newest_items_times_its_weight() -> None:
    assert score({NEIGHBOURS: 2.0}, [0, 1]) == [0.0, 1.0, 0.0]  # a new item has weights of its own: none here
    assert score({NEIGHBOURS: 2.0}, [0, 1], {NEIGHBOURS: 4.0}) == [0.0, 1.0, 5.0]
    assert score({}, [0, 1], {NEIGHBOURS: 4.0}) == [0.0, 0.0, 5.0]
    assert score({RECENT: 2.0}, [1, 0], {RECENT: 2.0}) == [0.0, 1.0, 0.5]  # the newest one alone
    assert score({SUCCESSORS: 1.0}, [0, 1]) == [2.0, 0.0, 0.0]  # 1 is the newest: rank 1
    assert score({SUCCESSORS: 1.0}, [1, 0]) == [1.0, 0.0, 0.0]  # rank 2 counts half
    assert score({POPULARITY: 0.5}, [], {POPULARITY: 1.0}) == [1.5, 1.0, 1.0]
    assert score({}, [0], {BIAS: -1.0}) == [0.0, 0.0, -1.0]


def test_a_part_is_linear_for_small_sums_and_a_logarithm_for_large_ones() -> None:
    soft = score({RECENT: 2.0}, [1, 0], {RECENT: 2.0}, {NEIGHBOURS: 0.25})
    np.testing.assert_allclose(soft, [0.0, 2 * np.arcsinh(2.0), 2 * np.arcsinh(1.0)], rtol=1e-6)  # 0.5 and 0.25
    nearly = score({SUCCESSORS: 1.0}, [0, 1], softness={SUCCESSORS: 1000.0})
    np.testing.assert_allclose(nearly, [0.002, 0.0, 0.0], rtol=1e-6)
    small = score({SUCCESSORS: 1.0}, [0, 1], softness={SUCCESSORS: 1e-3})
    np.testing.assert_allclose(small[0], np.log(2 * 2.0 / 1e-3), rtol=1e-6)


def test_exploring_adds_to_the_score_of_new_items_alone() -> None:
    hybrid = HybridScore(three_items(), {POPULARITY: 1.0}, {POPULARITY: 1.0, BIAS: 0.5}, {})
    asked = tf.zeros([1, 3]), tf.zeros([1, 4], tf.int32), tf.constant([0])
    assert hybrid.exploring(2.0)(*asked).numpy().tolist() == [[3.0, 2.0, 3.5]]
    assert hybrid(*asked).numpy().tolist() == [[3.0, 2.0, 1.5]]


def test_the_towers_score_has_its_own_weight() -> None:
    hybrid = HybridScore(three_items(), {TOWER: 3.0, POPULARITY: 1.0}, {TOWER: 1.0, POPULARITY: 1.0}, {})
    scores = hybrid(tf.constant([[1.0, 2.0, 3.0]]), tf.zeros([1, 4], tf.int32), tf.constant([0]))
    assert scores.numpy().tolist() == [[6.0, 8.0, 4.0]]


def test_only_the_newest_items_count_and_each_one_once() -> None:
    items, weight = newest_different(tf.constant([[0, 1, 1, 9], [5, 0, 0, 0]]), tf.constant([3, 1]), 3)
    assert (items.numpy() * weight.numpy()).tolist() == [[1, 0, 0], [5, 0, 0]]
    assert weight.numpy().tolist() == [[1, 0, 1], [1, 0, 0]]
    assert score({NEIGHBOURS: 1.0}, [0, 1, 1]) == [0.0, 0.0, 0.0]  # `last` is 2: 1 and 1, and 1 speaks for 2 alone


def test_padding_more_changes_nothing_and_the_graph_says_what_eager_says() -> None:
    weights = {TOWER: 1.0, NEIGHBOURS: 1.0, SUCCESSORS: 1.0, POPULARITY: 1.0}
    hybrid = HybridScore(three_items(), weights, {TOWER: 0.5, NEIGHBOURS: 2.0, BIAS: 0.25}, SOFTNESS)
    scores, count = tf.constant([[0.5, 0.25, 0.0], [0.0, 0.0, 1.0]]), tf.constant([2, 1])
    short = hybrid(scores, tf.constant([[0, 1], [1, 0]]), count)
    long = hybrid(scores, tf.constant([[0, 1, 2, 2], [1, 2, 2, 2]]), count)
    np.testing.assert_array_equal(short, long)
    np.testing.assert_array_equal(tf.function(hybrid)(scores, tf.constant([[0, 1], [1, 0]]), count), short)


def test_rows_that_only_fill_up_change_no_score() -> None:
    weights = {TOWER: 1.0, NEIGHBOURS: 1.0, SUCCESSORS: 1.0, POPULARITY: 1.0}
    own = {**weights, NEIGHBOURS: 2.0, BIAS: 1.0}
    scores, index, count = tf.constant([[0.5, 0.25, 0.0]]), tf.constant([[0, 1]]), tf.constant([2])
    whole = HybridScore(three_items().padded(5), weights, own, SOFTNESS)(tf.pad(scores, [[0, 0], [0, 2]]), index, count)
    np.testing.assert_array_equal(
        whole[:, :3], HybridScore(three_items(), weights, own, SOFTNESS)(scores, index, count)
    )


def test_counting_neighbours_successors_and_popularity() -> None:
    users, items = np.array(["a", "a", "b", "b", "b"]), np.array([0, 1, 0, 1, 2], np.int32)
    events = TrainingEvents(users, items, np.arange(5))
    counted = count_statistics(events, 4, 50, ordered=True, **COUNTED)
    # X^T X + I = [[3, 2, 1], [2, 3, 1], [1, 1, 2]] on the first three items; its inverse is that below over 8.
    inverse = np.array([[5.0, -3.0, -1.0], [-3.0, 5.0, -1.0], [-1.0, -1.0, 5.0]]) / 8
    expected = np.zeros([4, 4])
    expected[:3, :3] = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(dense(counted.links[NEIGHBOURS]), expected, rtol=1e-6)
    # 0 -> 1 twice, and nothing else leads from 0 or to 1: 2 / sqrt(2 * 2). 1 -> 2 once. Nothing leads from user to user.
    np.testing.assert_allclose(dense(counted.links[SUCCESSORS]), [[0, 1, 0, 0], [0, 0, 1, 0], [0] * 4, [0] * 4])
    np.testing.assert_allclose(counted.popularity, np.log([3, 3, 2, 1]), rtol=1e-6)
    assert counted.borrowed.tolist() == [False, False, False, True]
    assert counted.last == {NEIGHBOURS: 50, RECENT: 5, SUCCESSORS: 20}


def test_a_large_catalogue_has_the_neighbours_of_item_knn() -> None:
    events = TrainingEvents(np.array(["a", "a", "b"]), np.array([0, 1, 0], np.int32), np.arange(3))
    large = SETTINGS.model_copy(update={"linear_items": 1})
    counted = count_statistics(events, 2, 50, ordered=True, **(COUNTED | {"settings": large}))
    np.testing.assert_allclose(dense(counted.links[NEIGHBOURS]), [[0, 2**-0.5], [2**-0.5, 0]], rtol=1e-6)


def test_what_comes_sooner_after_an_item_is_more_its_successor() -> None:
    near = succession(np.zeros(3, int), np.array([0, 1, 2]), 3, window=2, shrinkage=0.0).toarray()
    # T[0, 1] = T[1, 2] = 1 and T[0, 2] = 1/2; out of 0 go 3/2, into 2 come 3/2.
    np.testing.assert_allclose(near, [[0, 1 / 1.5**0.5, 0.5 / 1.5], [0, 0, 1 / 1.5**0.5], [0, 0, 0]], rtol=1e-6)


def test_without_an_order_there_is_no_successor_and_the_whole_history_counts() -> None:
    events = TrainingEvents(np.array(["a", "a"]), np.array([0, 1], np.int32), np.zeros(2, np.int64))
    counted = count_statistics(events, 2, 50, ordered=False, **COUNTED)
    assert set(counted.links) == {NEIGHBOURS}
    assert counted.last == {NEIGHBOURS: 50}


def test_an_item_that_comes_after_itself_is_no_successor() -> None:
    assert (
        succession(np.array([0, 0, 0]), np.array([1, 1, 0]), 2, window=1, shrinkage=0.0).toarray().tolist()[1][1] == 0.0
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_packing_keeps_the_largest_values(count: int, seed: int) -> None:
    matrix = sp.random(count, count, 0.5, random_state=seed, dtype=np.float32, format="csr")
    np.testing.assert_array_equal(unpacked(packed(matrix, count), count).toarray(), matrix.toarray())
    np.testing.assert_array_equal(unpacked(packed(matrix, 1), count).toarray().max(1), matrix.toarray().max(1))


def test_a_new_item_borrows_the_figures_of_known_ones_in_its_shares() -> None:
    lent = Loans(np.array([0, 1]), np.array([2]), np.array([[0.5, 1.0]], np.float32))
    whole = completed(three_items(), np.arange(3), lent, new_links=1)
    # Among the known 0 leads to 1 with 0.5. To the new item lead those that lead to 1; it leads where half of 0 and 1 do.
    expected = [[0, 0.5, 0.5], [0, 0, 0], [0, 0.25, 0.25]]
    np.testing.assert_allclose(dense(whole.links[NEIGHBOURS]), expected, atol=1e-6)
    np.testing.assert_allclose(dense(whole.links[SUCCESSORS]), [[0, 0, 0], [2, 0, 1], [2, 0, 1]], atol=1e-6)
    # The mean is 2.5; half of +0.5 and all of -0.5.
    np.testing.assert_allclose(whole.popularity, [3.0, 2.0, 2.25], atol=1e-6)
    assert whole.borrowed.tolist() == [False, False, True]


def test_links_to_new_items_stand_beside_those_to_known_ones() -> None:
    lent = Loans(np.array([0]), np.array([1, 2]), np.array([[1.0], [0.5]], np.float32))
    counted = Statistics({NEIGHBOURS: Links(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32))},
                         np.ones(1, np.float32), np.zeros(1, bool), {NEIGHBOURS: 2})  # fmt: skip
    one = completed(counted, np.array([0, -1, -1]), lent, new_links=1)
    # Each item keeps its one link among the known and the larger of the two to new items.
    np.testing.assert_allclose(dense(one.links[NEIGHBOURS]), [[1, 1, 0], [1, 1, 0], [0.5, 0.5, 0]], atol=1e-6)


def test_statistics_follow_the_items_into_another_catalogue() -> None:
    lent = Loans(np.array([0, 1]), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
    moved = completed(three_items(), np.array([1, 0]), lent, new_links=1)  # items 1 and 0, in this order
    np.testing.assert_allclose(dense(moved.links[NEIGHBOURS]), [[0, 0], [0.5, 0]])
    np.testing.assert_allclose(dense(moved.links[SUCCESSORS]), [[0, 2.0], [0, 0]])
    assert moved.popularity.tolist() == [2.0, 3.0]


def test_a_catalogue_of_new_items_alone_has_nothing_to_borrow() -> None:
    lent = loans(np.zeros(0, np.int64), np.arange(2), None, np.eye(2), SETTINGS)
    alone = completed(three_items(), np.array([-1, -1]), lent, new_links=1)
    assert not dense(alone.links[NEIGHBOURS]).any()
    assert alone.popularity.tolist() == [0.0, 0.0]
    assert alone.borrowed.all()


def test_shares_of_a_ridge_regression_on_content() -> None:
    content = {"text": sp.csr_matrix([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])}
    shares = ridge_shares(likeness(content), np.array([3, 4]), np.array([0, 1, 2]), 1.0)
    # K + I = [[2, 1, 0], [1, 2, 0], [0, 0, 2]]: the two alike share what one alone would give half of; like none: nothing.
    np.testing.assert_allclose(shares, [[1 / 3, 1 / 3, 0], [0, 0, 0]], atol=1e-6)
    # A second feature that the items lack halves the likeness: K' = K / 2.
    both = content | {"image": sp.csr_matrix((5, 2))}
    halved = ridge_shares(likeness(both), np.array([3]), np.array([0, 1, 2]), 1.0)
    np.testing.assert_allclose(halved, [[0.25, 0.25, 0]], atol=1e-6)


def test_the_nearest_lend_where_there_is_no_plain_content() -> None:
    unit = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(nearest_shares(unit[2:], unit[:2], 1).toarray(), [[0, 1]], atol=1e-6)
    np.testing.assert_allclose(nearest_shares(unit[2:], unit[:2], 2).toarray(), [[0.6 / 1.4, 0.8 / 1.4]], atol=1e-5)
    few = SETTINGS.model_copy(update={"nearest": 1})
    lent = loans(np.array([0, 1]), np.array([2]), None, 3 * unit, few)
    np.testing.assert_allclose(sp.csr_matrix(lent.shares).toarray(), [[0, 1]], atol=1e-6)


def test_a_new_item_gets_the_id_embedding_that_its_content_foretells() -> None:
    lent = Loans(np.array([0, 2]), np.array([1]), np.array([[0.5, 0.25]], np.float32))
    table = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 5.0]], np.float32)
    content_only = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float32)
    # What ids add: (2, 0) and (0, 4).
    np.testing.assert_allclose(lent.with_ids(table, content_only), [[3, 0], [2, 2], [0, 5]])
