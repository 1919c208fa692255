"""Retrieval losses, derived by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines.training.input_pipeline import sample_candidates, shares_of
from towers.retrieval import over_targets, softmax_loss


def test_full_softmax_by_hand() -> None:
    # Row 0: softmax of (ln 1, ln 2, ln 1) = (1/4, 1/2, 1/4), target 1: -ln(1/2). Row 1: uniform, target 2: ln 3, twice.
    scores = tf.constant([[0.0, np.log(2.0), 0.0], [5.0, 5.0, 5.0], [1.0, 9.0, 4.0]], tf.float32)
    loss = softmax_loss(scores, tf.constant([1, 2, 0]), tf.constant([1.0, 2.0, 0.0]), 0.0)
    assert float(loss) == pytest.approx(np.log(2) + 2 * np.log(3), rel=1e-6)


def test_label_smoothing_is_cross_entropy_with_the_smoothed_distribution() -> None:
    scores = np.array([[0.3, -1.0, 2.0, 0.0]], np.float32)
    smoothed = np.array([0.025, 0.025, 0.925, 0.025])  # 0.9 on the target and 0.1 spread over all four
    log_p = scores[0] - np.log(np.exp(scores[0]).sum())
    loss = softmax_loss(tf.constant(scores), tf.constant([2]), tf.constant([1.0]), 0.1)
    assert float(loss) == pytest.approx(-(smoothed * log_p).sum(), rel=1e-5)


def test_the_softmax_runs_over_candidates_alone() -> None:
    # Without the middle column: softmax of (ln 3, 0) = (3/4, 1/4); smoothing 0.2 puts (0.9, 0.1) on the two.
    scores = tf.constant([[np.log(3.0), 50.0, 0.0]], tf.float32)
    candidates = tf.constant([True, False, True])
    plain = softmax_loss(scores, tf.constant([0]), tf.constant([1.0]), 0.0, candidates=candidates)
    assert float(plain) == pytest.approx(-np.log(0.75), rel=1e-5)
    smooth = softmax_loss(scores, tf.constant([0]), tf.constant([1.0]), 0.2, candidates=candidates)
    assert float(smooth) == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25), rel=1e-5)


def test_of_a_sample_each_candidate_stands_for_what_was_not_drawn_and_the_positive_for_itself() -> None:
    # Scores e^s of 3, 1 and 1; the last two are in the sample with probability 1/2 and 1/4, so Z = 3 + 1 / (1/2) + 1 / (1/4)
    # = 9 where the first is the positive. Where the last is: 3 / 1 + 2 + 1 = 6.
    logits = tf.constant([[np.log(3.0), 0.0, 0.0]] * 2, tf.float32)
    log_sampled = tf.constant(np.log([1.0, 0.5, 0.25]), tf.float32)
    loss = softmax_loss(logits, tf.constant([0, 2]), tf.constant([1.0, 10.0]), log_sampled=log_sampled)
    assert float(loss) == pytest.approx(np.log(9 / 3) + 10 * np.log(6 / 1), rel=1e-5)


def test_the_denominator_of_the_sampled_softmax_is_that_of_the_full_one_on_average() -> None:
    rng = np.random.default_rng(5)
    scores, shares = rng.normal(size=30), rng.dirichlet(np.ones(30))
    counts = np.round(shares * 10_000)
    weights = counts / counts.sum()
    label, estimates = 7, []
    for draw in range(2000):
        events = rng.choice(30, (1, 12), p=weights).astype(np.int32)
        candidates, _, log_sampled = sample_candidates(
            tf.constant(events), tf.ones([1, 12], tf.bool), shares_of(counts), 6, tf.constant([draw, 0], tf.int64)
        )
        kept = candidates.numpy()[candidates.numpy() >= 0]
        others = kept != label
        estimates.append(
            np.exp(scores[label]) + (np.exp(scores[kept]) / np.exp(log_sampled.numpy()[: len(kept)]))[others].sum()
        )
    assert np.mean(estimates) == pytest.approx(np.exp(scores).sum(), rel=0.03)


def test_an_explicit_negative_costs_what_its_probability_says_and_is_pushed_down_by_it() -> None:
    # Softmax of (ln 1, ln 2, ln 1) = (1/4, 1/2, 1/4). Item 1 disliked with weight 3: -3 ln(1 - 1/2). By its own logit the
    # derivative is 3 p = 3/2; by the others' -3 p p_j / (1 - p) = -3/4, so these go up.
    logits = tf.Variable([[0.0, np.log(2.0), 0.0]], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = softmax_loss(logits, tf.constant([1]), tf.constant([-3.0]), 0.0, negatives=True)
    assert float(loss) == pytest.approx(3 * np.log(2), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits).numpy(), [[-0.75, 1.5, -0.75]], rtol=1e-5)


def test_weights_of_positives_and_negatives_add_up_row_by_row() -> None:
    # Rows: bought (3), viewed (0.2), disliked (-1), of no weight (0); all over the probabilities (1/4, 1/2, 1/4).
    logits = tf.tile(tf.constant([[0.0, np.log(2.0), 0.0]], tf.float32), [4, 1])
    weight = tf.constant([3.0, 0.2, -1.0, 0.0])
    loss = softmax_loss(logits, tf.constant([0, 1, 2, 1]), weight, 0.0, negatives=True)
    assert float(loss) == pytest.approx(3 * np.log(4) + 0.2 * np.log(2) - np.log(0.75), rel=1e-5)


def test_label_smoothing_is_for_positives_alone() -> None:
    logits = tf.constant([[0.0, np.log(2.0), 0.0]], tf.float32)
    loss = softmax_loss(logits, tf.constant([1]), tf.constant([-1.0]), 0.3, negatives=True)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize("certain", [20.0, 200.0])
def test_a_negative_that_is_certain_to_be_recommended_has_a_finite_loss_and_gradient(certain: float) -> None:
    logits = tf.Variable([[certain, 0.0]])
    with tf.GradientTape() as tape:
        loss = softmax_loss(logits, tf.constant([0]), tf.constant([-1.0]), 0.0, negatives=True)
    assert np.isfinite(float(loss))
    assert float(loss) > 13
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] >= 0


def test_the_gradient_is_that_of_the_softmax_over_what_is_allowed() -> None:
    # By hand for one row: of (ln 2, 0, 7, 0) the third is excluded and the last is in the sample with probability 1/2, so it
    # counts twice: e^s of 2, 1 and 2, the label's own is 1. p = 2/5, 1/5, 2/5; the derivative is p less 1 for the label.
    logits = tf.Variable([[np.log(2.0), 0.0, 7.0, 0.0]], dtype=tf.float32)
    allowed, log_sampled = (
        tf.constant([[True, False, False, True]]),
        tf.constant([0.0, -3.0, 0.0, np.log(0.5)], tf.float32),
    )
    with tf.GradientTape() as tape:
        loss = softmax_loss(logits, tf.constant([1]), tf.constant([2.0]), candidates=allowed, log_sampled=log_sampled)
    assert float(loss) == pytest.approx(2 * np.log(5), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits).numpy(), [[0.8, -1.6, 0.0, 0.8]], rtol=1e-5)


def test_a_label_without_any_other_candidate_costs_nothing_and_moves_nothing() -> None:
    logits = tf.Variable([[3.0, 100.0]])
    with tf.GradientTape() as tape:
        loss = softmax_loss(logits, tf.constant([0]), tf.constant([1.0]), candidates=tf.constant([True, False]))
    assert float(loss) == 0.0
    np.testing.assert_array_equal(tape.gradient(loss, logits).numpy(), [[0.0, 0.0]])


@pytest.mark.parametrize("share", [1.0, 0.8, 0.5, 0.1])
@pytest.mark.parametrize("jit", [False, True])
def test_positions_without_a_weight_are_left_out_and_none_with_one_however_many_there_are(
    share: float, jit: bool
) -> None:
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(size=(10, 6)), dtype=tf.float32)
    labels, weight = tf.constant(rng.integers(0, 6, 10), tf.int32), tf.constant([0, 1, 0, 0, 2, -1, 0, 1, 1, 0.0])

    @tf.function(jit_compile=jit, autograph=False)
    def of(share: float) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = over_targets(
                lambda weight, logits, labels: softmax_loss(logits, labels, weight, negatives=True),
                weight,
                (logits, labels),
                share,
            )
        return loss, tf.convert_to_tensor(tape.gradient(loss, logits))

    (loss, gradient), (whole, of_whole) = of(share), of(1.0)
    assert float(loss) == pytest.approx(float(whole), rel=1e-6)
    np.testing.assert_allclose(gradient.numpy(), of_whole.numpy(), rtol=1e-5, atol=1e-7)


def test_only_the_share_of_the_positions_is_computed_where_it_holds_all_that_count() -> None:
    sizes = []

    def loss_of(weight: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
        sizes.append(len(taken))
        return tf.reduce_sum(taken)

    values = [tf.constant([5.0, 7.0, 11.0, 13.0])]

    # The ones with a weight first: 7 and 13, and of the others 5, to fill the three places.
    assert float(over_targets(loss_of, tf.constant([0.0, 1.0, 0.0, 1.0]), values, 0.75)) == 25.0
    assert sizes == [3]
