"""Full-ranking metrics by hand, and what must hold of them whatever the lists are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.beyond_accuracy import beyond_accuracy, coverage, diversity, novelty, popularity_bias
from pipelines.item_item.top_k import RunningTop, tie_order, top_k
from pipelines.scoring import metrics
from pipelines.scoring.metrics import ACCURACY_METRICS, CUTOFFS, Ranking, find_hits
from pipelines.scoring.requests import Queries, Scorer

INF = float("inf")


def make_queries(targets: Sequence[Sequence[int]], histories: Sequence[Sequence[int]] | None = None) -> Queries:
    count = len(targets)
    return Queries(
        user_ids=np.array([f"u{index}" for index in range(count)], np.str_),
        times=np.arange(count, dtype=np.int64),
        histories=[np.array(history, np.int32) for history in histories or [[]] * count],
        targets=[np.array(target, np.int32) for target in targets],
        rows=np.arange(count, dtype=np.int64),
    )


def measure(lists: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], metric: str) -> list[float]:
    return metrics.per_query(Ranking(np.array(lists, np.int32), 40), make_queries(targets), metric).tolist()


def fixed(scores: Sequence[Sequence[float]]) -> Scorer:
    """A scorer that finds a query's scores by its row."""
    table = np.array(scores, np.float32)
    return lambda queries: table[queries.rows]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # The only target stands at place 3.
        ("recall@2", 0.0),
        ("recall@3", 1.0),
        ("precision@5", 1 / 5),
        ("f1@5", 1 / 3),  # precision 1/5, recall 1: 2 * 1/5 * 1 / (1/5 + 1) = 2/6
        ("hit@2", 0.0),
        ("hit@5", 1.0),
        ("ndcg@2", 0.0),
        ("ndcg@5", 0.5),  # 1 / log2(1 + 3) over an ideal of 1
        ("map@5", 1 / 3),  # precision at place 3, over one target
        ("mrr", 1 / 3),
    ],
)
def test_one_target(metric: str, expected: float) -> None:
    assert measure([[7, 2, 5, 9, 1]], [[5]], metric) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        # Targets 2, 9 and 30; hits at places 2 and 4, the third target is not in the list.
        ("recall@1", 0.0),
        ("recall@2", 1 / 3),
        ("recall@5", 2 / 3),
        ("precision@4", 2 / 4),
        ("precision@5", 2 / 5),
        ("f1@5", 0.5),  # precision 2/5, recall 2/3: 2 * 4/15 / (16/15)
        ("hit@1", 0.0),
        ("hit@4", 1.0),
        # DCG 1/log2(3) + 1/log2(5) = .6309 + .4307, ideal of three hits 1 + 1/log2(3) + 1/2 = 2.1309.
        ("ndcg@5", 0.49819),
        # A list of two cannot hold three hits: .6309 / (1 + .6309).
        ("ndcg@2", 0.38685),
        ("map@5", 1 / 3),  # (1/2 + 2/4) / 3
        ("map@2", 1 / 4),  # (1/2) / min(3, 2)
        ("mrr", 1 / 2),
    ],
)
def test_several_targets(metric: str, expected: float) -> None:
    assert measure([[7, 2, 5, 9, 1]], [[2, 9, 30]], metric) == pytest.approx([expected], abs=1e-5)


def test_a_list_of_targets_only_is_perfect_and_a_list_without_is_worth_nothing() -> None:
    for metric in ("recall@3", "precision@3", "f1@3", "hit@3", "ndcg@3", "map@3", "mrr"):
        assert measure([[4, 5, 6], [4, 5, 6]], [[6, 4, 5], [1, 2, 3]], metric) == pytest.approx([1.0, 0.0])


def test_a_target_named_twice_counts_once() -> None:
    assert measure([[4, 5]], [[5, 5, 6]], "recall@2") == [0.5]


def test_an_empty_place_is_a_miss_and_never_the_hit_of_another_query() -> None:
    # Query 0 wants the last item of the catalogue (39); -1 in row 1 is next to it in any flat numbering.
    lists, targets = [[39, -1, -1], [-1, -1, -1], [3, -1, -1]], [[39], [39], [3, 4]]
    assert measure(lists, targets, "precision@3") == pytest.approx([1 / 3, 0, 1 / 3])
    assert measure(lists, targets, "recall@3") == [1, 0, 0.5]
    assert measure(lists, targets, "mrr") == [1, 0, 1]


