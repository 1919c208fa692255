"""One training step: under XLA, on two replicas, with a cache, with each softmax."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import tensorflow as tf
from small_model import assert_same_weights, sgd_step, weights

from pipelines.model.model_factory import choose_softmax
from towers.optimizer import ScaledAdamW

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("softmax", ["in_batch"])  # the full one: see test_text_queries.py
def test_a_step_compiled_by_xla_is_the_same_step(softmax: str) -> None:
    settings = small_model.config(retrieval={"softmax": softmax})
    plain, compiled = small_model.model(settings), small_model.model(settings)
    batch = small_model.batch(4, 6)
    assert sgd_step(plain, batch) == pytest.approx(sgd_step(compiled, batch, jit=True), rel=1e-4)
    assert_same_weights(plain, compiled, 1e-4)


def test_another_backbone_of_keras_nlp_trains_through_its_adapter() -> None:
    model = small_model.model(small_model.config(text={"backbone": "distil_bert"}))
    before = dict(weights(model))
    sgd_step(model, small_model.batch(4, 6), jit=True)
    changed = {name for name, value in weights(model) if not np.array_equal(value, before[name])}
    assert any("token_and_position_embedding" in name for name in changed)
    assert any("transformer_layer_0" in name for name in changed)


def test_two_replicas_and_one_with_the_same_global_batch_end_at_the_same_weights(
    two_replicas: tf.distribute.Strategy,
) -> None:
    settings = small_model.config()
    batch = small_model.batch(8, 8)
    single = small_model.model(settings)
    before = weights(single)
    loss = sgd_step(single, batch)

    with two_replicas.scope():
        double = small_model.model(settings)
        double.compile(optimizer=tf.keras.optimizers.SGD(0.1))
    halves = [small_model.half(batch, part) for part in (0, 1)]

    def elements() -> tf.data.Dataset:
        first, second = (tf.data.Dataset.from_tensors(part) for part in halves)
        return first.concatenate(second)

    dataset = two_replicas.distribute_datasets_from_function(lambda context: elements())
    double.fit(dataset, steps_per_epoch=1, verbose=0)
    # Keras reports one replica's share; the loss of the global batch is what the same weights give on it.
    again = small_model.model(settings)
    assert float(again.compute_loss(batch, training=True)) == pytest.approx(loss, abs=1e-4)
    assert_same_weights(single, double, 1e-4)
    moved = [name for (name, a), (_, b) in zip(weights(single), before, strict=True) if np.abs(a - b).max() > 1e-6]
    assert any("id_embeddings" in name for name in moved)
    assert any("token_embedding" in name for name in moved)


def test_replica_losses_sum_to_the_loss_of_the_global_batch(two_replicas: tf.distribute.Strategy) -> None:
    settings = small_model.config()
    batch = small_model.batch(8, 8)
    expected = float(small_model.model(settings).compute_loss(batch, training=True))
    with two_replicas.scope():
        model = small_model.model(settings)
    values = two_replicas.experimental_distribute_values_from_function(
        lambda context: small_model.half(batch, context.replica_id_in_sync_group)
    )
    run = tf.function(lambda part: two_replicas.run(lambda inputs: model.compute_loss(inputs, training=True), (part,)))
    losses = two_replicas.reduce(tf.distribute.ReduceOp.SUM, run(values), axis=None)
    assert float(losses) == pytest.approx(expected, abs=1e-4)


def test_fresh_items_replace_their_row_of_the_cache_and_no_other() -> None:
    model = small_model.model(small_model.config())
    batch = small_model.batch(4, 5)
    index = batch["fresh_index"].numpy()
    refreshed = model._with_fresh(batch)
    for name, cached in model.cache.items():
        encoded = model.item_encoders[name](batch["fresh"][name]).numpy()
        for row in range(small_model.ITEMS):
            expected = encoded[index.tolist().index(row)] if row in index else cached.numpy()[row]
            np.testing.assert_allclose(refreshed[name].numpy()[row], expected, atol=1e-5)


def test_a_frozen_encoder_does_not_move() -> None:
    settings = small_model.config(train={"encoders": "frozen"})
    model = small_model.model(settings)
    batch = small_model.batch(4, 5)
    del batch["fresh"]
    before = [variable.numpy() for encoder in model.item_encoders.values() for variable in encoder.variables]
    sgd_step(model, batch)
    after = [variable.numpy() for encoder in model.item_encoders.values() for variable in encoder.variables]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert before


def test_padding_has_no_say_in_the_loss() -> None:
    settings = small_model.config()
    model = small_model.model(settings)
    batch = small_model.batch(4, 5)
    changed = dict(batch)
    outside = ~batch["target"]
    for key, junk in (("item_index", 7), ("values", 4.0), ("times", 12345), ("positive", True)):
        value = batch[key]
        changed[key] = tf.where(outside, tf.cast(junk, value.dtype), value)
    first = float(model.compute_loss(batch, training=False))
    assert float(model.compute_loss(changed, training=False)) == pytest.approx(first, abs=1e-5)


def test_a_step_of_training_lowers_the_loss_of_its_batch() -> None:
    model = small_model.model(small_model.config())
    batch = small_model.batch(8, 8)
    before = float(model.compute_loss(batch, training=False))
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(20), verbose=0)
    assert float(model.compute_loss(batch, training=False)) < 0.8 * before


def test_scaled_adamw_takes_a_share_of_the_step() -> None:
    full, tenth = tf.Variable([1.0, 2.0], name="full"), tf.Variable([1.0, 2.0], name="tenth")
    optimizer = ScaledAdamW(0.1, weight_decay=0.0, scale=lambda variable: 0.1 if "tenth" in variable.name else 1.0)
    optimizer.build([full, tenth])
    optimizer.apply_gradients([(tf.constant([1.0, -2.0]), full), (tf.constant([1.0, -2.0]), tenth)])
    # The first step of Adam is the learning rate times the sign of the gradient.
    np.testing.assert_allclose(full.numpy(), [0.9, 2.1], atol=1e-5)
    np.testing.assert_allclose(tenth.numpy(), [0.99, 2.01], atol=1e-5)


def test_the_softmax_is_exact_where_the_catalogue_is_small() -> None:
    settings = small_model.config(retrieval={"full_limit": 100})
    assert choose_softmax(settings, 100) == "full"
    assert choose_softmax(settings, 101) == "in_batch"
    assert choose_softmax(small_model.config(retrieval={"softmax": "in_batch"}), 5) == "in_batch"
