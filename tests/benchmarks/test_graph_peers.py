"""Peers that stop early and those on graphs: by hand on tiny data; the networks themselves in the peers' interpreter."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.peers.early_stopping import BestEpoch, stopping_requests, train_to_best_epoch
from benchmarks.quality.peers.graph_models import Embeddings, make_scorer
from benchmarks.quality.peers.graphs import alike_graph, draw_negatives, drop_edges, event_keys, user_item_graph
from benchmarks.quality.peers.interface import TrainingData, save_queries, save_training
from benchmarks.quality.peers.table import peers_named
from benchmarks.results_file import REPO
from pipelines.scoring.requests import Queries

PEERS_PYTHON = "TRIPTYCH_PEERS_PYTHON"  # the interpreter of benchmarks/requirements-peers.txt


def requests(users: list[str], histories: list[list[int]], targets: list[list[int]]) -> Queries:
    return Queries(
        user_ids=np.array(users, np.str_),
        times=np.zeros(len(users), np.int64),
        histories=[np.array(history, np.int32) for history in histories],
        targets=[np.array(target, np.int32) for target in targets],
        rows=np.arange(len(users)),
    )


def training_of(users: list[int], items: list[int], num_items: int, validation: Queries | None) -> TrainingData:
    names = np.array([f"u{user:02}" for user in range(max(users) + 1)])
    return TrainingData(names, np.array(users, np.int32), np.array(items, np.int32), num_items, {}, validation)


def stopped(found_at: list[int], epochs: int, every: int, patience: int) -> BestEpoch[int]:
    """Train a model whose only target is at place `found_at[epoch]` of four items behind an epoch."""
    training = training_of([0], [0], 4, requests(["u00"], [[]], [[3]]))
    done = 0

    def train_epoch() -> None:
        nonlocal done
        done += 1

    def scorer() -> Any:
        scores = np.array([[4.0, 3.0, 2.0, 1.0]], np.float32)
        scores[0, 3] = 5.5 - found_at[done - 1]
        return lambda queries: scores

    params = {"epochs": epochs, "every": every, "patience": patience}
    return train_to_best_epoch(training, params, 0, train_epoch=train_epoch, scorer=scorer, state=lambda: done)


@pytest.mark.parametrize(
    ("epochs", "every", "patience", "best", "trained"),
    [
        (10, 1, 2, 3, 5),  # two epochs without a new best behind the third
        (10, 1, 4, 7, 10),  # with more patience the seventh is reached, and then the end
        (4, 1, 5, 3, 4),  # the end comes first
        (10, 2, 2, 2, 6),  # epochs 2, 4, 6 are looked at; an equal value is no new best
        (5, 3, 9, 3, 5),  # the last epoch is always looked at
    ],
)
def test_training_ends_when_validation_no_longer_rises(
    epochs: int, every: int, patience: int, best: int, trained: int
) -> None:
    found = stopped([4, 3, 2, 3, 3, 3, 1, 3, 3, 3], epochs, every, patience)
    assert (found.epoch, found.trained, found.state) == (best, trained, best)


def test_stopping_early_needs_requests_and_an_epoch() -> None:
    with pytest.raises(ValueError, match="no epoch to choose from"):
        stopped([1], epochs=0, every=1, patience=1)
    training = training_of([0], [0], 4, None)
    with pytest.raises(ValueError, match="needs validation requests"):
        train_to_best_epoch(
            training, {}, 0, train_epoch=lambda: None, scorer=lambda: lambda queries: np.zeros(1), state=lambda: 0
        )


def test_of_many_validation_requests_the_same_part_is_looked_at() -> None:
    many = requests([f"u{row:04}" for row in range(4001)], [[]] * 4001, [[0]] * 4001)
    part = stopping_requests(many, 1)
    assert len(part) == 4000
    assert part.rows.tolist() == sorted(part.rows.tolist()) == stopping_requests(many, 1).rows.tolist()
    assert part.rows.tolist() != stopping_requests(many, 2).rows.tolist()
    assert stopping_requests(part, 1) is part


MATRIX = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0]], np.float32))


def test_an_edge_is_divided_by_the_roots_of_both_degrees() -> None:
    graph = user_item_graph(MATRIX).toarray()
    half = 0.5**0.5
    expected = np.zeros((5, 5))
    expected[:2, 2:] = [[1 / 2, half, 0], [half, 0, 0]]
    np.testing.assert_allclose(graph, expected + expected.T, rtol=1e-6)


def test_edges_between_popular_nodes_go_first() -> None:
    # User 0 met all of 30 items and item 0 was met by all of 30 users: their edge weighs 1/30, the others 1/sqrt(30).
    star = np.zeros((30, 30), np.float32)
    star[0] = star[:, 0] = 1.0
    matrix, rng = sp.csr_matrix(star), np.random.default_rng(0)
    kept = [drop_edges(matrix, 0.5, rng) for _ in range(400)]
    assert {graph.nnz for graph in kept} == {30}  # of 59
    # 30 draws without replacement, of weights 58 / sqrt(30) and 1/30: the expected share of the light edge is 0.12.
    assert np.mean([graph[0, 0] for graph in kept]) == pytest.approx(0.12, abs=0.05)
    assert np.mean([graph[0, 5] for graph in kept]) == pytest.approx(0.51, abs=0.08)
    assert (drop_edges(matrix, 0.0, rng) != matrix).nnz == 0


def test_items_alike_are_linked_and_items_without_content_are_not() -> None:
    content = sp.csr_matrix(np.array([[1, 0], [0.8, 0.6], [0, 1], [0, 0]], np.float32))
    # Two nearest each, oneself among them: 0 -> 1 (0.8), 1 -> 0 (0.8 before 0.6), 2 -> 1 (0.6).
    expected = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(alike_graph(content, 2).toarray(), expected, rtol=1e-6)
    assert alike_graph(content, 10).nnz == 9  # there are only three to be linked with


def test_negatives_are_items_that_the_user_has_not_met() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.array([0, 1], np.int64), 500)
    drawn = draw_negatives(event_keys(MATRIX), users, 3, np.arange(3), rng)
    assert set(drawn[:500].tolist()) == {2}
    assert np.bincount(drawn[500:], minlength=3)[1:] / 500 == pytest.approx([0.5, 0.5], abs=0.1)
    assert set(drawn[500:].tolist()) == {1, 2}
    # Whoever has met all candidates gets one of them rather than an endless search.
    assert draw_negatives(event_keys(MATRIX), np.array([0]), 3, np.array([0, 1]), rng)[0] in (0, 1)


def test_users_are_folded_in_as_nodes_with_the_edges_of_their_history() -> None:
    training = training_of([0, 0, 1], [0, 1, 2], 3, None)
    embeddings = Embeddings(
        users=np.array([[1.0], [2.0]], np.float32),
        items=np.array([[1.0], [10.0], [100.0]], np.float32),
        folding=np.array([[0.1], [0.2], [0.4]], np.float32),
        head=(np.array([[3.0]], np.float32), np.array([0.5], np.float32)),
    )
    queries = requests(["u01", "new", "new"], [[2], [0, 1, 2, 2], []], [[0]] * 3)
    learned = make_scorer(training, embeddings, {"users": "learned"})(queries)
    folded = 3 * 0.7 / 3**0.5 + 0.5  # three different items
    np.testing.assert_allclose(learned[:, 0], [2.0, folded, 0.5], rtol=1e-6)
    np.testing.assert_allclose(learned[:, 2], 100 * learned[:, 0], rtol=1e-6)
    newest = make_scorer(training, embeddings, {"users": "folded", "last": 2})(queries)
    np.testing.assert_allclose(newest[:, 0], [3 * 0.4 + 0.5, 3 * 0.4 + 0.5, 0.5], rtol=1e-6)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty users of two groups, each with ten items of its own that look alike; item 19 was never met."""
    if PEERS_PYTHON not in os.environ:
        pytest.skip(f"{PEERS_PYTHON} names no interpreter with benchmarks/requirements-peers.txt")
    folder, rng = tmp_path_factory.mktemp("exchange"), np.random.default_rng(0)
    events: list[tuple[int, int]] = []
    held: dict[str, list[tuple[int, list[int], int]]] = {"valid": [], "test": []}
    for user in range(40):
        own = 10 * (user % 2) + rng.permutation(9 + (user % 2 == 0))
        events += [(user, int(item)) for item in own[:5]]
        held["valid"].append((user, own[:5].tolist(), int(own[5])))
        held["test"].append((user, own[:6].tolist(), int(own[6])))
    looks = sp.csr_matrix(np.repeat(np.eye(2, dtype=np.float32), 10, axis=0))
    names = np.array([f"u{user:02}" for user in range(40)])
    users, items = (np.array(part, np.int32) for part in zip(*events, strict=True))
    save_training(folder / "training.npz", TrainingData(names, users, items, 20, {"looks": looks}))
    for part, rows in held.items():
        made = requests([f"u{row[0]:02}" for row in rows], [row[1] for row in rows], [[row[2]] for row in rows])
        save_queries(folder / f"{part}.npz", made)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightgcn", "bm3", "freedom", "sasrec"])
