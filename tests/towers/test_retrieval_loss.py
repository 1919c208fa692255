"""Retrieval losses, derived by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from towers.retrieval import RetrievalLoss, full_softmax


def test_full_softmax_by_hand() -> None:
    # Row 0: softmax of (ln 1, ln 2, ln 1) = (1/4, 1/2, 1/4), target 1: -ln(1/2). Row 1: uniform, target 2: ln 3, twice.
    scores = tf.constant([[0.0, np.log(2.0), 0.0], [5.0, 5.0, 5.0], [1.0, 9.0, 4.0]], tf.float32)
    loss = full_softmax(scores, tf.constant([1, 2, 0]), tf.constant([1.0, 2.0, 0.0]), 0.0)
    assert float(loss) == pytest.approx(np.log(2) + 2 * np.log(3), rel=1e-6)


def test_label_smoothing_is_cross_entropy_with_the_smoothed_distribution() -> None:
    scores = np.array([[0.3, -1.0, 2.0, 0.0]], np.float32)
    smoothed = np.array([0.025, 0.025, 0.925, 0.025])  # 0.9 on the target and 0.1 spread over all four
    log_p = scores[0] - np.log(np.exp(scores[0]).sum())
    loss = full_softmax(tf.constant(scores), tf.constant([2]), tf.constant([1.0]), 0.1)
    assert float(loss) == pytest.approx(-(smoothed * log_p).sum(), rel=1e-5)


def test_the_softmax_runs_over_candidates_alone() -> None:
    # Without the middle column: softmax of (ln 3, 0) = (3/4, 1/4); smoothing 0.2 puts (0.9, 0.1) on the two.
    scores = tf.constant([[np.log(3.0), 50.0, 0.0]], tf.float32)
    candidates = tf.constant([True, False, True])
    plain = full_softmax(scores, tf.constant([0]), tf.constant([1.0]), 0.0, candidates)
    assert float(plain) == pytest.approx(-np.log(0.75), rel=1e-5)
    smooth = full_softmax(scores, tf.constant([0]), tf.constant([1.0]), 0.2, candidates)
    assert float(smooth) == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25), rel=1e-5)


def by_hand(
    query: np.ndarray, item: np.ndarray, index: np.ndarray, q: np.ndarray, weight: np.ndarray, t: float
) -> float:
    total = 0.0
    for row in range(len(query)):
        logits = []
        for column in range(len(item)):
            hit = index[column] == index[row]
            if (hit and column != row) or (weight[column] == 0 and column != row):
                continue
            logits.append(query[row] @ item[column] / t - np.log(q[column]))
        own = query[row] @ item[row] / t - np.log(q[row])
        total += weight[row] * (np.log(np.exp(logits).sum()) - own)
    return total


def test_in_batch_softmax_has_logq_no_accidental_hits_and_no_padding_among_its_candidates() -> None:
    rng = np.random.default_rng(3)
    query, table = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(4, 4)).astype(np.float32)
    index = np.array([0, 1, 0, 3, 2], np.int32)  # positions 0 and 2 share an item; position 4 is padding
    probability = np.array([0.5, 0.2, 0.2, 0.1], np.float32)[index]
    weight = np.array([1, 1, 1, 1, 0], np.float32)
    loss = RetrievalLoss("in_batch", 0.7).in_batch(
        *(tf.constant(value) for value in (query, table[index], index, probability, weight))
    )
    expected = by_hand(query, table[index], index, probability, weight, 0.7)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_an_explicit_negative_costs_what_its_probability_says_and_is_pushed_down_by_it() -> None:
    # Softmax of (ln 1, ln 2, ln 1) = (1/4, 1/2, 1/4). Item 1 disliked with weight 3: -3 ln(1 - 1/2). By its own logit the
    # derivative is 3 p = 3/2; by the others' -3 p p_j / (1 - p) = -3/4, so these go up.
    logits = tf.Variable([[0.0, np.log(2.0), 0.0]], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = full_softmax(logits, tf.constant([1]), tf.constant([-3.0]), 0.0, negatives=True)
    assert float(loss) == pytest.approx(3 * np.log(2), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits).numpy(), [[-0.75, 1.5, -0.75]], rtol=1e-5)


def test_weights_of_positives_and_negatives_add_up_row_by_row() -> None:
    # Rows: bought (3), viewed (0.2), disliked (-1), of no weight (0); all over the probabilities (1/4, 1/2, 1/4).
    logits = tf.tile(tf.constant([[0.0, np.log(2.0), 0.0]], tf.float32), [4, 1])
    weight = tf.constant([3.0, 0.2, -1.0, 0.0])
    loss = full_softmax(logits, tf.constant([0, 1, 2, 1]), weight, 0.0, negatives=True)
    assert float(loss) == pytest.approx(3 * np.log(4) + 0.2 * np.log(2) - np.log(0.75), rel=1e-5)


def test_label_smoothing_is_for_positives_alone() -> None:
    logits = tf.constant([[0.0, np.log(2.0), 0.0]], tf.float32)
    loss = full_softmax(logits, tf.constant([1]), tf.constant([-1.0]), 0.3, negatives=True)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize("certain", [20.0, 200.0])
def test_a_negative_that_is_certain_to_be_recommended_has_a_finite_loss_and_gradient(certain: float) -> None:
    logits = tf.Variable([[certain, 0.0]])
    with tf.GradientTape() as tape:
        loss = full_softmax(logits, tf.constant([0]), tf.constant([-1.0]), 0.0, negatives=True)
    assert np.isfinite(float(loss))
    assert float(loss) > 13
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] >= 0


def test_in_batch_negatives_meet_the_positives_of_the_batch_and_are_no_candidates_of_others() -> None:
    rng = np.random.default_rng(4)
    query, table = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(4, 4)).astype(np.float32)
    index = np.array([0, 1, 0, 3, 2], np.int32)  # position 2 dislikes what position 0 took; position 4 is padding
    probability = np.array([0.5, 0.2, 0.2, 0.1], np.float32)[index]
    weight = np.array([3.0, 0.2, -2.0, -1.0, 0.0], np.float32)
    loss = RetrievalLoss("in_batch", 0.7, negatives=True).in_batch(
        *(tf.constant(value) for value in (query, table[index], index, probability, weight))
    )
    expected = 0.0
    for row in range(4):
        candidates = [column for column in (0, 1) if column != row and index[column] != index[row]] + [row]
        logits = [query[row] @ table[index[column]] / 0.7 - np.log(probability[column]) for column in candidates]
        p = np.exp(logits[-1]) / np.exp(logits).sum()
        expected += weight[row] * -np.log(p) if weight[row] > 0 else -weight[row] * -np.log(1 - p)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_a_layer_with_negatives_survives_its_configuration() -> None:
    layer = RetrievalLoss("full", negatives=True)
    assert RetrievalLoss.from_config(layer.get_config()).negatives