def test_means_are_over_queries_under_the_names_of_the_report() -> None:
    lists = np.tile(np.arange(50, dtype=np.int32), (3, 1))
    result = metrics.accuracy(Ranking(lists, 60), make_queries([[0], [9], [55]]))
    assert tuple(result) == ACCURACY_METRICS
    assert len(result) == 6 * len(CUTOFFS) + 1
    assert result["recall@5"] == pytest.approx(1 / 3)  # places 1, 10 and none
    assert result["recall@10"] == pytest.approx(2 / 3)
    assert result["mrr"] == pytest.approx((1 + 1 / 10 + 0) / 3)
    assert result["ndcg@10"] == pytest.approx((1 + 1 / math.log2(11)) / 3)


def test_without_queries_every_mean_is_unknown() -> None:
    result = metrics.accuracy(Ranking(np.zeros((0, 50), np.int32), 60), make_queries([]))
    assert all(math.isnan(value) for value in result.values())


def test_wrong_use_is_named() -> None:
    ranking = Ranking(np.zeros((1, 10), np.int32), 60)
    with pytest.raises(ValueError, match="k = 20 needs lists"):
        metrics.per_query(ranking, make_queries([[1]]), "recall@20")
    with pytest.raises(ValueError, match="reach@5: no such metric"):
        metrics.per_query(ranking, make_queries([[1]]), "reach@5")
    with pytest.raises(ValueError, match="1 lists for 2 queries"):
        find_hits(ranking, make_queries([[1], [2]]))
    with pytest.raises(ValueError, match="query 1 has no target"):
        find_hits(Ranking(np.zeros((2, 10), np.int32), 60), make_queries([[1], []]))


def test_the_history_is_never_recommended_even_where_it_scores_best() -> None:
    queries = make_queries([[0], [3]], [[3, 2], [0]])
    ranking = metrics.rank(fixed([[1, 2, 3, 4]] * 2), queries, num_items=4, depth=4, batch=10)
    # Query 0 has two candidates left for four places, query 1 three.
    assert ranking.items.tolist() == [[1, 0, -1, -1], [3, 2, 1, -1]]
    assert ranking.depth == 4


def test_a_target_in_its_own_history_cannot_be_hit() -> None:
    queries = make_queries([[3]], [[3]])
    ranking = metrics.rank(fixed([[1, 2, 3, 4]]), queries, num_items=4, depth=3, batch=1)
    assert metrics.per_query(ranking, queries, "recall@3").tolist() == [0.0]


def test_minus_infinity_is_never_recommended_and_lists_may_be_deeper_than_the_catalogue() -> None:
    ranking = metrics.rank(fixed([[-INF, 0.0, INF]]), make_queries([[0]]), num_items=3, depth=5, batch=1)
    assert ranking.items.tolist() == [[2, 1, -1, -1, -1]]


def test_ranking_leaves_the_scores_of_the_scorer_alone() -> None:
    scores = np.zeros((1, 3), np.float32)
    metrics.rank(lambda queries: scores, make_queries([[0]], [[1]]), num_items=3, depth=2, batch=1)
    assert scores.tolist() == [[0, 0, 0]]


def test_a_scorer_of_wrong_shape_or_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(1, 2\), not \(1, 3\)"):
        metrics.rank(fixed([[1, 2]]), make_queries([[0]]), num_items=3, depth=2, batch=1)
    with pytest.raises(ValueError, match="NaN"):
        metrics.rank(fixed([[1, np.nan, 0]]), make_queries([[0]]), num_items=3, depth=2, batch=1)


