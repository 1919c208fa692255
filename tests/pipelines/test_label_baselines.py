"""Label baselines and re-ranking by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluation.label_baselines import choose_bias, fit_bias, popularity_line, predict_bias
from pipelines.evaluation.ranking_head import RetrievedItems, choose_rerank_weight, rerank
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries, Requests


def requests(histories: list[list[int]], labels: list[list[float]], pairs: list[tuple[int, int, float]]) -> Requests:
    """`pairs`: (request, item, label) of the held-out events; one label."""
    count = len(histories)
    rows, items, truth = (list(column) for column in zip(*pairs, strict=True))
    return Requests(
        queries=Queries(
            user_ids=np.array([f"u{row}" for row in range(count)]),
            times=np.zeros(count, np.int64),
            histories=[np.array(history, np.int32) for history in histories],
            targets=[np.zeros(0, np.int32)] * count,
            rows=np.arange(count),
        ),
        values=[np.ones(len(history), np.float32) for history in histories],
        event_times=[np.zeros(len(history), np.int64) for history in histories],
        labels=[np.array(values, np.float32).reshape(-1, 1) for values in labels],
        context={},
        users=np.array([b""] * count, object),
        pair_rows=np.array(rows),
        pair_items=np.array(items, np.int32),
        pair_labels=np.array(truth, np.float32).reshape(-1, 1),
    )


# Items 0, 0, 1 and 1 with ratings 5, 4, 2 and unknown: mean 11/3. Item 2 was never rated.
ITEMS, RATINGS = np.array([0, 0, 1, 1]), np.array([5.0, 4.0, 2.0, np.nan])
MEAN = 11 / 3


def test_item_biases_are_shrunk_sums_of_deviations() -> None:
    model = fit_bias(ITEMS, RATINGS, 3, item_shrinkage=1.0, user_shrinkage=0.0)
    assert model.mean == pytest.approx(MEAN)
    np.testing.assert_allclose(model.items, [(5 - MEAN + 4 - MEAN) / 3, (2 - MEAN) / 2, 0.0])


def test_without_shrinkage_an_item_s_bias_is_its_mean_s_and_nothing_divides_by_zero() -> None:
    model = fit_bias(ITEMS, RATINGS, 3, item_shrinkage=0.0, user_shrinkage=0.0)
    np.testing.assert_allclose(model.items, [4.5 - MEAN, 2 - MEAN, 0.0])


def test_a_user_s_bias_comes_from_the_labels_in_the_history() -> None:
    model = fit_bias(ITEMS, RATINGS, 3, item_shrinkage=0.0, user_shrinkage=2.0)
    asked = requests(
        [[0, 1, 2], [], [1]], [[3.5, 2.5, np.nan], [], [np.nan]], [(0, 2, 3), (1, 0, 4), (2, 1, 1), (0, 0, 5)]
    )
    # User 0 is 1 below item 0's mean and .5 above item 1's: (-1 + .5) / (2 + 2). Nothing is known of the others.
    user = -0.5 / 4
    np.testing.assert_allclose(predict_bias(model, asked, 0, 1.0, 5.0), [MEAN + user, 4.5, 2.0, 4.5 + user])
    np.testing.assert_allclose(predict_bias(model, asked, 0, 3.0, 4.0), [MEAN + user, 4.0, 3.0, 4.0])


def test_validation_chooses_the_shrinkage() -> None:
    # Item 0's next rating is its training mean: no shrinkage is best. Item 1's is the mean of all: much is.
    plain = requests([[]], [[]], [(0, 0, 4.5)])
    shrunk = requests([[]], [[]], [(0, 1, MEAN)])
    for validation, item_bias in ((plain, 4.5 - MEAN), (shrunk, (4.5 - MEAN) * 2 / 102)):
        model = choose_bias(ITEMS, RATINGS, 3, validation, 0, (1.0, 5.0), (0.0, 100.0))
        assert model.items[0] == pytest.approx(item_bias)


def test_the_line_from_popularity_is_the_least_squares_one() -> None:
    popularity = np.array([0.0, 1.0, 3.0])
    # The points (0, 1), (1, 2), (1, 4), (3, 5), means 1.25 and 3, by the textbook formula.
    items, labels = np.array([0, 1, 1, 2, 2]), np.array([1.0, 2.0, 4.0, 5.0, np.nan])
    x, y = np.array([0, 1, 1, 3]), np.array([1, 2, 4, 5])
    slope = (4 * (x * y).sum() - x.sum() * y.sum()) / (4 * (x * x).sum() - x.sum() ** 2)
    assert popularity_line(popularity, items, labels) == pytest.approx((slope, 3 - 1.25 * slope))
    assert popularity_line(np.ones(3), items, labels) == pytest.approx((0.0, 3.0))
    assert popularity_line(popularity, items, np.full(5, np.nan)) == (0.0, 0.0)


def retrieved(targets: list[int], logits: list[list[float]]) -> RetrievedItems:
    """Lists of items 0 to 9 with scores 9 to 0 for everyone."""
    count = len(targets)
    ranking = Ranking(np.tile(np.arange(10, dtype=np.int32), [count, 1]), 10)
    queries = requests([[]] * count, [[]] * count, [(0, 0, 1)]).queries
    queries = Queries(
        queries.user_ids, queries.times, queries.histories, [np.array([t], np.int32) for t in targets], queries.rows
    )
    scores = np.tile(np.arange(9, -1, -1, dtype=np.float32), [count, 1])
    return RetrievedItems(queries, ranking, scores, {"like": np.array(logits, np.float32)})


def test_lists_are_reordered_stably_and_padding_stays_last() -> None:
    ranking = Ranking(np.array([[4, 7, 1, -1]], np.int32), 9)
    assert rerank(ranking, np.array([[0.0, 2.0, 0.0, 9.0]])).items.tolist() == [[7, 4, 1, -1]]


def test_the_weight_is_one_that_helps() -> None:
    # The label knows the target: a weight of .5 lifts item 3 (score 6) by 2 to 8, level with item 1; 2 lifts it to 14.
    knows = [[4.0 if item == 3 else 0.0 for item in range(10)]] * 4
    assert choose_rerank_weight(retrieved([3] * 4, knows), "like", (0.5, 2.0)) == 2.0
    # The label would put the target last.
    spoils = [[-9.0 if item == 0 else 0.0 for item in range(10)]] * 4
    assert choose_rerank_weight(retrieved([0] * 4, spoils), "like", (0.5, 2.0)) == 0.0


def test_a_gain_within_two_of_its_standard_errors_is_no_gain() -> None:
    # Raised from the second place to the first for three users of five, lowered for the other
    # two: a mean gain of 1/5 of that step against a standard error of .45 of it.
    up, down = [0.0, 9.0, *[0.0] * 8], [0.0, 9.0, *[0.0] * 8]
    few = retrieved([1, 1, 1, 0, 0], [up, up, up, down, down])
    assert choose_rerank_weight(few, "like", (1.0,)) == 0.0
    many = retrieved([1, 1, 1, 0, 0] * 40, [up, up, up, down, down] * 40)
    assert choose_rerank_weight(many, "like", (1.0,)) == 1.0


def test_without_queries_the_weight_is_nothing() -> None:
    empty = retrieved([0], [[0.0] * 10])
    none = RetrievedItems(
        empty.queries.slice(0, 0),
        Ranking(empty.ranking.items[:0], 10),
        empty.scores[:0],
        {"like": empty.logits["like"][:0]},
    )
    assert choose_rerank_weight(none, "like", (1.0,)) == 0.0
