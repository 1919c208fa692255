"""Top entries of sparse rows and products: equal to what dense rows and a full sort give, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.item_item import sparse_top
from pipelines.item_item.neighbours import (
    co_occurrences,
    interaction_matrix,
    item_similarities,
    successor_similarities,
)
from pipelines.item_item.sparse_top import product_work, row_blocks, top_links
from pipelines.item_item.top_k import tie_order, top_k

USERS, ITEMS, EVENTS, K = 60, 47, 900, 6
RNG = np.random.default_rng(5)
# Few different counts, so that most rows are cut within a tie; items 45 and 46 have no event.
LOG = np.sort(RNG.integers(0, USERS, EVENTS)), RNG.integers(0, 45, EVENTS)
TRAIN = interaction_matrix(*LOG, num_users=USERS, num_items=ITEMS)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_top_links_are_the_largest_values(count: int, seed: int) -> None:
    matrix = sp.random(count, count, 0.5, random_state=seed, dtype=np.float32, format="csr")
    np.testing.assert_array_equal(top_links(matrix, count).to_csr(count).toarray(), matrix.toarray())
    np.testing.assert_array_equal(top_links(matrix, 1).to_csr(count).toarray().max(1), matrix.toarray().max(1))


def test_the_largest_absolute_values_come_first_and_of_equal_ones_the_first_column() -> None:
    matrix = sp.csr_matrix(np.array([[1, -3, 3, 0, 2], [0, 0, 0, 0, 0], [0, 0, 0, 5, 0]], np.float32))
    links = top_links(matrix, 3)
    assert links.columns.tolist() == [[1, 2, 4], [0, 0, 0], [3, 0, 0]]
    assert links.values.tolist() == [[-3, 3, 2], [0, 0, 0], [5, 0, 0]]
    assert top_links(matrix, 1, ties=np.array([4, 3, 2, 1, 0])).columns.tolist() == [[2], [0], [3]]


@pytest.fixture(params=[1 << 22, 100])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole in one block, and a few items a block."""
    monkeypatch.setattr(sparse_top, "_BLOCK_ENTRIES", request.param)


@pytest.mark.usefixtures("_blocks")
def test_item_knn_is_to_the_bit_that_of_dense_rows_with_the_ties_of_ranking() -> None:
    dots = (TRAIN.T.astype(np.float64) @ TRAIN).toarray()
    norms = np.sqrt(dots.diagonal())
    dense = (dots / (norms[:, None] * norms + 2.0)).astype(np.float32)
    np.fill_diagonal(dense, 0.0)
    nearest = top_k(np.where(dense > 0, dense, -np.inf), K, tie_order(ITEMS))
    expected = np.zeros_like(dense)
    row, rank = np.nonzero(nearest >= 0)
    expected[row, nearest[row, rank]] = dense[row, nearest[row, rank]]
    np.testing.assert_array_equal(item_similarities(TRAIN, shrinkage=2.0, neighbours=K).toarray(), expected)


@pytest.mark.usefixtures("_blocks")
def test_co_occurrences_are_those_of_dense_rows_with_ties_by_position() -> None:
    counts = (TRAIN.T @ TRAIN).toarray()
    np.fill_diagonal(counts, 0.0)
    best = np.argsort(-counts, axis=1, kind="stable")[:, :K]
    links = co_occurrences(TRAIN, K)
    np.testing.assert_array_equal(links.values, np.take_along_axis(counts, best, axis=1))
    np.testing.assert_array_equal(links.columns[links.values > 0], best[links.values > 0])


@pytest.mark.usefixtures("_blocks")
def test_successors_are_those_of_every_pair_counted_one_by_one() -> None:
    users, items = LOG
    counts = np.zeros((ITEMS, ITEMS))
    for first in range(EVENTS):
        for second in range(first + 1, min(first + 4, EVENTS)):
            if users[first] == users[second]:
                counts[items[first], items[second]] += 1 / (second - first)
    dense = counts / (np.sqrt(np.outer(counts.sum(axis=1), counts.sum(axis=0))) + 1.0)
    np.fill_diagonal(dense, 0.0)
    whole = successor_similarities(users, items, ITEMS, window=3, shrinkage=1.0, neighbours=ITEMS)
    np.testing.assert_allclose(whole.toarray(), dense, rtol=1e-6)
    few = successor_similarities(users, items, ITEMS, window=3, shrinkage=1.0, neighbours=K)
    expected = top_links(sp.csr_matrix(dense), K).to_csr(ITEMS)
    np.testing.assert_allclose(few.toarray(), expected.toarray(), rtol=1e-6)


def test_the_work_of_a_product_is_its_multiplications() -> None:
    left = sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]]))
    right = sp.csr_matrix(np.array([[1, 1], [1, 0], [0, 0]]))
    assert product_work(left, right).tolist() == [3, 0, 0]


def test_blocks_hold_what_fits_and_a_larger_row_is_alone() -> None:
    assert list(row_blocks(np.array([0.5, 0.5, 0.25, 3.0, 0.0, 0.75]))) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(row_blocks(np.zeros(0))) == []
