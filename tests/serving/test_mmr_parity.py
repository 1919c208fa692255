"""Maximal marginal relevance in numpy (the app) and in the graph (the export) select the same items."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving.app.ranking.reranking import maximal_marginal_relevance
from serving.graph.selection import diversify


def in_graph(scores: np.ndarray, embeddings: np.ndarray, diversity: float, k: int) -> list[int]:
    index = tf.range(len(scores))[None]
    _, selected = diversify(
        tf.constant(scores[None], tf.float32),
        index,
        tf.constant(embeddings, tf.float32),
        tf.constant([diversity], tf.float32),
        tf.constant(k),
    )
    return selected.numpy()[0].tolist()


@pytest.mark.parametrize("diversity", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_both_select_the_same_items_in_the_same_order(seed: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(40, 6))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = np.sort(rng.normal(size=40) * 3)[::-1].copy()
    expected = maximal_marginal_relevance(scores, embeddings, diversity, 15).tolist()
    assert in_graph(scores, embeddings, diversity, 15) == expected
    assert (expected == list(range(15))) == (diversity == 0)


def test_equal_scores_are_selected_by_distance_alone() -> None:
    # Two directions and their mean: after the first item the farthest one comes next.
    embeddings = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    scores = np.ones(4)
    assert maximal_marginal_relevance(scores, embeddings, 0.5, 3).tolist() == [0, 3, 2]
    assert in_graph(scores, embeddings, 0.5, 3) == [0, 3, 2]


def test_all_candidates_are_selected_where_k_is_their_number() -> None:
    rng = np.random.default_rng(7)
    embeddings = np.eye(5)[rng.permutation(5)]
    scores = np.array([5.0, 4.0, 2.0, 1.0, 0.5])
    expected = maximal_marginal_relevance(scores, embeddings, 0.4, 5).tolist()
    assert sorted(expected) == list(range(5))
    assert in_graph(scores, embeddings, 0.4, 5) == expected
