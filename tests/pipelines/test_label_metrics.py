"""Calibration by hand: Platt scaling with a closed form, the calibration error of a few bins, the head's variables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from layer_cases import LABELS

from pipelines.evaluation.label_metrics import (
    IDENTITY,
    auc,
    brier_score,
    expected_calibration_error,
    log_loss,
    platt_scaling,
    reliability_curve,
    rmse,
)
from towers.ranking import RankingHead


def test_platt_at_two_logits_has_a_closed_form() -> None:
    # Logit -1: 2 of 10 are ones; logit +1: 6 of 10. Platt's targets: a one counts 9/10, a zero 1/14.
    labels = [1] * 2 + [0] * 8 + [1] * 6 + [0] * 4
    logits = [-1.0] * 10 + [1.0] * 10
    low = (2 * 9 / 10 + 8 / 14) / 10
    high = (6 * 9 / 10 + 4 / 14) / 10
    # Two parameters for two points: the fit goes through both, slope - offset and slope + offset are their logits.
    lower, upper = np.log(low / (1 - low)), np.log(high / (1 - high))
    slope, offset = platt_scaling(labels, logits)
    assert slope == pytest.approx((upper - lower) / 2, abs=1e-5)
    assert offset == pytest.approx((upper + lower) / 2, abs=1e-5)


def test_platt_takes_back_a_scale_and_a_shift() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=20_000)
    labels = (rng.random(len(true)) < 1 / (1 + np.exp(-true))).astype(float)
    slope, offset = platt_scaling(labels, 3 * true + 2)
    assert slope == pytest.approx(1 / 3, rel=0.05)
    assert offset == pytest.approx(-2 / 3, abs=0.05)


def test_unknown_labels_do_not_count_and_one_class_leaves_everything_as_it_is() -> None:
    labels, logits = np.array([1, 0, 1, 0, 1.0]), np.array([2, -1, 1, 0.5, -0.5])
    with_unknown = platt_scaling(np.append(labels, np.nan), np.append(logits, 50.0))
    assert with_unknown == pytest.approx(platt_scaling(labels, logits), rel=1e-6)
    assert platt_scaling([1, 1, np.nan], [0.3, 2.0, -1.0]) == IDENTITY
    assert platt_scaling([], []) == IDENTITY


def test_a_head_that_has_it_backwards_is_made_unsure_but_not_turned_around() -> None:
    slope, _ = platt_scaling([0] * 50 + [1] * 50, [1.0] * 50 + [-1.0] * 50)
    assert 0 < slope < 0.01


def test_certain_separation_does_not_become_certainty() -> None:
    slope, offset = platt_scaling([0] * 8 + [1] * 8, [-1.0] * 8 + [1.0] * 8)
    # The targets are 1/10 and 9/10: never more than that is said.
    assert 1 / (1 + np.exp(-(slope + offset))) == pytest.approx(0.9, abs=1e-4)


def test_reliability_and_its_error_by_hand() -> None:
    said = [0.1, 0.3, 0.3, 0.75, 0.95, 1.0, 0.5]
    labels = [0, 1, 0, 1, 1, 0, np.nan]
    found = reliability_curve(labels, said, 4)
    # Bins [0, .25), [.25, .5), [.5, .75), [.75, 1]: .1 | .3 .3 | nothing known | .75 .95 1.
    assert found.count.tolist() == [1, 2, 0, 3]
    np.testing.assert_allclose(found.predicted, [0.1, 0.3, np.nan, 0.9])
    np.testing.assert_allclose(found.observed, [0, 0.5, np.nan, 2 / 3])
    expected = (1 * 0.1 + 2 * 0.2 + 3 * (0.9 - 2 / 3)) / 6
    assert expected_calibration_error(labels, said, 4) == pytest.approx(expected)
    squares = [0.01, 0.49, 0.09, 0.0625, 0.0025, 1.0]
    assert brier_score(labels, said) == pytest.approx(np.mean(squares))


def test_nothing_known_has_no_error() -> None:
    assert np.isnan(expected_calibration_error([np.nan], [0.4], 5))
    assert np.isnan(brier_score([np.nan], [0.4]))


def test_auc_counts_a_tie_as_one_half() -> None:
    # Positives .9 and .5, negatives .5 and .1: won, won, tied, won = 3.5 of 4.
    assert auc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)
    assert auc([1, 0, 0], [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert auc([1, 0], [0.1, 0.9]) == 0.0


def test_unknown_labels_are_ignored() -> None:
    assert auc([1, np.nan, 0, np.nan], [0.2, 0.9, 0.1, 0.0]) == 1.0
    assert log_loss([1, np.nan], [0.5, 0.001]) == pytest.approx(math.log(2))
    assert rmse([1, np.nan, 4], [2, 9, 2]) == pytest.approx(math.sqrt(2.5))  # errors 1 and 2


def test_auc_of_one_class_is_unknown() -> None:
    assert math.isnan(auc([1, 1, np.nan], [0.1, 0.2, 0.3]))
    assert math.isnan(auc([0], [0.1]))


def test_logloss_by_hand_and_without_infinity() -> None:
    # -(ln 1/2 + ln 1/4) / 2 = 1.5 ln 2
    assert log_loss([1, 0], [0.5, 0.75]) == pytest.approx(1.5 * math.log(2))
    assert log_loss([1, 0], [0.0, 1.0]) == pytest.approx(7 * math.log(10))  # clipped at 1e-7
    assert log_loss([1, 0], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-6)


def test_nothing_known_is_nan_and_shapes_must_agree() -> None:
    assert math.isnan(log_loss([np.nan], [0.5]))
    assert math.isnan(rmse([], []))
    with pytest.raises(ValueError, match="differ in shape"):
        rmse([1, 2], [1])


@pytest.fixture
def head() -> RankingHead:
    layer = RankingHead(LABELS, num_cross_layers=1, hidden_dim=8, dropout=0.0)
    layer(tf.zeros([1, 4]), tf.zeros([1, 4]))
    return layer


def test_the_head_says_calibrated_probabilities_and_keeps_losses_and_ratings(head: RankingHead) -> None:
    query, item = tf.random.stateless_normal([5, 4], [1, 2]), tf.random.stateless_normal([5, 4], [3, 4])
    labels = tf.constant([[1.0, 3.0]] * 5)
    logits = head.logits(query, item, training=False)["like"].numpy()
    before = head(query, item)
    loss = head.losses_of(query, item, labels, tf.ones(5), training=False)["like"]
    np.testing.assert_allclose(before["like"], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    head.calibrate({"like": (0.5, -1.0)})
    after = head(query, item)
    np.testing.assert_allclose(after["like"], 1 / (1 + np.exp(-(0.5 * logits - 1.0))), rtol=1e-5)
    np.testing.assert_array_equal(after["rating"], before["rating"])
    assert head.losses_of(query, item, labels, tf.ones(5), training=False)["like"] == loss
    head.calibrate({})
    np.testing.assert_array_equal(head(query, item)["like"], before["like"])


def test_calibration_is_no_trainable_weight_and_only_for_binary_labels(head: RankingHead) -> None:
    trainable = {variable.name for variable in head.trainable_variables}
    assert head.slope.name not in trainable
    assert head.offset.name not in trainable
    with pytest.raises(ValueError, match="rating: no binary label; there are like"):
        head.calibrate({"rating": (1.0, 0.0)})
