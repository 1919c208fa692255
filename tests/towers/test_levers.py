"""Half precision, a step in parts, and encoders that compute twice: what each of them leaves as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
import tensorflow as tf
from small_model import assert_same_weights, compile_with_rows

from pipelines.training.optimization import make_optimizer, seed_dropout
from towers.encoders.rematerialise import rematerialise_all
from towers.optimizer import LossScale, ScaledAdamW
from towers.two_tower import TwoTower

pytestmark = pytest.mark.slow


def with_everything(size: int) -> dict[str, Any]:
    """Weights, explicit negatives, and queries of events at the first, a middle and the last row."""
    batch = small_model.weighted(small_model.batch(size, 6))
    return small_model.with_own(batch, [0, 13, 6 * size - 6, -1])


@pytest.mark.parametrize(
    ("schema", "batch"),
    [
        (small_model.SCHEMA, lambda: small_model.with_candidates(small_model.batch(8, 6))),
        (small_model.WEIGHTED, lambda: with_everything(8)),
    ],
    ids=["in-batch softmax", "full softmax, weights, queries"],
)
def test_a_step_in_parts_is_the_step_in_one_piece(schema: Any, batch: Callable[[], dict[str, Any]]) -> None:
    model, inputs = small_model.model(small_model.config(), schema=schema), batch()
    loss, _, gradients = model.gradients(inputs, tf.constant(4.0))
    for parts in (2, 8):
        model.accumulate = parts
        same, _, in_parts = model.gradients(inputs, tf.constant(4.0))
        assert float(same) == pytest.approx(float(loss), rel=1e-5)
        for variable, one, other in zip(model.trainable_variables, gradients, in_parts, strict=True):
            assert (one is None) == (other is None), variable.name
            if one is not None:
                one, other = (tf.convert_to_tensor(gradient).numpy() for gradient in (one, other))
                np.testing.assert_allclose(other, one, atol=1e-5, err_msg=variable.name)
    assert sum(np.abs(tf.convert_to_tensor(one)).max() > 1e-3 for one in gradients if one is not None) > 20


def trained(strategy: tf.distribute.Strategy, parts: list[dict], settings: Any) -> TwoTower:
    """The model after two steps, one part of the batch for each replica."""
    with strategy.scope():
        model = small_model.model(settings)
        compile_with_rows(model)

    def elements(_: object) -> tf.data.Dataset:
        first, *others = (tf.data.Dataset.from_tensors(part) for part in parts)
        for other in others:
            first = first.concatenate(other)
        return first.repeat(2)

    model.fit(strategy.distribute_datasets_from_function(elements), steps_per_epoch=2, verbose=0)
    return model


@pytest.mark.matrix
def test_two_replicas_with_parts_of_their_own_take_the_step_of_one_in_one_piece(
    two_replicas: tf.distribute.Strategy,
) -> None:
    batch = small_model.with_candidates(small_model.batch(8, 8))
    single = trained(tf.distribute.OneDeviceStrategy("/cpu:0"), [batch], small_model.config())
    halves = [small_model.half(batch, part) for part in (0, 1)]
    double = trained(two_replicas, halves, small_model.config(train={"accumulate": 2}))
    assert_same_weights(single, double, 1e-4)


def operations_of(function: Any, *arguments: Any) -> list[tf.Operation]:
    """All operations of a function's graph, those in its functions included."""
    graph = function.get_concrete_function(*arguments).graph
    inner = [part.graph for part in graph._functions.values() if getattr(part, "graph", None) is not None]
    return [operation for part in (graph, *inner) for operation in part.get_operations()]


def flat(gradients: list[Any]) -> np.ndarray:
    """All gradients that there are, in one vector."""
    return np.concatenate([np.ravel(tf.convert_to_tensor(one)) for one in gradients if one is not None])


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.matrix)])
def test_half_precision_multiplies_matrices_and_nothing_that_sums_or_divides(precision: str) -> None:
    batch = small_model.batch(4, 6)
    plain, half = small_model.model(small_model.config()), small_model.model(small_model.config(), precision=precision)
    assert {part.dtype for part in half.variables if part.dtype.is_floating} == {tf.float32}
    embeddings, modality_weights = half.item_embeddings()
    assert embeddings.dtype == modality_weights.dtype == tf.float32
    scale = LossScale()
    expected, _, gradients = plain.gradients(batch, tf.constant(1.0))
    of_half = tf.function(half.gradients, autograph=False)
    loss, _, half_gradients = of_half(batch, scale.value)
    assert float(loss) == pytest.approx(float(expected), rel=0.02)
    one, other = flat(gradients), flat(scale.unscaled(half_gradients))
    assert np.isfinite(other).all()
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99
    assert 0.98 < np.linalg.norm(other) / np.linalg.norm(one) < 1.02

    types: dict[str, set[tf.DType]] = {}
    for operation in operations_of(of_half, batch, scale.value):
        gelu = "/Gelu/" in operation.name  # its gradient has exp(-x^2 / 2), which is 0 where x^2 overflows
        if operation.node_def.attr["T"].type and not gelu:
            types.setdefault(operation.type, set()).add(operation.get_attr("T"))
    low = tf.dtypes.as_dtype(precision.removeprefix("mixed_"))
    assert low in types["MatMul"]
    for kind in ("Softmax", "Log", "Sqrt", "Rsqrt", "FusedBatchNormV3"):
        assert types.get(kind, {tf.float32}) == {tf.float32}, kind


