"""Random walks between items over users and content, checked against probabilities worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.item_item import random_walk as module
from pipelines.item_item.random_walk import content_groups, random_walk

# User 0 took items 0 and 1, user 1 items 1 and 2; nobody took item 3.
TRAIN = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 1, 1, 0]], np.float32))
# The content of items 2 and 3 is the same, that of 0 and 1 like no other.
CONTENT = sp.csr_matrix(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32))


def walked(hops: int, features: dict[str, sp.csr_matrix] | None = None, **options: Any) -> np.ndarray:
    settings = HybridConfig(walk_hops=hops, neighbours=4, **options)
    return random_walk(TRAIN, features or {}, settings).to_csr(4).toarray() / 4  # probabilities


def test_a_hop_goes_to_a_user_and_on_to_an_item_of_theirs_all_equally_likely() -> None:
    expected = [[0, 1 / 2, 0, 0], [1 / 4, 0, 1 / 4, 0], [0, 1 / 2, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(walked(1), expected, rtol=1e-6)


def test_more_hops_reach_items_that_share_no_user() -> None:
    # From 0: to 0 or 1, each 1/2; from 0 as before, from 1 to 0 and 2 with 1/4 each and to 1 with 1/2.
    expected = [[0, 1 / 2, 1 / 8, 0], [1 / 4, 0, 1 / 4, 0], [1 / 8, 1 / 2, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(walked(2), expected, rtol=1e-6)


def test_content_leads_to_items_without_events_and_from_them() -> None:
    # The groups of 2 and of 3 hold both, each with half a user's weight; item 2 has user 1 besides: 1 / (1 + 1/2 + 1/2).
    walk = walked(1, {"text": CONTENT}, walk_content=0.5, walk_neighbours=1)
    np.testing.assert_allclose(walk[2], [0, 1 / 4, 0, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(walk[3], [0, 0, 1 / 2, 0], rtol=1e-6)
    assert not walked(1, {"text": CONTENT}, walk_content=0.0)[3].any()


def test_disliked_items_are_no_step_of_a_walk() -> None:
    weighted = sp.csr_matrix(np.array([[1, 1, 0, -1], [0, 1, 1, 0]], np.float32))
    settings = HybridConfig(walk_hops=1, neighbours=4)
    np.testing.assert_array_equal(random_walk(weighted, {}, settings).values, random_walk(TRAIN, {}, settings).values)


@pytest.mark.parametrize("dense_from", [0.0, 2.0])
def test_groups_of_content_hold_the_nearest_items_however_it_is_multiplied(
    dense_from: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DENSE", dense_from)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5)).astype(np.float32)
    rows[7] = 0.0  # without content
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    groups = content_groups(sp.csr_matrix(rows), 3).toarray()
    similarity = rows @ rows.T
    for item in set(range(30)) - {7}:
        assert set(np.flatnonzero(groups[item])) == set(np.argsort(-similarity[item])[:4])
    assert not groups[7].any()
    assert not groups[:, 7].any()


def test_a_large_catalogue_keeps_fewer_places_between_hops_and_stays_close(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train = sp.csr_matrix((rng.random((200, 80)) < 0.05).astype(np.float32))
    settings = HybridConfig(walk_hops=3, neighbours=80)
    whole = random_walk(train, {}, settings).to_csr(80).toarray()
    monkeypatch.setattr(module, "_WORK", 80 * 40**2)  # forty places instead of all
    cut = random_walk(train, {}, settings).to_csr(80).toarray()
    first = [np.argsort(-matrix, axis=1)[:, :5] for matrix in (whole, cut)]
    same = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(*first, strict=True)])
    assert same > 0.8
    assert cut.sum() < whole.sum()
