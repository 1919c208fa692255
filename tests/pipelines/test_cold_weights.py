"""How new items are to be scored, learned from known ones that are treated as new: by hand on a few choices."""

from __future__ import annotations

import numpy as np

from pipelines.hybrid.cold_weights import exploration_curve, mixed_choices, simulated_cold
from pipelines.hybrid.likelihood import Choices, FittedWeights


def test_a_share_of_the_known_items_is_drawn_and_never_a_cold_one() -> None:
    is_cold = np.arange(100) < 40
    drawn = simulated_cold(is_cold, 0.25, 3)
    assert drawn.sum() == 15
    assert not (drawn & is_cold).any()
    np.testing.assert_array_equal(drawn, simulated_cold(is_cold, 0.25, 3))
    assert (drawn != simulated_cold(is_cold, 0.25, 4)).any()
    assert not simulated_cold(is_cold, 0.0, 3).any()


def test_only_simulated_items_are_scored_by_content_and_count_as_new() -> None:
    known = Choices(np.array([[[1.0], [2.0], [3.0]]], np.float32), np.array([[False, True, False]]), 0.5)
    by_content = Choices(-known.values, known.is_cold, 0.5)
    mixed = mixed_choices(known, by_content, np.array([[True, False, False]]))
    assert mixed.values.ravel().tolist() == [-1.0, 2.0, 3.0]
    assert mixed.is_cold.tolist() == [[True, True, False]]
    assert mixed.correction == 0.5


def test_the_curve_counts_choices_of_known_and_new_items_among_the_first_twenty() -> None:
    # Twenty other items are scored 1 and known. A new item of score 0.5 was chosen, and in another request a known one of 2;
    # there twenty new items are scored 1.5.
    new_chosen = np.array([0.5, *[1.0] * 20])
    known_chosen = np.array([2.0, *[1.5] * 20])
    values = np.stack([new_chosen, known_chosen])[..., None].astype(np.float32)
    is_cold = np.zeros((2, 21), bool)
    is_cold[0, 0], is_cold[1, 1:] = True, True
    fitted = FittedWeights([1.0], [1.0], 0.0, 1.0)
    curve = exploration_curve(Choices(values, is_cold, 0.0), fitted, (0.0, 0.25, 0.75))
    assert curve == [
        {"explore": 0.0, "known": 1.0, "new": 0.0},
        {"explore": 0.25, "known": 1.0, "new": 0.0},
        {"explore": 0.75, "known": 0.0, "new": 1.0},
    ]


def test_without_choices_of_new_items_there_is_no_curve() -> None:
    values, known = np.ones((2, 3, 1), np.float32), np.zeros((2, 3), bool)
    assert exploration_curve(Choices(values, known, 0.0), FittedWeights([1.0], [1.0], 0.0, 1.0)) == []
