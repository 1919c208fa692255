"""The item-item model: fitting it, completing it for cold items, and the hybrid score over it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import tensorflow as tf

from pipelines.config import HybridConfig
from pipelines.item_item.cold_start import ColdStart, nearest_coefficients, ridge_coefficients
from pipelines.item_item.content_similarity import content_factors, content_similarity
from pipelines.item_item.ease import Ease, EaseSettings
from pipelines.item_item.linear import LinearModel
from pipelines.item_item.model import ItemItemModel, training_matrix
from pipelines.item_item.neighbours import successor_similarities
from pipelines.item_item.sparse_top import Links
from tfrecs.errors import DataError
from tfrecs.reading.training_events import TrainingEvents
from towers.hybrid import BIAS, NEIGHBOURS, POPULARITY, RECENT, SUCCESSORS, TOWER, WALK, newest_different

SETTINGS = HybridConfig(neighbours=4, shrinkage=0.0, window=1)
SOFTNESS = {NEIGHBOURS: 0.5, SUCCESSORS: 0.1}
EASE = EaseSettings(1.0)


def dense(links: Links) -> np.ndarray:
    return links.to_csr(len(links.columns)).toarray()


def three_items() -> ItemItemModel:
    """Item 0 speaks for 1 (0.5) and 2 (0.25), item 1 for 2 (1.0); after 1 comes 0 (2.0); item 2 is cold."""
    near = Links(np.array([[1, 2], [2, 0], [0, 0]], np.int32), np.array([[0.5, 0.25], [1.0, 0], [0, 0]], np.float32))
    after = Links(np.array([[0], [0], [0]], np.int32), np.array([[0.0], [2.0], [0]], np.float32))
    popularity, cold = np.array([3.0, 2.0, 1.0], np.float32), np.array([False, False, True])
    last = {NEIGHBOURS: 2, RECENT: 1, SUCCESSORS: 2}
    return ItemItemModel({NEIGHBOURS: near, SUCCESSORS: after}, popularity, cold, last)


def score(
    weights: dict[str, float],
    history: list[int],
    cold: dict[str, float] | None = None,
    softness: dict[str, float] | None = None,
) -> list[float]:
    index = tf.constant([history + [0] * (4 - len(history))], tf.int32)
    hybrid = three_items().hybrid_score(weights, cold or {}, softness or {})
    return hybrid(tf.zeros([1, 3]), index, tf.constant([len(history)])).numpy()[0].tolist()


def test_each_part_is_its_sum_over_the_newest_items_times_its_weight() -> None:
    assert score({NEIGHBOURS: 2.0}, [0, 1]) == [0.0, 1.0, 0.0]  # a cold item has weights of its own: none here
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


def test_exploring_adds_to_the_score_of_cold_items_alone() -> None:
    hybrid = three_items().hybrid_score({POPULARITY: 1.0}, {POPULARITY: 1.0, BIAS: 0.5}, {})
    asked = tf.zeros([1, 3]), tf.zeros([1, 4], tf.int32), tf.constant([0])
    assert hybrid.exploring(2.0)(*asked).numpy().tolist() == [[3.0, 2.0, 3.5]]
    assert hybrid(*asked).numpy().tolist() == [[3.0, 2.0, 1.5]]


def test_the_towers_score_has_its_own_weight() -> None:
    hybrid = three_items().hybrid_score({TOWER: 3.0, POPULARITY: 1.0}, {TOWER: 1.0, POPULARITY: 1.0}, {})
    scores = hybrid(tf.constant([[1.0, 2.0, 3.0]]), tf.zeros([1, 4], tf.int32), tf.constant([0]))
    assert scores.numpy().tolist() == [[6.0, 8.0, 4.0]]


def test_only_the_newest_items_count_and_each_one_once() -> None:
    items, weight = newest_different(tf.constant([[0, 1, 1, 9], [5, 0, 0, 0]]), tf.constant([3, 1]), 3)
    assert (items.numpy() * weight.numpy()).tolist() == [[1, 0, 0], [5, 0, 0]]
    assert weight.numpy().tolist() == [[1, 0, 1], [1, 0, 0]]
    assert score({NEIGHBOURS: 1.0}, [0, 1, 1]) == [0.0, 0.0, 0.0]  # `last` is 2: 1 and 1, and 1 speaks for 2 alone


def test_padding_more_changes_nothing_and_the_graph_says_what_eager_says() -> None:
    weights = {TOWER: 1.0, NEIGHBOURS: 1.0, SUCCESSORS: 1.0, POPULARITY: 1.0}
    hybrid = three_items().hybrid_score(weights, {TOWER: 0.5, NEIGHBOURS: 2.0, BIAS: 0.25}, SOFTNESS)
    scores, count = tf.constant([[0.5, 0.25, 0.0], [0.0, 0.0, 1.0]]), tf.constant([2, 1])
    short = hybrid(scores, tf.constant([[0, 1], [1, 0]]), count)
    long = hybrid(scores, tf.constant([[0, 1, 2, 2], [1, 2, 2, 2]]), count)
    np.testing.assert_array_equal(short, long)
    np.testing.assert_array_equal(tf.function(hybrid)(scores, tf.constant([[0, 1], [1, 0]]), count), short)


def test_scores_over_linked_items_alone_are_those_over_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, items = np.random.default_rng(4), 40
    links = {
        name: Links(rng.integers(0, 7, (items, 3)).astype(np.int32), rng.normal(size=(items, 3)).astype(np.float32))
        for name in (NEIGHBOURS, SUCCESSORS)  # to seven items only: most are linked to several times
    }
    last = {NEIGHBOURS: 4, RECENT: 2, SUCCESSORS: 3}
    model = ItemItemModel(links, rng.random(items).astype(np.float32), rng.random(items) < 0.4, last)
    weights = {TOWER: 1.0, NEIGHBOURS: 0.7, RECENT: 0.3, SUCCESSORS: 2.0, POPULARITY: 0.1}
    score = model.hybrid_score(weights, {**weights, NEIGHBOURS: 0.2, BIAS: 1.0}, SOFTNESS)
    asked = (
        tf.constant(rng.normal(size=(3, items)).astype(np.float32)),
        tf.constant(rng.integers(0, 40, (3, 5)), tf.int32),
    )
    results = []
    for sparse_from in (0, items):
        monkeypatch.setattr("towers.hybrid.SPARSE_FROM", sparse_from)
        results.append(tf.function(score)(*asked, tf.constant([5, 2, 0])).numpy())
    np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-6)


def test_rows_that_only_fill_up_change_no_score() -> None:
    weights = {TOWER: 1.0, NEIGHBOURS: 1.0, SUCCESSORS: 1.0, POPULARITY: 1.0}
    own = {**weights, NEIGHBOURS: 2.0, BIAS: 1.0}
    scores, index, count = tf.constant([[0.5, 0.25, 0.0]]), tf.constant([[0, 1]]), tf.constant([2])
    whole = three_items().padded(5).hybrid_score(weights, own, SOFTNESS)(tf.pad(scores, [[0, 0], [0, 2]]), index, count)
    np.testing.assert_array_equal(
        whole[:, :3], three_items().hybrid_score(weights, own, SOFTNESS)(scores, index, count)
    )


def test_fitting_neighbours_successors_and_popularity() -> None:
    users, items = np.array(["a", "a", "b", "b", "b"]), np.array([0, 1, 0, 1, 2], np.int32)
    events = TrainingEvents.of(users, items, np.arange(5))
    fitted = ItemItemModel.fit(events, 4, SETTINGS, EASE, history=50, ordered=True)
    # X^T X + I = [[3, 2, 1], [2, 3, 1], [1, 1, 2]] on the first three items; its inverse is that below over 8.
    inverse = np.array([[5.0, -3.0, -1.0], [-3.0, 5.0, -1.0], [-1.0, -1.0, 5.0]]) / 8
    expected = np.zeros([4, 4])
    expected[:3, :3] = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(dense(fitted.links[NEIGHBOURS]), expected, rtol=1e-6)
    # 0 -> 1 twice, and nothing else leads from 0 or to 1: 2 / sqrt(2 * 2). 1 -> 2 once. Nothing leads from user to user.
    np.testing.assert_allclose(dense(fitted.links[SUCCESSORS]), [[0, 1, 0, 0], [0, 0, 1, 0], [0] * 4, [0] * 4])
    np.testing.assert_allclose(fitted.popularity, np.log([3, 3, 2, 1]), rtol=1e-6)
    assert fitted.is_cold.tolist() == [False, False, False, True]
    assert fitted.last == {NEIGHBOURS: 50, RECENT: 5, SUCCESSORS: 20, WALK: 50}


def test_several_settings_of_ease_share_their_counts_and_do_not_disturb_each_other() -> None:
    train = sp.csr_matrix(np.array([[1, 1, 0], [1, 1, 1]], np.float32))
    shared = Ease(train, np.full((3, 3), 0.5))
    first = shared.weights(EaseSettings(1.0))
    shared.weights(EaseSettings(3.0, 2.0))
    np.testing.assert_array_equal(shared.weights(EaseSettings(1.0)), first)
    # X^T X + I = [[3, 2, 1], [2, 3, 1], [1, 1, 2]]; its inverse is [[5, -3, -1], [-3, 5, -1], [-1, -1, 5]] / 8.
    np.testing.assert_allclose(first, [[0, 0.6, 0.2], [0.6, 0, 0.2], [0.2, 0.2, 0]], rtol=1e-6)


def test_ease_without_regularization_says_what_to_change() -> None:
    with pytest.raises(DataError, match=r"hybrid\.regularizations"):
        Ease(sp.csr_matrix(np.ones((1, 2), np.float32))).weights(EaseSettings(0.0))


def test_weights_count_in_neighbours_successors_and_popularity() -> None:
    users, items = np.array(["a", "a", "a", "b", "b"]), np.array([0, 0, 1, 0, 2], np.int32)
    events = TrainingEvents.of(users, items, np.arange(5), np.array([2.0, 1.0, 0.5, 0.5, 1.0], np.float32))
    # a's 2 + 1 for item 0 are no more than the largest weight of any event.
    np.testing.assert_allclose(training_matrix(events, 3).toarray(), [[2, 0.5, 0], [0.5, 0, 1]])
    fitted = ItemItemModel.fit(events, 3, SETTINGS, EASE, history=50, ordered=True)
    np.testing.assert_allclose(fitted.popularity, np.log1p([3.5, 0.5, 1.0]), rtol=1e-6)
    # T[0, 0] = 2, T[0, 1] = 1 * 0.5 and T[0, 2] = 0.5 * 1; out of 0 go 3, into 1 and 2 come 0.5 each.
    np.testing.assert_allclose(dense(fitted.links[SUCCESSORS])[0], [0, 0.5 / 1.5**0.5, 0.5 / 1.5**0.5], rtol=1e-6)


def test_in_a_large_catalogue_each_item_is_regressed_on_its_neighbours() -> None:
    events = TrainingEvents.of(np.array(["a", "a", "b"]), np.array([0, 1, 0], np.int32), np.arange(3))
    large = SETTINGS.model_copy(update={"linear_items": 1})
    fitted = ItemItemModel.fit(events, 2, large, EASE, history=50, ordered=True)
    # One common user; item 0 has two users, item 1 has one, and the regularization is 1: 1 / (1 + 1) and 1 / (2 + 1).
    np.testing.assert_allclose(dense(fitted.links[NEIGHBOURS]), [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("num_items", "neighbours", "kept", "cold"),
    [(0, 200, 200, 100), (250_000, 200, 200, 100), (1_000_000, 200, 50, 50), (10**8, 200, 20, 20), (10**8, 5, 5, 20)],
)
def test_a_table_of_links_does_not_grow_with_the_catalogue(
    num_items: int, neighbours: int, kept: int, cold: int
) -> None:
    settings = HybridConfig(neighbours=neighbours, cold_links=100)
    assert settings.kept_links(num_items) == kept
    assert settings.kept_cold_links(num_items) == cold


def test_what_comes_sooner_after_an_item_is_more_its_successor() -> None:
    near = successor_similarities(np.zeros(3, int), np.array([0, 1, 2]), 3, window=2, shrinkage=0.0, neighbours=3)
    # T[0, 1] = T[1, 2] = 1 and T[0, 2] = 1/2; out of 0 go 3/2, into 2 come 3/2.
    np.testing.assert_allclose(
        near.toarray(), [[0, 1 / 1.5**0.5, 0.5 / 1.5], [0, 0, 1 / 1.5**0.5], [0, 0, 0]], rtol=1e-6
    )


def test_without_an_order_there_is_no_successor_and_the_whole_history_counts() -> None:
    events = TrainingEvents.of(np.array(["a", "a"]), np.array([0, 1], np.int32), np.zeros(2, np.int64))
    fitted = ItemItemModel.fit(events, 2, SETTINGS, EASE, history=50, ordered=False)
    assert set(fitted.links) == {NEIGHBOURS, WALK}
    assert fitted.last == {NEIGHBOURS: 50, WALK: 50}
    without = SETTINGS.model_copy(update={"walk_hops": 0})
    assert set(ItemItemModel.fit(events, 2, without, EASE, history=50, ordered=False).links) == {NEIGHBOURS}


def test_an_item_that_comes_after_itself_is_no_successor() -> None:
    assert (
        successor_similarities(np.array([0, 0, 0]), np.array([1, 1, 0]), 2, window=1, shrinkage=0.0, neighbours=2)
        .toarray()
        .tolist()[1][1]
        == 0.0
    )


def test_links_and_popularity_of_a_cold_item_are_predicted_from_warm_ones() -> None:
    cold_start = ColdStart(np.array([0, 1]), np.array([2]), np.array([[0.5, 1.0]], np.float32))
    whole = three_items().for_catalogue(np.arange(3), cold_start, cold_links=1)
    # Among the warm ones 0 leads to 1 with 0.5. To the cold item lead those that lead to 1; it leads where half of 0 and 1 do.
    expected = [[0, 0.5, 0.5], [0, 0, 0], [0, 0.25, 0.25]]
    np.testing.assert_allclose(dense(whole.links[NEIGHBOURS]), expected, atol=1e-6)
    np.testing.assert_allclose(dense(whole.links[SUCCESSORS]), [[0, 0, 0], [2, 0, 1], [2, 0, 1]], atol=1e-6)
    # The mean is 2.5; half of +0.5 and all of -0.5.
    np.testing.assert_allclose(whole.popularity, [3.0, 2.0, 2.25], atol=1e-6)
    assert whole.is_cold.tolist() == [False, False, True]


def test_links_to_cold_items_are_beside_those_to_warm_ones() -> None:
    cold_start = ColdStart(np.array([0]), np.array([1, 2]), np.array([[1.0], [0.5]], np.float32))
    fitted = ItemItemModel({NEIGHBOURS: Links(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32))},
                         np.ones(1, np.float32), np.zeros(1, bool), {NEIGHBOURS: 2})  # fmt: skip
    one = fitted.for_catalogue(np.array([0, -1, -1]), cold_start, cold_links=1)
    # Each item keeps its one link among the warm ones and the larger of the two to cold ones.
    np.testing.assert_allclose(dense(one.links[NEIGHBOURS]), [[1, 1, 0], [1, 1, 0], [0.5, 0.5, 0]], atol=1e-6)


def test_the_model_follows_its_items_into_another_catalogue() -> None:
    cold_start = ColdStart(np.array([0, 1]), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
    moved = three_items().for_catalogue(np.array([1, 0]), cold_start, cold_links=1)  # items 1 and 0, in this order
    np.testing.assert_allclose(dense(moved.links[NEIGHBOURS]), [[0, 0], [0.5, 0]])
    np.testing.assert_allclose(dense(moved.links[SUCCESSORS]), [[0, 2.0], [0, 0]])
    assert moved.popularity.tolist() == [2.0, 3.0]


def test_a_catalogue_of_cold_items_alone_has_nothing_to_predict_from() -> None:
    cold_start = ColdStart.fit(np.ones(2, bool), None, np.eye(2), SETTINGS)
    alone = three_items().for_catalogue(np.array([-1, -1]), cold_start, cold_links=1)
    assert not dense(alone.links[NEIGHBOURS]).any()
    assert alone.popularity.tolist() == [0.0, 0.0]
    assert alone.is_cold.all()


def test_coefficients_of_a_ridge_regression_on_content() -> None:
    content = {"text": sp.csr_matrix([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])}
    coefficients = ridge_coefficients(content_similarity(content), np.arange(3), np.array([3, 4]), 1.0)
    # K + I = [[2, 1, 0], [1, 2, 0], [0, 0, 2]]: the two similar ones share what one alone would give half of; similar to none: nothing.
    np.testing.assert_allclose(coefficients, [[1 / 3, 1 / 3, 0], [0, 0, 0]], atol=1e-6)
    # A second feature that the items lack halves the similarity: K' = K / 2.
    both = content | {"image": sp.csr_matrix((5, 2))}
    halved = ridge_coefficients(content_similarity(both), np.arange(3), np.array([3]), 1.0)
    np.testing.assert_allclose(halved, [[0.25, 0.25, 0]], atol=1e-6)


def test_the_nearest_embeddings_count_where_there_is_no_plain_content() -> None:
    unit = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(nearest_coefficients(unit[:2], unit[2:], 1).toarray(), [[0, 1]], atol=1e-6)
    np.testing.assert_allclose(
        nearest_coefficients(unit[:2], unit[2:], 2).toarray(), [[0.6 / 1.4, 0.8 / 1.4]], atol=1e-5
    )
    few = SETTINGS.model_copy(update={"nearest": 1})
    cold_start = ColdStart.fit(np.array([False, False, True]), None, 3 * unit, few)
    np.testing.assert_allclose(sp.csr_matrix(cold_start.coefficients).toarray(), [[0, 1]], atol=1e-6)


def test_a_cold_item_gets_the_id_embedding_that_its_content_predicts() -> None:
    cold_start = ColdStart(np.array([0, 2]), np.array([1]), np.array([[0.5, 0.25]], np.float32))
    table = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 5.0]], np.float32)
    content_only = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float32)
    # What ids add: (2, 0) and (0, 4).
    np.testing.assert_allclose(cold_start.complete_embeddings(table, content_only), [[3, 0], [2, 2], [0, 5]])


def test_a_block_of_items_has_the_scores_that_it_has_among_all() -> None:
    model = three_items()
    weights = {TOWER: 1.0, NEIGHBOURS: 2.0, RECENT: 0.5, SUCCESSORS: 1.0, POPULARITY: 0.3}
    hybrid = model.hybrid_score(weights, weights | {NEIGHBOURS: 4.0, BIAS: -1.0}, SOFTNESS)
    index, count = tf.constant([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], tf.int32), tf.constant([2, 1, 0])
    scores = tf.constant(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32))
    whole = hybrid(scores, index, count).numpy()
    for size in (1, 2):
        blocks = [
            hybrid.of_items(start, min(size, 3 - start))(scores[:, start : start + size], index, count).numpy()
            for start in range(0, 3, size)
        ]
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole, rtol=1e-6)


@pytest.mark.parametrize("width", [3, 40])
def test_other_content_shares_what_the_log_says_and_gives_what_fitting_anew_would(width: int) -> None:
    rng, num_items = np.random.default_rng(2), 24
    train = sp.csr_matrix((rng.random((60, num_items)) < 0.2) & (np.arange(num_items) < 20), dtype=np.float32)  # 4 cold
    shared, ease = LinearModel(train, SETTINGS), EaseSettings(3.0, 20.0)
    inverses: set[int] = set()
    for features in ({"a": width}, {"a": width, "b": 1}):
        content = {
            name: sp.csr_matrix(rng.normal(size=(num_items, d)).astype(np.float32)) for name, d in features.items()
        }
        similarity = content_similarity(content)
        np.testing.assert_allclose(
            (content_factors(content) @ content_factors(content).T).toarray(), similarity, atol=1e-4
        )
        found = shared.with_content(similarity, content_factors(content))
        assert found.ease.gram is shared.ease.gram
        weights = found.ease.weights(ease)
        np.testing.assert_allclose(weights, Ease(train, similarity).weights(ease), atol=1e-5)
        inverses |= {id(inverse) for inverse in shared.ease._inverses.values()}
    # Content of few numbers costs no inverse beside the one of the log; of many, one each.
    assert len(inverses) == (1 if width == 3 else 0)
    without = shared.with_content(None, None).ease.weights(ease)
    np.testing.assert_array_equal(without, Ease(train).weights(ease))


def test_asked_for_the_links_of_some_items_they_are_those_among_all() -> None:
    cold_start = ColdStart(np.array([0, 1]), np.array([2]), np.float32([[0.5, 0.25]]))
    whole = three_items().for_catalogue(np.arange(3), cold_start, cold_links=1)
    for rows in ([0, 2], [1], [2]):
        some = three_items().for_catalogue(np.arange(3), cold_start, 1, np.array(rows))
        for name, links in some.links.items():
            for part, table in zip(links, whole.links[name], strict=True):
                np.testing.assert_array_equal(part, table[rows])
    nothing_cold = ColdStart(np.arange(3), np.array([], np.int64), np.zeros([0, 3], np.float32))
    some = three_items().for_catalogue(np.arange(3), nothing_cold, 1, np.array([2]))
    np.testing.assert_array_equal(some.links[NEIGHBOURS].values, three_items().links[NEIGHBOURS].values[[2]])
