"""The weights of the hybrid score, the softness of its parts, and the file they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.hybrid.fit import choose_ease, choose_softness, softened
from pipelines.hybrid.likelihood import Choices, fit_weights
from pipelines.hybrid.validation_choices import has_arrived
from pipelines.hybrid.weights import HybridWeights
from pipelines.item_item.ease import EaseSettings
from pipelines.scoring.requests import Queries
from tfrecs.errors import DataError
from towers.hybrid import BIAS, NEIGHBOURS, POPULARITY, SUCCESSORS, TOWER

SOFTNESS = {NEIGHBOURS: 0.5, SUCCESSORS: 0.1}


def drawn(parts: np.ndarray, logits: np.ndarray, cold: np.ndarray) -> Choices:
    """What was chosen by the softmax of the logits [Q, C] among items with those parts [Q, C, P], cold where `cold` [C]."""
    chance = np.exp(logits)
    cumulative = np.cumsum(chance / chance.sum(1, keepdims=True), axis=1)
    rows, target = np.arange(len(parts)), (np.random.default_rng(1).random(len(parts))[:, None] > cumulative).sum(1)
    values = np.concatenate([parts[rows, target][:, None], parts], axis=1)
    values[rows, target + 1] = np.nan
    return Choices(values, np.concatenate([cold[target][:, None], np.broadcast_to(cold, logits.shape)], axis=1), 0.0)


def parts_of(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 30, size)).astype(np.float32)


def test_maximum_likelihood_finds_the_weights_that_drew_the_targets() -> None:
    parts, truth, none_cold = parts_of(4000, 3), np.array([1.5, 0.0, 0.7]), np.zeros(30, bool)
    choices = drawn(parts, parts @ truth, none_cold)
    learned = fit_weights(choices, 3, separate_cold=False)
    np.testing.assert_allclose(learned.weights, truth, atol=0.06)
    assert learned.cold_weights == learned.weights
    assert learned.bias == 0.0
    first = fit_weights(choices, 1, separate_cold=False)
    assert len(first.weights) == 1
    assert learned.loss < first.loss < np.log(30)
    assert fit_weights(drawn(parts, -parts @ truth, none_cold), 3, separate_cold=False).weights == [0.0, 0.0, 0.0]


def test_cold_items_have_weights_of_their_own_where_choices_tell_them_apart() -> None:
    parts, cold = parts_of(4000, 1), np.arange(30) < 10
    logits = parts[..., 0] * np.where(cold, 0.4, 1.5) + np.where(cold, 1.0, 0.0)
    learned = fit_weights(drawn(parts, logits, cold), 1, separate_cold=True)
    np.testing.assert_allclose(learned.weights, [1.5], atol=0.06)
    np.testing.assert_allclose(learned.cold_weights, [0.4], atol=0.06)
    np.testing.assert_allclose(learned.bias, 1.0, atol=0.1)


def test_without_a_choice_of_a_cold_item_its_weights_are_those_of_warm_ones() -> None:
    parts = parts_of(500, 1)
    learned = fit_weights(drawn(parts, parts[..., 0], np.zeros(30, bool)), 1, separate_cold=True)
    np.testing.assert_allclose(learned.cold_weights, learned.weights, atol=1e-3)
    assert learned.bias == pytest.approx(0.0, abs=1e-3)


def test_who_meets_a_cold_item_first_does_not_say_how_likely_it_is() -> None:
    first = np.array([0, 20, np.iinfo(np.int64).max])  # known, met at 20, never met
    targets = [np.array([item], np.int32) for item in (0, 1, 1, 2)]
    histories = [np.zeros(0, np.int32)] * 4
    times = np.array([5, 20, 21, 30])
    asked = Queries(np.array(["a", "b", "c", "d"]), times, histories, targets, np.arange(4))
    assert has_arrived(asked, first).tolist() == [True, False, True, False]
    unknown = Queries(asked.user_ids, np.zeros(4, np.int64), histories, targets, np.arange(4))
    assert has_arrived(unknown, first).all()


def test_regularization_and_content_are_chosen_one_after_the_other() -> None:
    asked: list[EaseSettings] = []

    def loss(
        ease: EaseSettings,
    ) -> float:  # Least at (100, 30), but at regularization 300 as long as content says nothing.
        asked.append(ease)
        return abs(ease.regularization - (100 if ease.content_weight else 300)) / 100 + abs(ease.content_weight - 30)

    assert choose_ease(loss, (100.0, 300.0), (0.0, 30.0)) == EaseSettings(100.0, 30.0)
    assert set(asked) == {
        EaseSettings(100.0, 0.0),
        EaseSettings(300.0, 0.0),
        EaseSettings(300.0, 30.0),
        EaseSettings(100.0, 30.0),
    }
    assert choose_ease(loss, (100.0, 300.0), (0.0,)) == EaseSettings(300.0, 0.0)


def test_no_ease_model_is_fitted_twice_and_progress_tells_how_many_are_left() -> None:
    asked, told = [], []

    def loss(ease: EaseSettings) -> float:
        asked.append(ease)
        return ease.regularization + ease.content_weight

    choose_ease(loss, (1.0, 2.0, 3.0), (0.0, 5.0), lambda done, total: told.append((done, total)))
    assert len(asked) == len(set(asked)) == 4
    assert told == [(0, 6), (1, 6), (2, 6), (3, 6), (4, 6)]


def test_weights_survive_their_file_and_a_broken_file_is_one_line(tmp_path: Path) -> None:
    weights = HybridWeights(
        100.0,
        {TOWER: 0.9, NEIGHBOURS: 0.1},
        {TOWER: 0.5, BIAS: -1.0},
        [{"parts": [TOWER], "loss": 1.0}],
        30.0,
        SOFTNESS,
    )
    assert HybridWeights.load(tmp_path) is None
    weights.save(tmp_path)
    assert HybridWeights.load(tmp_path) == weights
    former = (
        (tmp_path / "hybrid.json")
        .read_text()
        .replace("cold_weights", "new_weights")
        .replace("content_weight", "content")
    )
    (tmp_path / "hybrid.json").write_text(former)
    assert HybridWeights.load(tmp_path) == weights
    (tmp_path / "hybrid.json").write_text("{")
    with pytest.raises(DataError, match=r"hybrid\.json: cannot be read"):
        HybridWeights.load(tmp_path)


def test_softening_choices_gives_the_parts_of_the_soft_score() -> None:
    raw = np.array([[[1.0, 0.5, 2.0, 3.0], [0.0, np.nan, -1.0, 1.0]]], np.float32)
    choices = Choices(raw, np.zeros((1, 2), bool), 0.0)
    soft = softened(choices, [TOWER, NEIGHBOURS, SUCCESSORS, POPULARITY], SOFTNESS).values
    np.testing.assert_array_equal(soft[..., [0, 3]], raw[..., [0, 3]])
    np.testing.assert_allclose(soft[0, 0, 1:3], [np.arcsinh(1.0), np.arcsinh(20.0)], rtol=1e-6)
    assert np.isnan(soft[0, 1, 1])
    assert soft[0, 1, 2] == pytest.approx(-np.arcsinh(10.0), rel=1e-6)


def test_the_softness_that_drew_the_targets_is_found() -> None:
    parts, none_cold = np.abs(parts_of(4000, 2)), np.zeros(30, bool)
    logits = 0.5 * parts[..., 0] + np.arcsinh(parts[..., 1] / 0.1)
    choices = drawn(parts, logits, none_cold)
    assert choose_softness(choices, [TOWER, NEIGHBOURS], (0.01, 0.1, 1.0)) == {NEIGHBOURS: 0.1}