def test_ties_earn_what_chance_earns() -> None:
    # 400 queries, each with another item as its target, all scores equal: exactly 20 of 400 targets are listed.
    queries = make_queries([[item] for item in range(400)])
    ranking = metrics.rank(lambda part: np.zeros((len(part), 400)), queries, num_items=400, depth=20, batch=64)
    assert metrics.per_query(ranking, queries, "recall@20").mean() == pytest.approx(20 / 400)
    # The list is the same for everybody and no slice of the catalogue's own order, by which items are often sorted.
    assert (ranking.items == ranking.items[0]).all()
    assert ranking.items[0].tolist() == np.argsort(tie_order(400))[:20].tolist()
    assert 100 < ranking.items[0].mean() < 300


def test_ties_at_the_cut_and_signed_zeros() -> None:
    ties = np.array([3, 0, 2, 1], np.int64)
    scores = np.array([[5.0, -0.0, 0.0, 0.0], [-1.0, -2.0, -1.0, -3.0]], np.float32)
    # Row 0: 5, then of three zeros those with ties 0 and 1. Row 1: of two -1 the one with ties 2 before 3.
    assert top_k(scores, 3, ties).tolist() == [[0, 1, 3], [2, 0, 1]]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Queries, np.ndarray]:
    """Queries over a small catalogue, and scores with many ties and some -inf."""
    num_items = draw(st.integers(2, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 6))
    scores = rng.integers(-3, 4, (count, num_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    targets = [rng.integers(0, num_items, rng.integers(1, 5)).tolist() for _ in range(count)]
    histories = [rng.integers(0, num_items, rng.integers(0, num_items)).tolist() for _ in range(count)]
    return make_queries(targets, histories), scores


@given(problems(), st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_lists_hold_the_best_of_what_may_be_recommended(problem: tuple[Queries, np.ndarray], batch: int) -> None:
    queries, scores = problem
    num_items = scores.shape[1]
    ranking = metrics.rank(fixed(scores.tolist()), queries, num_items=num_items, depth=50, batch=batch)
    ties = tie_order(num_items)
    for row, history in enumerate(queries.histories):
        allowed = [i for i in range(num_items) if scores[row, i] > -np.inf and i not in set(history.tolist())]
        expected = sorted(allowed, key=lambda item: (-scores[row, item], ties[item]))[:50]
        assert ranking.items[row].tolist() == expected + [-1] * (50 - len(expected))


class InBlocks:
    """A scorer that finds a query's scores by its row, whole or in blocks."""

    def __init__(self, scores: np.ndarray):
        self.scores, self.sizes = scores, set[tuple[int, int]]()

    def __call__(self, queries: Queries) -> np.ndarray:
        return self.scores[queries.rows]

    def blocks(self, queries: Queries, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.scores.shape[1], size):
            block = self.scores[queries.rows, start : start + size]
            self.sizes.add(block.shape)
            yield block


@given(problems(), st.integers(1, 7), st.integers(1, 1200))
@settings(max_examples=80, deadline=None)
def test_lists_do_not_depend_on_the_blocks_of_items(
    problem: tuple[Queries, np.ndarray], batch: int, most_scores: int
) -> None:
    queries, scores = problem  # many ties and masked items, histories of up to all items
    num_items = scores.shape[1]
    whole = metrics.rank(fixed(scores.tolist()), queries, num_items=num_items, depth=50, batch=batch)
    scorer = InBlocks(scores)
    found = metrics.rank(scorer, queries, num_items=num_items, depth=50, batch=batch, most_scores=most_scores)
    np.testing.assert_array_equal(found.items, whole.items)
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert all(rows * columns <= max(most_scores, rows) for rows, columns in scorer.sizes)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 9999, 10_000])
@pytest.mark.parametrize("kind", ["distinct", "few values", "mostly zero"])
def test_the_best_of_many_columns_are_those_of_a_full_sort(kind: str, size: int) -> None:
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(3, 10_000)).astype(np.float32)
    if kind == "few values":
        scores = np.round(scores)
    elif kind == "mostly zero":
        scores[rng.random(scores.shape) < 0.999] = 0.0
    scores[rng.random(scores.shape) < 0.05] = -np.inf
    scores[2] = -np.inf
    scores[2, [5, 9_999]] = 1.0
    ties = tie_order(10_000)
    top = RunningTop(3, 20, ties)
    for start in range(0, 10_000 if size > 1 else 600, size):
        top.add(scores[:, start : start + size])
    columns = top.columns
    for row in range(3):
        order = sorted(range(columns), key=lambda item: (-scores[row, item], ties[item]))
        expected = [item for item in order[:20] if scores[row, item] > -np.inf]
        assert top.items[row].tolist() == expected + [-1] * (20 - len(expected))
        assert top.scores[row, : len(expected)].tolist() == scores[row, expected].tolist()