def test_a_step_that_is_not_finite_is_left_out_and_the_scale_adapts_as_that_of_keras() -> None:
    start = np.float32([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ours, theirs = tf.Variable(start), tf.Variable(start)
    table = tf.Variable(start)
    scale = LossScale(initial=8.0, growth_steps=2)
    settings: dict[str, Any] = {"weight_decay": 0.01, "use_ema": True, "ema_momentum": 0.9}
    optimizer = ScaledAdamW(0.1, scale=lambda _: 1.0, tables=[table], loss_scale=scale, **settings)
    optimizer.build([ours, table])
    reference = tf.keras.mixed_precision.LossScaleOptimizer(
        tf.keras.optimizers.AdamW(0.1, **settings), initial_scale=8.0, dynamic_growth_steps=2
    )
    reference.build([theirs])
    scales = []
    for step in range(6):
        gradient = np.random.default_rng(step).normal(size=(3, 2)).astype(np.float32)
        rows = tf.IndexedSlices(tf.constant(gradient[:2]), tf.constant([2, 0]), [3, 2])
        if step == 2:
            gradient[1, 1] = np.inf
        if step == 5:  # in a row of the table alone
            rows = tf.IndexedSlices(tf.constant(np.float32([[np.nan, 0]])), tf.constant([1]), [3, 2])
        before = [part.numpy() for part in (ours, table, *optimizer.variables[2:])]
        optimizer.apply_gradients([(tf.constant(gradient), ours), (rows, table)])
        assert int(optimizer.iterations) == step + 1
        if step in (2, 5):
            after = [part.numpy() for part in (ours, table, *optimizer.variables[2:])]
            assert all((a == b).all() for a, b in zip(before, after, strict=True))
        if step != 5:
            reference.apply_gradients([(tf.constant(gradient), theirs)])
            assert float(scale.value) == float(reference.loss_scale)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
        scales.append(float(scale.value))
    # Two finite steps double it, one that is not halves it.
    assert scales == [8.0, 16.0, 8.0, 8.0, 16.0, 8.0]
    assert (table.numpy()[1] == start[1]).all()


def test_the_scale_is_restored_and_takes_no_part_in_the_update(tmp_path: Path) -> None:
    def optimizer() -> tuple[tf.Variable, ScaledAdamW]:
        weight = tf.Variable([1.0, 2.0])
        made = make_optimizer(small_model.config().train, 10, precision="mixed_float16")
        made.build([weight])
        return weight, made

    weight, first = optimizer()
    gradient = tf.constant([3.0, -4.0])
    scaled = first.loss_scale.unscaled([gradient * first.loss_scale.value])
    np.testing.assert_allclose(scaled[0].numpy(), gradient.numpy())
    first.apply_gradients([(tf.constant([np.nan, 1.0]), weight)])
    path = tf.train.Checkpoint(optimizer=first).write(str(tmp_path / "optimizer"))
    _, second = optimizer()
    tf.train.Checkpoint(optimizer=second).read(path).assert_existing_objects_matched()
    assert float(second.loss_scale.value) == 2.0**14
    assert make_optimizer(small_model.config().train, 10, precision="mixed_bfloat16").loss_scale is None


def test_two_replicas_leave_a_step_out_together(two_replicas: tf.distribute.Strategy) -> None:
    with two_replicas.scope():
        weight = tf.Variable([1.0, 2.0])
        scale = LossScale(initial=4.0)
        optimizer = ScaledAdamW(0.1, scale=lambda _: 1.0, weight_decay=0.0, loss_scale=scale)
        optimizer.build([weight])

    @tf.function(autograph=False)
    def step(bad: tf.Tensor) -> None:
        def of_replica() -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            wrong = bad & (tf.cast(replica, tf.int32) == 1)
            optimizer.apply_gradients([(tf.where(wrong, np.float32(np.inf), tf.constant([1.0, -1.0])), weight)])

        two_replicas.run(of_replica)

    step(tf.constant(True))
    np.testing.assert_array_equal(weight.numpy(), [1.0, 2.0])
    assert float(scale.value) == 2.0
    step(tf.constant(False))
    assert (weight.numpy() < [1.0, 2.1]).all()
    assert weight.numpy()[0] < 1.0 < 2.0 < weight.numpy()[1]


@pytest.fixture
def _generators() -> Iterator[None]:
    """Dropout from generators, as `open_session` has it."""
    before = tf.keras.backend.experimental.is_tf_random_generator_enabled()
    tf.keras.backend.experimental.enable_tf_random_generator()
    yield
    if not before:
        tf.keras.backend.experimental.disable_tf_random_generator()


@pytest.mark.usefixtures("_generators")
def test_encoders_that_compute_twice_have_the_same_gradients_and_the_same_dropout() -> None:
    model = small_model.model(small_model.config(text={"dropout": 0.3}, vector={"dropout": 0.3}))
    batch = small_model.batch(4, 6)
    seed_dropout(model, 5, 0)
    random = [part for part in model.submodules if isinstance(part, tf.keras.__internal__.layers.BaseRandomLayer)]
    states = [part._random_generator._generator.state for part in random]

    def step() -> tuple[np.ndarray, list[list[int]], int]:
        seed_dropout(model, 5, 0)
        function = tf.function(model.gradients, autograph=False)
        function(batch, tf.constant(1.0))
        # The second one starts from the random numbers that the first one left.
        gradients = flat(function(batch, tf.constant(1.0))[2])
        products = [part.type in ("MatMul", "Einsum") for part in operations_of(function, batch, tf.constant(1.0))]
        return gradients, [state.numpy().tolist() for state in states], sum(products)

    once, left, products = step()
    rematerialise_all(model.item_encoders.values())
    twice, left_again, more_products = step()
    np.testing.assert_allclose(twice, once, atol=1e-5)
    assert left == left_again
    assert more_products > products


@pytest.mark.usefixtures("_generators")
def test_encoders_compute_twice_in_the_precision_in_which_they_computed_once() -> None:
    model = small_model.model(small_model.config(), precision="mixed_bfloat16")
    batch = small_model.batch(4, 6)
    once = flat(model.gradients(batch, tf.constant(1.0))[2])
    rematerialise_all(model.item_encoders.values())
    twice = flat(model.gradients(batch, tf.constant(1.0))[2])
    assert np.linalg.norm(twice - once) < 0.005 * np.linalg.norm(once)


def test_what_cannot_draw_the_same_numbers_again_is_not_rematerialised() -> None:
    tf.keras.backend.experimental.disable_tf_random_generator()
    model = small_model.model(small_model.config(text={"dropout": 0.3}))
    with pytest.raises(ValueError, match="generator"):
        rematerialise_all(model.item_encoders.values())


# What makes a shape depend on data. `Where` is `tf.where` of one argument; that of three is `SelectV2`.
DYNAMIC = {"Unique", "UniqueV2", "UniqueWithCounts", "Where", "DynamicPartition", "ListDiff", "NonMaxSuppressionV5"}


@pytest.mark.parametrize("mode", ["frozen", "finetune", "in_batch"])
def test_a_step_has_static_shapes_and_no_loop(mode: str) -> None:
    settings = small_model.config(train={"encoders": "frozen" if mode == "frozen" else "finetune"})
    model = small_model.model(settings)
    batch = small_model.batch(4, 6)
    if mode == "frozen":
        del batch["fresh"]
    if mode == "in_batch":
        batch = small_model.with_candidates(batch)
    model.target_share = 0.3  # so that the softmax is in two parts
    table = model.item_tower.id_embeddings
    optimizer = make_optimizer(settings.train, 10, tables=[table], ema_momentum=settings.train.ema_momentum)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    step = tf.function(model.train_step, autograph=False, jit_compile=True)
    assert not {operation.type for operation in operations_of(step, batch)} & DYNAMIC
    hlo = step.experimental_get_compiler_ir(batch)(stage="hlo")
    assert " dot(" in hlo
    assert "<=" not in hlo, "a shape that is known only up to a bound"
    assert " sort(" not in hlo
    assert " while(" not in hlo
