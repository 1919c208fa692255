"""One training step: under XLA, on two replicas, with a cache, with each softmax."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import small_model
import tensorflow as tf
from small_model import assert_same_weights, compile_with_rows, sgd_step, weights

from pipelines.model.model_factory import choose_softmax
from pipelines.training.loop import StepProgress
from towers.encoding_cache import with_fresh
from towers.optimizer import ScaledAdamW
from towers.two_tower import TwoTower

pytestmark = pytest.mark.slow

FROZEN = {"encoders": "frozen"}


def test_an_in_batch_step_compiled_by_xla_is_the_same_step() -> None:  # the full softmax: see test_text_queries.py
    plain, compiled = (small_model.model(small_model.config()) for _ in range(2))
    batch = tf.data.Dataset.from_tensors(small_model.with_candidates(small_model.batch(4, 6)))
    compiled.target_share = 0.3  # fewer places than targets
    for model, jit in ((plain, False), (compiled, True)):
        compile_with_rows(model, jit_compile=jit)
        model.fit(batch.repeat(2), verbose=0)
    assert_same_weights(plain, compiled, 1e-4)


def test_another_backbone_of_keras_nlp_trains_through_its_adapter() -> None:
    model = small_model.model(small_model.config(text={"backbone": "distil_bert"}))
    before = dict(weights(model))
    sgd_step(model, small_model.batch(4, 6), jit=True)
    changed = {name for name, value in weights(model) if not np.array_equal(value, before[name])}
    assert any("token_and_position_embedding" in name for name in changed)
    assert any("transformer_layer_0" in name for name in changed)


@pytest.mark.parametrize(
    ("encoders", "moving"),
    [
        ("frozen", ["id_embeddings"]),
        pytest.param("finetune", ["id_embeddings", "token_embedding"], marks=pytest.mark.matrix),
    ],
)
def test_two_replicas_and_one_with_the_same_global_batch_end_at_the_same_weights(
    encoders: str, moving: list[str], two_replicas: tf.distribute.Strategy
) -> None:
    config = small_model.config(train={"encoders": encoders})
    batch = small_model.with_candidates(small_model.batch(8, 8))
    if encoders == "frozen":
        batch = small_model.events_alone(batch)

    def trained(strategy: tf.distribute.Strategy, parts: list[dict], target_share: float) -> TwoTower:
        with strategy.scope():
            model = small_model.model(config)
            model.target_share = target_share
            compile_with_rows(model)

        def elements(_: object) -> tf.data.Dataset:
            datasets = [tf.data.Dataset.from_tensors(part) for part in parts]
            return functools.reduce(lambda first, second: first.concatenate(second), datasets).repeat(2)

        model.fit(strategy.distribute_datasets_from_function(elements), steps_per_epoch=2, verbose=0)
        return model

    before = weights(small_model.model(config))
    single = trained(tf.distribute.OneDeviceStrategy("/cpu:0"), [batch], 1.0)
    # Fewer places than targets.
    double = trained(two_replicas, [small_model.half(batch, 0), small_model.half(batch, 1)], 0.3)
    assert_same_weights(single, double, 1e-4)
    moved = [name for (name, a), (_, b) in zip(weights(single), before, strict=True) if np.abs(a - b).max() > 1e-6]
    for part in moving:
        assert any(part in name for name in moved)


def test_several_steps_of_one_call_of_the_graph_are_the_same_steps() -> None:
    batches = [
        small_model.events_alone(small_model.with_candidates(small_model.batch(4, 6, seed))) for seed in range(5)
    ]
    first, *others = map(tf.data.Dataset.from_tensors, batches)
    data = functools.reduce(tf.data.Dataset.concatenate, others, first)
    singly, together = (small_model.model(small_model.config(train=FROZEN)) for _ in range(2))
    done: list[tuple[int, int]] = []
    for model, steps in ((singly, 1), (together, 3)):
        compile_with_rows(model, steps_per_execution=steps)
        progress = StepProgress(lambda *counts: done.append(counts), 5)
        model.fit(data, steps_per_epoch=5, verbose=0, callbacks=[progress])
    assert done == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (3, 5), (5, 5)]
    assert_same_weights(singly, together, 1e-5)


@pytest.mark.parametrize("share", [0.2, 0.6])  # fewer places than targets, and more
def test_the_loss_over_the_targets_alone_is_the_loss_over_all_positions(share: float) -> None:
    batch = small_model.batch(8, 8)
    batch["target"] &= tf.constant(np.random.default_rng(1).random(batch["target"].shape) < 0.6)
    assert 0.2 < np.mean(batch["target"]) < 0.6
    model, losses = small_model.model(small_model.config()), []
    for model.target_share in (1.0, share):
        losses.append(float(model.compute_loss(batch, training=False)))
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


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
    fresh = model.encode_items(batch["fresh"])
    cache = {name: tf.convert_to_tensor(value) for name, value in model.cache.items()}
    for name, refreshed in with_fresh(cache, fresh, batch["fresh_index"]).items():
        for row in range(small_model.ITEMS):
            expected = fresh[name][index.tolist().index(row)] if row in index else cache[name][row]
            np.testing.assert_allclose(refreshed[row], expected, atol=1e-5)


def test_a_batch_whose_candidates_are_the_whole_catalogue_has_the_loss_of_the_full_softmax() -> None:
    # So many draws that every item is a candidate for certain: nothing is left to correct.
    model = small_model.model(small_model.config())
    batch = small_model.batch(4, 6)
    sampled = small_model.with_candidates(batch, uniform=1000)
    assert sorted(candidate for candidate in sampled["candidates"].numpy() if candidate >= 0) == list(range(12))
    expected, gradient = loss_and_gradients(model, batch)
    loss, sampled_gradient = loss_and_gradients(model, sampled)
    assert loss == pytest.approx(expected, rel=1e-5)
    for a, b in zip(gradient, sampled_gradient, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def loss_and_gradients(model: TwoTower, batch: dict) -> tuple[float, list[np.ndarray]]:
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return float(loss), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


@pytest.mark.parametrize("block", ["transformer", "hstu"])
def test_packing_changes_no_loss_and_no_gradient(block: str) -> None:
    # Histories of 2, 3 and 1 events, each in a row of its own, and all in one.
    model = small_model.model(small_model.config(train=FROZEN, user={"block": block}))
    rows = small_model.events_alone(small_model.batch(3, 6))
    inside = tf.sequence_mask([2, 3, 1], small_model.LENGTH)
    rows |= {
        "target": inside,
        "segment": tf.where(inside, 0, -1),
        "times": tf.constant([[90, 95, 0, 0, 0, 0], [10, 20, 30, 0, 0, 0], [7000, 0, 0, 0, 0, 0]], tf.int64),
    }
    events = {name: rows[name] for name in ("item_index", "values", "times", "target", "positive", "labels", "context")}
    packed = tf.nest.map_structure(lambda value: tf.boolean_mask(value, inside)[None], events)
    packed |= {
        "segment": tf.constant([[0, 0, 1, 1, 1, 2]]),
        "user": {"age": tf.reshape(rows["user"]["age"], [1, 3, 1])},
        "user_presence": tf.reshape(rows["user_presence"], [1, 3, 1]),
        "fresh_index": rows["fresh_index"],
    }
    expected, gradient = loss_and_gradients(model, rows)
    loss, packed_gradient = loss_and_gradients(model, packed)
    assert loss == pytest.approx(expected, abs=1e-5)
    for variable, a, b in zip(model.trainable_variables, gradient, packed_gradient, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=variable.name)
    assert np.abs(gradient[0]).max() > 0


def test_a_frozen_encoder_does_not_move() -> None:
    settings = small_model.config(train=FROZEN)
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


@pytest.mark.matrix
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


def adam_by_hand(steps: list[np.ndarray], start: np.ndarray, momentum: float) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table after steps of lazy Adam with the learning rate 0.1, and the mean that Keras puts in place.

    Args:
      steps: gradients [N, D], NaN in rows that a step does not touch.
    """
    value, average = start.copy(), start.copy()
    first, second = np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(steps, start=1):
        touched = ~np.isnan(gradient)
        first = np.where(touched, 0.9 * first + 0.1 * np.nan_to_num(gradient), first)
        second = np.where(touched, 0.999 * second + 0.001 * np.nan_to_num(gradient) ** 2, second)
        rate = 0.1 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = np.where(touched, value - rate * first / (np.sqrt(second) + 1e-7), value)
        average = momentum * average + (1 - momentum) * value
    return value, average


