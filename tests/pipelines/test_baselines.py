"""Baselines by hand on a tiny matrix, and against their known figures on MovieLens 100K."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from pipelines.evaluation.baselines import fit_baselines, item_knn_scorer, popularity_scorer, random_scorer
from pipelines.item_item.neighbours import interaction_matrix, item_similarities
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries

# User 0 met items 0 and 1, user 1 all three, user 2 item 0: norms sqrt 3, sqrt 2 and 1; products 01: 2, 02: 1, 12: 1.
TRAIN = interaction_matrix([0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 2, 0], num_users=3, num_items=3)
S01, S02, S12 = 2 / (6**0.5 + 1), 1 / (3**0.5 + 1), 1 / (2**0.5 + 1)  # shrunk by 1: .580, .366, .414


def asking(histories: Sequence[Sequence[int]]) -> Queries:
    count = len(histories)
    return Queries(
        user_ids=np.array([f"u{index}" for index in range(count)], np.str_),
        times=np.arange(count, dtype=np.int64),
        histories=[np.array(history, np.int32) for history in histories],
        targets=[np.array([0], np.int32)] * count,
        rows=np.arange(count, dtype=np.int64),
    )


def test_repeated_events_are_counted() -> None:
    matrix = interaction_matrix([0, 0, 1], [2, 2, 0], num_users=2, num_items=4)
    assert matrix.toarray().tolist() == [[0, 0, 2, 0], [1, 0, 0, 0]]


def test_similarities_by_hand() -> None:
    result = item_similarities(TRAIN, shrinkage=1.0, neighbours=2).toarray()
    np.testing.assert_allclose(result, [[0, S01, S02], [S01, 0, S12], [S02, S12, 0]], rtol=1e-6)
    unshrunk = item_similarities(TRAIN, shrinkage=0.0, neighbours=2).toarray()
    np.testing.assert_allclose(unshrunk[0], [0, 2 / 6**0.5, 1 / 3**0.5], rtol=1e-6)


def test_each_consumed_item_keeps_its_own_nearest() -> None:
    # Nearest of 0 is 1, of 1 is 0, of 2 is 1: rows are pruned, so the matrix is not symmetric.
    result = item_similarities(TRAIN, shrinkage=1.0, neighbours=1).toarray()
    np.testing.assert_allclose(result, [[0, S01, 0], [S01, 0, 0], [0, S12, 0]], rtol=1e-6)


def test_items_that_nobody_met_have_no_neighbours_and_are_none() -> None:
    train = interaction_matrix([0, 0], [0, 2], num_users=1, num_items=4)
    result = item_similarities(train, shrinkage=0.0, neighbours=4)
    assert result.nnz == 2
    np.testing.assert_allclose(result.toarray()[0], [0, 0, 1, 0])


def test_similarities_do_not_depend_on_the_block_they_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    train = sp.random(30, 17, density=0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(3))
    whole = item_similarities(train, shrinkage=2.0, neighbours=5).toarray()
    monkeypatch.setattr("pipelines.item_item.sparse_top._BLOCK_ENTRIES", 17 * 4)  # about four items a block
    np.testing.assert_array_equal(item_similarities(train, shrinkage=2.0, neighbours=5).toarray(), whole)


def test_knn_scores_are_sums_over_the_history() -> None:
    queries = asking([[2], [0, 2], [], [2, 2]])
    similarities = item_similarities(TRAIN, shrinkage=1.0, neighbours=2)
    everything = item_knn_scorer(similarities, last=None)(queries)
    expected = [[S02, S12, 0], [S02, S01 + S12, S02], [0, 0, 0], [S02, S12, 0]]  # an item met twice speaks once
    np.testing.assert_allclose(everything, expected, rtol=1e-6)
    newest = item_knn_scorer(similarities, last=1)(queries)
    np.testing.assert_allclose(newest[1], [S02, S12, 0], rtol=1e-6)


def test_popularity_is_the_training_count_for_everybody() -> None:
    assert popularity_scorer(TRAIN)(asking([[0], []])).tolist() == [[3, 2, 1], [3, 2, 1]]


def test_random_scores_depend_on_seed_and_query_but_not_on_the_slice() -> None:
    queries = asking([[0], [1], [2]])
    scores = random_scorer(50, seed=1)(queries)
    np.testing.assert_array_equal(random_scorer(50, seed=1)(queries.slice(1, 2)), scores[1:2])
    assert not np.array_equal(scores[0], scores[1])
    assert not np.array_equal(random_scorer(50, seed=2)(queries), scores)
    assert ((scores >= 0) & (scores < 1)).all()


def test_random_scores_exist_before_1970() -> None:
    queries = asking([[0]])
    early = Queries(queries.user_ids, np.array([-5]), queries.histories, queries.targets, queries.rows)
    assert random_scorer(5, seed=1)(early).shape == (1, 5)


def test_the_names_of_the_baselines() -> None:
    fitted = fit_baselines(TRAIN, seed=0, shrinkage=1.0, neighbours=2, last=7)
    assert list(fitted) == ["random", "popularity", "item_knn", "item_knn_last7"]
    with pytest.raises(ValueError, match="at least 1"):
        fit_baselines(TRAIN, seed=0, shrinkage=1.0, neighbours=0, last=7)


def movielens(folder: Path) -> tuple[Queries, sp.csr_matrix]:
    """A global split by time, 80 : 10 : 10; one query for each test event, with everything before it in that order."""
    events = pd.read_csv(folder / "interactions.tsv", sep="\t").sort_values("timestamp", kind="stable")
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    position = {json.loads(line)["item_id"]: index for index, line in enumerate(lines)}
    users, times = events["user_id"].to_numpy(), events["timestamp"].to_numpy()
    items = events["item_id"].map(position).to_numpy(np.int32)
    # All events of a boundary's second belong to the later split.
    train = times < times[int(0.8 * len(times))]
    test = times >= times[int(0.9 * len(times))]
    past: dict[int, list[int]] = {}
    histories = []
    for user, item, asked in zip(users.tolist(), items.tolist(), test.tolist(), strict=True):
        if asked:
            histories.append(np.array(past.get(user, []), np.int32))
        past.setdefault(user, []).append(item)
    queries = Queries(
        user_ids=users[test].astype(np.str_),
        times=times[test],
        histories=histories,
        targets=[np.array([item], np.int32) for item in items[test]],
        rows=np.arange(int(test.sum())),
    )
    return queries, interaction_matrix(
        users[train], items[train], num_users=int(users.max()) + 1, num_items=len(position)
    )


@pytest.mark.slow
def test_known_figures_on_movielens_100k(shared_data: Path) -> None:
    queries, train = movielens(shared_data / "ml100k")
    # (Recall@20, NDCG@10) as measured for this protocol with shrinkage 10 and 100 neighbours.
    known = {"popularity": (0.113, 0.032), "item_knn": (0.209, 0.068), "item_knn_last20": (0.238, 0.080)}
    fitted = fit_baselines(train, seed=0, shrinkage=10.0, neighbours=100, last=20)
    chance = metrics.rank(fitted["random"], queries, num_items=train.shape[1], depth=20, batch=1024)
    # Some 20 of 1682 less the history: between .011 and .016.
    assert 0.010 < metrics.per_query(chance, queries, "recall@20").mean() < 0.018
    for name, (recall, ndcg) in known.items():
        ranking = metrics.rank(fitted[name], queries, num_items=train.shape[1], depth=20, batch=1024)
        assert metrics.per_query(ranking, queries, "recall@20").mean() == pytest.approx(recall, rel=0.05), name
        assert metrics.per_query(ranking, queries, "ndcg@10").mean() == pytest.approx(ndcg, rel=0.05), name


def test_every_baseline_scores_a_block_of_items_as_it_scores_all_of_them() -> None:
    fitted = fit_baselines(TRAIN, seed=3, shrinkage=1.0, neighbours=2, last=1)
    queries = asking([[0, 1], [], [2]])
    assert list(fitted) == ["random", "popularity", "item_knn", "item_knn_last1"]
    for scorer in fitted.values():
        whole = scorer(queries)
        assert whole.shape == (3, 3)
        for size in (1, 2, 5):
            blocks = list(scorer.blocks(queries, size))
            assert [block.shape[1] for block in blocks] == {1: [1, 1, 1], 2: [2, 1], 5: [3]}[size]
            np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
