"""Every item regressed on its nearest neighbours: what is solved, and for which items."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from pipelines.item_item import neighbour_regression as module
from pipelines.item_item.ease import EaseSettings, ease_weights
from pipelines.item_item.neighbour_regression import neighbour_regression
from pipelines.item_item.neighbours import item_similarities
from tfrecs.errors import DataError

USERS, ITEMS = 200, 30
RNG = np.random.default_rng(2)
TRAIN = sp.csr_matrix(
    (RNG.random((USERS, ITEMS)) < np.linspace(0.5, 0.0, ITEMS)).astype(np.float32)
)  # the last has none
NEAREST = item_similarities(TRAIN, shrinkage=1.0, neighbours=6)


def test_where_all_others_are_neighbours_it_is_ease() -> None:
    train = TRAIN[:, :12]
    everything = sp.csr_matrix(1.0 - np.eye(12))
    weights = neighbour_regression(train, everything, 5.0)
    np.testing.assert_allclose(weights.toarray(), ease_weights(train, EaseSettings(5.0)), rtol=1e-4, atol=1e-7)


def test_a_column_is_the_ridge_regression_on_its_neighbours() -> None:
    weights, dense = neighbour_regression(TRAIN, NEAREST, 5.0).toarray(), TRAIN.toarray()
    expected = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        own = NEAREST[item].indices
        kernel = dense[:, own].T @ dense[:, own] + 5.0 * np.eye(len(own))
        expected[own, item] = np.linalg.solve(kernel, dense[:, own].T @ dense[:, item])
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-7)
    assert not weights[:, -1].any()


@pytest.mark.parametrize("popular", [0, 1, 9, 20])
def test_the_weights_do_not_depend_on_how_many_items_are_popular(popular: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = neighbour_regression(TRAIN, NEAREST, 5.0).toarray()
    monkeypatch.setattr(module, "_POPULAR", popular)
    np.testing.assert_array_equal(neighbour_regression(TRAIN, NEAREST, 5.0).toarray(), whole)


def test_only_the_columns_that_are_asked_for_are_solved() -> None:
    whole = neighbour_regression(TRAIN, NEAREST, 5.0).toarray()
    some = neighbour_regression(TRAIN, NEAREST, 5.0, np.array([3, 17])).toarray()
    np.testing.assert_array_equal(some[:, [3, 17]], whole[:, [3, 17]])
    assert np.count_nonzero(some.any(axis=0)) == 2


def test_without_regularization_it_says_what_to_change() -> None:
    same = sp.csr_matrix(np.ones((1, 3), np.float32))  # three items of the same user
    with pytest.raises(DataError, match=r"hybrid\.regularizations"):
        neighbour_regression(same, sp.csr_matrix(1.0 - np.eye(3)), 0.0)