def test_rows_of_a_table_are_updated_and_averaged_alone_as_if_the_others_had_stood_still() -> None:
    start = np.arange(8, dtype=np.float32).reshape(4, 2)
    table = tf.Variable(start)
    optimizer = ScaledAdamW(0.1, weight_decay=0.0, scale=lambda _: 1.0, tables=[table], use_ema=True, ema_momentum=0.8)
    optimizer.build([table])
    steps = []
    for rows in ([0, 2], [2, 3], [2], [0, 3]):
        values = np.random.default_rng(len(steps)).normal(size=(len(rows), 2)).astype(np.float32)
        optimizer.apply_gradients([(tf.IndexedSlices(tf.constant(values), tf.constant(rows), [4, 2]), table)])
        step = np.full([4, 2], np.nan)
        step[rows] = values
        steps.append(step)
    value, average = adam_by_hand(steps, start, 0.8)
    np.testing.assert_allclose(table.numpy(), value, atol=1e-5)
    optimizer.finalize_variable_values([table])
    np.testing.assert_allclose(table.numpy(), average, atol=1e-5)
    assert (table.numpy()[1] == start[1]).all()


def test_a_step_on_every_row_of_a_table_is_that_of_adamw() -> None:
    start = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    table, plain = tf.Variable(start), tf.Variable(start)
    settings = {"weight_decay": 0.01, "global_clipnorm": 0.5, "use_ema": True, "ema_momentum": 0.9}
    by_rows = ScaledAdamW(0.1, scale=lambda _: 1.0, tables=[table], **settings)
    dense = tf.keras.optimizers.AdamW(0.1, **settings)
    for seed in range(3):
        gradient = tf.constant(np.random.default_rng(seed).normal(size=(5, 3)), tf.float32)
        by_rows.apply_gradients([(tf.IndexedSlices(gradient, tf.range(5), [5, 3]), table)])
        dense.apply_gradients([(gradient, plain)])
    np.testing.assert_allclose(table.numpy(), plain.numpy(), atol=1e-5)
    for optimizer, variable in ((by_rows, table), (dense, plain)):
        optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(table.numpy(), plain.numpy(), atol=1e-5)


def test_nothing_in_an_in_batch_step_is_of_the_size_of_the_catalogue() -> None:
    model = small_model.model(small_model.config(train=FROZEN))
    batch = small_model.with_candidates(small_model.batch(1, 2), uniform=2)
    batch = small_model.events_alone(batch)
    graph = tf.function(lambda inputs: model.compute_loss(inputs, training=True), autograph=False)
    sizes = {
        tensor.shape[0]
        for operation in graph.get_concrete_function(batch).graph.get_operations()
        for tensor in operation.outputs
        if operation.type not in ("Placeholder", "Const") and tensor.shape.rank
    }
    assert batch["candidates"].shape[0] in sizes
    assert small_model.ITEMS not in sizes
    assert small_model.ITEMS + 1 not in sizes


def test_the_softmax_is_exact_where_the_catalogue_is_small() -> None:
    settings = small_model.config(retrieval={"full_limit": 100})
    assert choose_softmax(settings, 100) == "full"
    assert choose_softmax(settings, 101) == "in_batch"
    assert choose_softmax(small_model.config(retrieval={"softmax": "in_batch"}), 5) == "in_batch"
