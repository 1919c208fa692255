"""Weights that rank best: NDCG of choices by hand, and when a change of a weight is taken."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.hybrid.likelihood import Choices, FittedWeights
from pipelines.hybrid.ranking_weights import quality_of, rank_best


def test_places_count_as_if_candidates_stood_for_all_items() -> None:
    scores = np.array([[2.0, 1.0, 3.0, -np.inf], [2.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    # One before it; one as good as it, which counts half; three before it. A quarter for being found at all.
    assert quality_of(scores, 0.0) == pytest.approx(0.25 + 1 / np.log2([3, 2.5, 5]))
    # Each stands for ten items: ten, five and thirty before it, and thirty are too many for the first twenty.
    assert quality_of(scores, np.log(10)) == pytest.approx([0.25 + 1 / np.log2(12), 0.25 + 1 / np.log2(7), 0.0])


def choices_of(useful: float, count: int = 400) -> Choices:
    """The first part puts the chosen item among the first ones, as far as it is useful; the second is noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, 200, 2)).astype(np.float32)
    values[:, 0, 0] += useful
    return Choices(values, np.zeros((count, 200), bool), 0.0)


def test_a_part_that_only_spoils_the_first_places_is_dropped() -> None:
    ranked = rank_best(choices_of(3.0), FittedWeights([1.0, 1.0], [1.0, 1.0], 0.0, 5.0))
    assert ranked.weights[1] < 0.2 * ranked.weights[0]
    assert ranked.cold_weights == ranked.weights
    assert ranked.loss == 5.0


def test_weights_stay_where_no_change_is_better_than_chance() -> None:
    noise = Choices(
        np.random.default_rng(1).normal(size=(50, 200, 2)).astype(np.float32), np.zeros((50, 200), bool), 0.0
    )
    fitted = FittedWeights([0.7, 0.3], [0.7, 0.3], 0.0, 1.0)
    assert rank_best(noise, fitted) is fitted


def test_warm_and_cold_weights_of_a_part_change_together_and_the_bias_stays() -> None:
    choices = choices_of(3.0)
    cold = Choices(choices.values, np.arange(200)[None] % 2 == np.zeros((400, 1)), 0.0)
    ranked = rank_best(cold, FittedWeights([1.0, 1.0], [0.5, 2.0], 0.1, 5.0))
    assert ranked.cold_weights == [0.5 * ranked.weights[0], 2.0 * ranked.weights[1]]
    assert ranked.weights[1] < ranked.weights[0]
    assert ranked.bias == 0.1