def test_blocks_that_do_not_add_up_to_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(1, 3\), not \(1, 5\)"):
        metrics.rank(InBlocks(np.zeros((1, 3), np.float32)), make_queries([[0]]), num_items=5, depth=2, batch=1)


@given(problems())
@settings(max_examples=80, deadline=None)
def test_metrics_lie_in_0_and_1_and_recall_grows_with_k(problem: tuple[Queries, np.ndarray]) -> None:
    queries, scores = problem
    ranking = metrics.rank(fixed(scores.tolist()), queries, num_items=scores.shape[1], depth=50, batch=4)
    for metric in ACCURACY_METRICS:
        values = metrics.per_query(ranking, queries, metric)
        assert values.shape == (len(queries),)
        assert (values >= 0).all()
        assert (values <= 1 + 1e-12).all()
    hits = find_hits(ranking, queries)
    for measure_at in (metrics.recall, metrics.hit):
        assert (np.diff([measure_at(hits, k) for k in range(1, 51)], axis=0) >= 0).all()
    assert (metrics.recall(hits, 50) <= metrics.hit(hits, 50)).all()
    assert ((metrics.reciprocal_rank(hits) > 0) == (metrics.hit(hits, 50) > 0)).all()


COUNTS = np.array([3, 0, 1, 0])
PAIR = Ranking(np.array([[0, 1], [0, -1]], np.int32), 4)


def test_beyond_accuracy_by_hand() -> None:
    assert coverage(PAIR, 2) == 2 / 4
    assert coverage(PAIR, 1) == 1 / 4
    # (count + 1) / (4 + 4): item 0 has 1/2 = 1 bit, item 1 has 1/8 = 3 bits.
    assert novelty(PAIR, COUNTS, 2).tolist() == [2.0, 1.0]
    # Shown: lists average 1.5 and 3, together 2.25. Chosen: items 2 and 0, 1 and 3, together 2.
    assert popularity_bias(PAIR, make_queries([[2], [0]]), COUNTS, 2) == pytest.approx(2.25 / 2)


def test_diversity_is_one_minus_the_mean_cosine_of_the_pairs() -> None:
    features = np.array([[2.0, 0.0], [0.5, 0.0], [0.0, 3.0], [0.0, 0.0], [-1.0, 0.0]])
    lists = np.array([[0, 1, 2], [0, 4, -1], [0, 3, -1], [2, -1, -1]], np.int32)
    # Pairs of row 0: cosines 1, 0, 0. Row 1: opposite. Row 2: a row of zeros is like nothing. Row 3 has no pair.
    result = diversity(Ranking(lists, 5), features, 3)
    np.testing.assert_allclose(result, [1 - 1 / 3, 2.0, 1.0, np.nan])


def test_beyond_accuracy_is_unknown_without_queries() -> None:
    empty = Ranking(np.zeros((0, 20), np.int32), 4)
    result = beyond_accuracy(empty, make_queries([]), features=np.eye(4), train_counts=COUNTS)
    assert list(result) == ["coverage@20", "diversity@20", "novelty@20", "popularity_bias@20"]
    assert all(math.isnan(value) for value in result.values())


def test_queries_refuse_parts_of_different_length_and_take_keeps_them_together() -> None:
    queries = make_queries([[1], [2], [3]], [[], [1], [1, 2]])
    part = queries.take(np.array([False, True, True]))
    assert part.rows.tolist() == [1, 2]
    assert [target.tolist() for target in part.targets] == [[2], [3]]
    assert [history.tolist() for history in queries.take([2, 0]).histories] == [[1, 2], []]
    with pytest.raises(ValueError, match="differ in length"):
        Queries(queries.user_ids, queries.times, queries.histories, queries.targets, queries.rows[:1])
