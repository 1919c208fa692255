"""Fusion: weights sum to 1 over the present modalities, and absent ones change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from towers.fusion import FUSIONS, masked_softmax

PRESENCE = np.array([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 3, 8)).astype(np.float32)


def test_masked_softmax_by_hand() -> None:
    # exp(ln 3) : exp(0) = 3 : 1 among the two present ones.
    logits = tf.constant([[np.log(3.0), 100.0, 0.0]], tf.float32)
    result = masked_softmax(logits, tf.constant([[True, False, True]])).numpy()
    np.testing.assert_allclose(result, [[0.75, 0.0, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_weights_sum_to_one_over_the_present(name: str) -> None:
    _, weights = FUSIONS[name](8)(tf.constant(values()), tf.constant(PRESENCE))
    weights = weights.numpy()
    assert weights.shape == (4, 3)
    assert (weights[~PRESENCE] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 1, 0], atol=1e-6)
    assert (weights >= 0).all()


@pytest.mark.parametrize("name", FUSIONS)
def test_values_of_absent_modalities_change_nothing(name: str) -> None:
    fusion = FUSIONS[name](8)
    first = values()
    second = np.where(PRESENCE[..., None], first, np.float32(np.nan))
    fused, weights = fusion(tf.constant(first), tf.constant(PRESENCE))
    fused_nan, weights_nan = fusion(tf.constant(second), tf.constant(PRESENCE))
    np.testing.assert_array_equal(fused.numpy(), fused_nan.numpy())
    np.testing.assert_array_equal(weights.numpy(), weights_nan.numpy())


@pytest.mark.parametrize("name", FUSIONS)
def test_an_item_without_any_modality_is_the_zero_vector(name: str) -> None:
    fused, _ = FUSIONS[name](8)(tf.constant(values()), tf.constant(PRESENCE))
    np.testing.assert_array_equal(fused.numpy()[3], np.zeros(8))
    assert np.abs(fused.numpy()[:3]).max() > 0


@pytest.mark.parametrize("name", FUSIONS)
def test_gradients_are_finite_even_where_nothing_is_present(name: str) -> None:
    fusion = FUSIONS[name](8)
    inputs = tf.Variable(values())
    with tf.GradientTape() as tape:
        fused, _ = fusion(inputs, tf.constant(PRESENCE))
        loss = tf.reduce_sum(tf.square(fused))
    gradients = tape.gradient(loss, [inputs, *fusion.trainable_variables])
    for gradient in gradients:
        assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
    assert (gradients[0].numpy()[~PRESENCE] == 0).all()