def test_a_network_learns_who_likes_what_and_says_its_epochs(name: str, exchange: Path, tmp_path: Path) -> None:
    [peer] = peers_named([name])
    params: Mapping[str, Any] = dict(peer.points({"looks": "vector"})[0]) | {
        "factors": 8,
        "batch": 64,
        "learning_rate": 0.02,
        "epochs": 40,
        "every": 5,
        "patience": 8,
    }
    outputs = []
    for attempt in range(2):
        out = tmp_path / f"{attempt}.npz"
        command = [
            os.environ[PEERS_PYTHON], "-m", "benchmarks.quality.peers.worker", "--exchange", str(exchange), "--peer", name,
            "--params", json.dumps(params), "--scoring", json.dumps([dict(scoring) for scoring in peer.scoring]),
            "--seed", "0", "--depth", "5", "--out", str(out),
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "of at most 40: validation ndcg@20" in done.stdout
        outputs.append(dict(np.load(out)))
    best, trained = outputs[0]["epochs"].tolist()
    assert 5 <= best <= trained <= 40
    for lists in outputs[0]["test"]:
        # Five items and one more are excluded; the first three of the rest are of the user's own group.
        groups = lists[:, :3] // 10
        assert (groups == np.arange(40)[:, None] % 2).mean() > 0.9
    np.testing.assert_array_equal(outputs[0]["test"], outputs[1]["test"])  # the seed decides everything
