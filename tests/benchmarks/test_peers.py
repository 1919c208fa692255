"""The peers of the benchmark, by hand on tiny data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.peers import content, ease
from benchmarks.quality.peers.factors import fold_in
from benchmarks.quality.peers.interface import (
    TrainingData,
    history_matrix,
    load_queries,
    load_training,
    save_queries,
    save_training,
    user_rows,
)
from benchmarks.quality.peers.neighbours import item_knn, popularity, transitions
from benchmarks.quality.peers.table import ALL, CATEGORIES, EACH, PEERS, Peer, grid, peers_named
from benchmarks.quality.peers.tfrs_tutorial import fit as tutorial
from pipelines.item_item.content_similarity import content_similarity
from pipelines.item_item.ease import EaseSettings, ease_weights
from pipelines.item_item.neighbours import successor_similarities
from pipelines.scoring.requests import Queries


def rows(*values: list[float]) -> sp.csr_matrix:
    return sp.csr_matrix(np.array(values, np.float32))


# User a: 0, 1, 2 in this order; user b: 0, 1; user c: 2, 1. Item 3 was never met and looks like item 0.
TRAINING = TrainingData(
    user_ids=np.array(["a", "b", "c"]),
    users=np.array([0, 0, 0, 1, 1, 2, 2], np.int32),
    items=np.array([0, 1, 2, 0, 1, 2, 1], np.int32),
    num_items=4,
    content={"looks": rows([1, 0], [0, 1], [0.6, 0.8], [1, 0])},
)


def queries_of(*histories: list[int], users: tuple[str, ...] = ()) -> Queries:
    count = len(histories)
    return Queries(
        user_ids=np.array(users or [f"u{row}" for row in range(count)], np.str_),
        times=np.zeros(count, np.int64),
        histories=[np.array(history, np.int32) for history in histories],
        targets=[np.array([0], np.int32)] * count,
        rows=np.arange(count),
    )


def test_what_is_exchanged_comes_back_equal(tmp_path: Path) -> None:
    save_training(tmp_path / "t.npz", TRAINING)
    back = load_training(tmp_path / "t.npz")
    assert back.user_ids.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(back.matrix.toarray(), [[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]])
    np.testing.assert_array_equal(back.content["looks"].toarray(), TRAINING.content["looks"].toarray())
    assert back.warm.tolist() == [True, True, True, False]
    queries = queries_of([0, 2], [], [1])
    save_queries(tmp_path / "q.npz", queries)
    same = load_queries(tmp_path / "q.npz")
    assert [history.tolist() for history in same.histories] == [[0, 2], [], [1]]
    assert [target.tolist() for target in same.targets] == [[0], [0], [0]]
    assert same.user_ids.tolist() == queries.user_ids.tolist()


def test_profiles_hold_the_newest_events_once_each() -> None:
    histories = [np.array([3, 1, 1]), np.array([], np.int32)]
    np.testing.assert_array_equal(history_matrix(histories, 4, None).toarray(), [[0, 1, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(history_matrix(histories, 4, 2).toarray()[0], [0, 1, 0, 0])


def test_unknown_users_have_no_row() -> None:
    assert user_rows(TRAINING, queries_of([0], [0], [0], [0], users=("c", "zz", "a", "B"))).tolist() == [2, -1, 0, -1]


def test_popularity_counts_users() -> None:
    assert popularity(TRAINING, {}, 0)({})(queries_of([0])).tolist() == [[2, 3, 2, 0]]


def test_item_knn_is_the_products_own() -> None:
    make_scorer = item_knn(TRAINING, {"shrinkage": 0.0, "neighbours": 3}, 0)
    scores = make_scorer({"last": 1})(queries_of([2, 0]))
    # Cosines of item 0 (users a, b) with 1 (a, b, c) and 2 (a, c).
    np.testing.assert_allclose(scores, [[0, 2 / 6**0.5, 1 / 2, 0]], rtol=1e-6)


def test_ease_is_its_closed_form() -> None:
    # Two items, both met by user 1, the first alone by user 2: X^T X + I = [[3, 1], [1, 2]], P = [[2, -1], [-1, 3]] / 5.
    matrix = sp.csr_matrix(np.array([[1, 1], [1, 0]], np.float32))
    np.testing.assert_allclose(ease_weights(matrix, EaseSettings(1.0)), [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_ease_columns_are_ridge_regressions_on_the_other_items() -> None:
    matrix = sp.random(40, 6, density=0.4, format="csr", dtype=np.float32, rng=np.random.default_rng(1))
    learned = ease_weights(matrix, EaseSettings(2.0))
    dense, others = matrix.toarray(), [0, 1, 2, 4, 5]
    inputs = dense[:, others]
    expected = np.linalg.solve(inputs.T @ inputs + 2.0 * np.eye(5), inputs.T @ dense[:, 3])
    np.testing.assert_allclose(learned[others, 3], expected, rtol=1e-4)
    assert learned[3, 3] == 0.0


def test_in_ease_each_term_of_the_content_is_one_more_user() -> None:
    rng = np.random.default_rng(2)
    matrix = sp.random(30, 5, density=0.4, format="csr", dtype=np.float32, rng=rng)
    content = rng.random((5, 7)).astype(np.float32)
    together = sp.vstack([matrix, sp.csr_matrix(content.T)], format="csr")
    learned = ease_weights(matrix, EaseSettings(2.0, 1.0), content @ content.T)
    np.testing.assert_allclose(learned, ease_weights(together, EaseSettings(2.0)), rtol=1e-3, atol=1e-5)


def test_content_leads_to_no_item_that_nobody_took() -> None:
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0]], np.float32))
    learned = ease_weights(matrix, EaseSettings(1.0, 1.0), np.ones((3, 3), np.float32))
    assert learned[:, 2].tolist() == learned[2].tolist() == [0.0, 0.0, 0.0]
    assert learned[0, 1] > ease_weights(matrix, EaseSettings(1.0))[0, 1]


def test_ease_with_content_is_ease_where_content_counts_nothing_and_leads_to_what_is_alike() -> None:
    plain = ease.fit(TRAINING, {"regularization": 1.0}, 0)({"last": None})(queries_of([0, 2]))
    none = ease.with_content(TRAINING, {"regularization": 1.0, "content": 0.0}, 0)({"last": None})(queries_of([0, 2]))
    np.testing.assert_allclose(none, plain, rtol=1e-5)
    learned = ease_weights(TRAINING.matrix, EaseSettings(1.0, 5.0), content_similarity(TRAINING.content))
    some = ease.with_content(TRAINING, {"regularization": 1.0, "content": 5.0}, 0)({"last": None})(queries_of([0, 2]))
    np.testing.assert_allclose(some[0], learned[0] + learned[2], rtol=1e-5)


def test_ease_scores_sum_over_the_newest_events() -> None:
    learned = ease_weights(TRAINING.matrix, EaseSettings(1.0))
    make_scorer = ease.fit(TRAINING, {"regularization": 1.0}, 0)
    scores = make_scorer({"last": 1})(queries_of([0, 2]))
    np.testing.assert_allclose(scores[0], learned[2])
    np.testing.assert_allclose(make_scorer({"last": None})(queries_of([0, 2]))[0], learned[0] + learned[2], rtol=1e-6)


def follows(*, window: int, shrinkage: float) -> sp.csr_matrix:
    return successor_similarities(
        TRAINING.users, TRAINING.items, TRAINING.num_items, window=window, shrinkage=shrinkage, neighbours=4
    )


def test_transitions_count_what_directly_follows() -> None:
    # 0 -> 1 twice, 1 -> 2 once, 2 -> 1 once; out: 2, 1, 1; into 1: 3, into 2: 1. User c's events do not follow user b's.
    result = follows(window=1, shrinkage=10.0).toarray()
    expected = np.zeros((4, 4))
    expected[0, 1] = 2 / (6**0.5 + 10)
    expected[1, 2] = 1 / (1 + 10)
    expected[2, 1] = 1 / (3**0.5 + 10)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_wider_window_weighs_by_distance() -> None:
    result = follows(window=2, shrinkage=0.0).toarray()
    # Besides the above, 0 -> 2 at distance 2 with one half: out of 0 2.5, into 2 1.5.
    assert result[0, 2] == pytest.approx(0.5 / (2.5 * 1.5) ** 0.5)


def test_older_events_weigh_less_in_transitions() -> None:
    after = follows(window=1, shrinkage=10.0).toarray()
    scores = transitions(TRAINING, {"window": 1, "shrinkage": 10.0}, 0)({"last": 2})(queries_of([2, 1, 0], []))
    np.testing.assert_allclose(scores[0], after[0] + 0.5 * after[1], rtol=1e-6)
    assert not scores[1].any()


def test_content_knn_sums_cosines_over_the_history() -> None:
    scores = content.knn(TRAINING, {"features": "looks"}, 0)({"last": None})(queries_of([0, 2]))
    np.testing.assert_allclose(scores, [[1.6, 0.8, 1.6, 1.6]], rtol=1e-6)


def test_several_features_are_averaged() -> None:
    both = TrainingData(**{**vars(TRAINING), "content": {**TRAINING.content, "none": rows([0], [0], [0], [0])}})
    np.testing.assert_allclose(content.kernel(both, content.feature_names(both, ALL))[0], [0.5, 0, 0.3, 0.5], rtol=1e-6)
    assert content.feature_names(both, "none+looks") == ["none", "looks"]


def test_kernel_ridge_predicts_unknown_items_from_their_likes() -> None:
    # Known: items 0 and 1 at right angles: (I + I)^-1 halves their targets, and item 3 is what item 0 is.
    similarity = content.kernel(TRAINING, ["looks"])
    known = np.array([True, True, False, False])
    predicted = content.ridge(similarity, known, np.array([[4.0], [2.0]]), 1.0)
    np.testing.assert_allclose(predicted[:, 0], [2.0, 1.0, 0.6 * 2 + 0.8 * 1, 2.0], rtol=1e-6)


def test_content_ridge_is_a_regression_of_each_history() -> None:
    make_scorer = content.user_ridge(TRAINING, {"features": "looks", "regularization": 0.5}, 0)
    warm = np.array([True, True, True, False])
    likes = content.ridge(content.kernel(TRAINING, ["looks"]), warm, np.array([[1.0], [0.0], [0.0]]), 0.5)
    scores = make_scorer({"last": None})(queries_of([0], [0, 3]))
    np.testing.assert_allclose(scores[0], likes[:, 0], rtol=1e-5)
    np.testing.assert_allclose(scores[1], scores[0])  # of a cold item it is unknown what it says
    assert scores[0][3] == scores[0].max()


def test_users_fold_in_as_the_weighted_least_squares_solution() -> None:
    # One factor, items 1 and 2, history of item 1, confidence 1 + 3 and 1, regularization 0.5:
    # minimise 4 (1 - 2u)^2 + (0 - u)^2 + 0.5 u^2 over u for v = (1, 2): u = 8 / (16 + 1 + 0.5).
    users = fold_in(
        sp.csr_matrix(np.array([[0.0, 1.0], [0, 0]])), np.array([[1.0], [2.0]]), regularization=0.5, alpha=3
    )
    np.testing.assert_allclose(users, [[8 / 17.5], [0.0]], rtol=1e-6)


def test_the_tutorial_learns_who_met_what_and_knows_no_others() -> None:
    # Two groups of users, each with items of its own.
    users = np.repeat(np.arange(20), 5)
    items = np.concatenate([np.arange(5) + 5 * (user % 2) for user in range(20)])
    training = TrainingData(
        np.array([f"{user:02}" for user in range(20)]), users.astype(np.int32), items.astype(np.int32), 10, {}
    )
    params = {"epochs": 30, "batch": 50, "factors": 8, "learning_rate": 0.1}
    score = tutorial(training, params, 0)({})
    known = score(queries_of([0], [0], users=("04", "05")))
    assert known[0, :5].min() > known[0, 5:].max()
    assert known[1, 5:].min() > known[1, :5].max()
    strangers = score(queries_of([0], [5], users=("xx", "yy")))
    np.testing.assert_array_equal(strangers[0], strangers[1])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_row_of_the_table_can_be_resolved_and_has_points(peer: Peer) -> None:
    assert callable(peer.resolve())
    points = peer.points({"plot": "text", "poster": "image"})
    assert points
    assert all(EACH not in point.values() for point in points)


def test_the_names_in_the_table_are_different() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert [peer.name for peer in peers_named(["ease", "popularity"])] == ["ease", "popularity"]


def test_points_name_the_features_that_there_are() -> None:
    peer = Peer("p", "m:f", grid(features=("", EACH, ALL, CATEGORIES), size=(1,)))
    kinds = {"plot": "text", "tags": "categories", "genres": "categories"}
    expected = ["", "plot", "tags", "genres", ALL, "tags+genres"]
    assert [point["features"] for point in peer.points(kinds)] == expected
    assert [point["features"] for point in peer.points({})] == [""]
    dense = Peer("d", "m:f", grid(size=(1, 2)), dense=("image", "vector"))
    assert dense.points({"plot": "text", "timbre": "vector", "poster": "image"})[0] == {"size": 1, "feature": "poster"}


def test_a_peer_says_why_data_does_not_suit_it() -> None:
    assert Peer("p", "m:f", grid(), ordered=True).unsuitable_reason({}, ordered=False) == "the events have no order"
    assert Peer("p", "m:f", grid(), content=True).unsuitable_reason({}, ordered=True) == "the items have no content"
    wants = Peer("p", "m:f", grid(), dense=("image",))
    assert wants.unsuitable_reason({"plot": "text"}, ordered=True) == "no item feature is of kind image"
    assert wants.unsuitable_reason({"poster": "image"}, ordered=True) is None


def test_peers_with_an_environment_of_their_own_need_no_tensorflow() -> None:
    modules = sorted({peer.fit.partition(":")[0] for peer in PEERS if peer.needs})
    assert modules
    script = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nassert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).resolve().parents[2])
