"""A training step on weighted events with explicit negatives: what it costs and what it moves. On two replicas and under XLA: see
tests/pipelines/test_text_queries.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_model
import tensorflow as tf

from tfrecs.schema import History
from towers.hybrid import chosen_events
from towers.text_queries import at_positions
from towers.two_tower import TwoTower

SCHEMA = small_model.SCHEMA.model_copy(update={"has_weights": True, "value_mean": 0.5})
WEIGHTS = np.array([-1.0, 0.0, 0.2, 3.0], np.float32)


def model(schema: Any = SCHEMA, **sections: Any) -> TwoTower:
    return small_model.model(small_model.config(**sections), schema=schema)


def batch(size: int = 8, fresh: int = 8, seed: int = 1) -> dict[str, Any]:
    """A batch of `small_model` whose event values are weights."""
    made = small_model.batch(size, fresh)
    values = np.random.default_rng(seed).choice(WEIGHTS, made["values"].shape)
    return made | {"values": tf.where(made["target"], values, 0.0), "positive": made["target"] & (values > 0)}


def with_softmax(inputs: dict[str, Any], softmax: str) -> dict[str, Any]:
    return small_model.with_candidates(inputs) if softmax == "in_batch" else inputs


def retrieval_loss(model: TwoTower, inputs: dict[str, Any]) -> float:
    for metric in model.step_metrics.values():
        metric.reset_state()
    model.compute_loss(inputs, training=True)
    return float(model.step_metrics["retrieval_loss"].result())


def probabilities(model: TwoTower, inputs: dict[str, Any]) -> np.ndarray:
    """Of every item at every position of a batch, [B, L, N]; every item is a candidate at any time."""
    embeddings = model.item_embeddings()[0]
    history = History(inputs["item_index"], inputs["values"], inputs["times"], tf.fill([len(inputs["values"])], 6))
    user = model.encode_user(inputs["user"], inputs["user_presence"])
    now = tf.pad(inputs["times"], [[0, 0], [0, 1]])
    context = {"device": tf.pad(inputs["context"]["device"], [[0, 0], [0, 1]])}
    queries = model.sequence_embeddings(embeddings, history, now, context, user)[:, :-1]
    return tf.nn.softmax(tf.einsum("bld,nd->bln", queries, embeddings) / model.temperature).numpy()


@pytest.mark.parametrize("softmax", ["full", "in_batch"])
def test_weights_of_one_are_no_weights(softmax: str) -> None:
    inputs = with_softmax(batch(), softmax)
    inputs |= {"values": tf.cast(inputs["target"], tf.float32), "positive": inputs["target"]}
    plain = model(SCHEMA.model_copy(update={"has_weights": False}))
    assert retrieval_loss(model(), inputs) == pytest.approx(retrieval_loss(plain, inputs), rel=1e-5)


def test_the_loss_is_the_weighted_mean_over_positives_and_explicit_negatives() -> None:
    # Without text queries and with every item available from the start, so that the probabilities are those of a request.
    weighted = model(train={"encoders": "frozen"})
    weighted.first_times = tf.zeros_like(weighted.first_times)
    inputs = {key: value for key, value in batch().items() if key not in ("fresh", "spans")}
    own = np.take_along_axis(probabilities(weighted, inputs), inputs["item_index"].numpy()[..., None], axis=2)[..., 0]
    weight = np.where(inputs["target"], inputs["values"], 0.0)
    terms = np.where(weight < 0, -np.log(1 - own), -np.log(own)) * np.abs(weight)
    assert (weight < 0).sum() > 3
    assert retrieval_loss(weighted, inputs) == pytest.approx(terms.sum() / np.abs(weight).sum(), rel=1e-4)


@pytest.mark.parametrize("softmax", ["full", "in_batch"])
def test_only_the_proportions_of_weights_count(softmax: str) -> None:
    sections = {"user": {"use_values": False}}
    inputs = with_softmax(batch(), softmax)
    tiny = inputs | {"values": inputs["values"] * 1e-4}
    assert retrieval_loss(model(**sections), tiny) == pytest.approx(retrieval_loss(model(**sections), inputs), rel=1e-4)


def test_a_step_on_a_dislike_makes_its_item_less_likely_and_one_on_a_like_more() -> None:
    for weight, sign in ((-1.0, -1), (1.0, 1)):
        learner = model(train={"encoders": "frozen"}, ranking={"weight": 0})
        inputs = {key: value for key, value in batch().items() if key not in ("fresh", "spans")}
        inputs["values"] = tf.where(inputs["target"], weight, 0.0)
        item = inputs["item_index"].numpy()[..., None]
        before = np.take_along_axis(probabilities(learner, inputs), item, axis=2)[inputs["target"]]
        with tf.GradientTape() as tape:
            loss = learner.compute_loss(inputs)
        for variable, gradient in zip(
            learner.trainable_variables, tape.gradient(loss, learner.trainable_variables), strict=True
        ):
            if gradient is not None:
                variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
        after = np.take_along_axis(probabilities(learner, inputs), item, axis=2)[inputs["target"]]
        assert sign * (after - before).mean() > 0


def test_a_weight_of_zero_has_no_say_and_neither_has_a_batch_without_others() -> None:
    weighted = model(user={"use_values": False})
    inputs = batch()
    zero = inputs["values"] == 0
    moved = inputs | {"positive": inputs["positive"] | zero}
    assert retrieval_loss(weighted, moved) == pytest.approx(retrieval_loss(weighted, inputs), rel=1e-6)
    nothing = inputs | {"values": tf.zeros_like(inputs["values"]), "positive": tf.zeros_like(inputs["positive"])}
    assert retrieval_loss(weighted, nothing) == 0.0


def test_a_text_made_of_a_disliked_item_is_no_query_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[np.ndarray] = []

    def record(*arguments: Any) -> tf.Tensor:
        result = at_positions(*arguments)
        given.append(result.numpy())
        return result

    monkeypatch.setattr("towers.two_tower.at_positions", record)
    inputs = batch() | {"fresh_index": tf.range(8)}
    model().compute_loss(inputs, training=True)
    has_query = np.abs(given[0]).sum(axis=2) > 0
    expected = (inputs["target"] & (inputs["item_index"] < 8) & (inputs["values"] >= 0)).numpy()
    np.testing.assert_array_equal(has_query, expected)


def test_only_events_with_a_weight_above_0_speak_for_their_items() -> None:
    history = History(
        tf.constant([[4, 1, 7, 2], [3, 5, 0, 0]]),
        tf.constant([[3.0, -1.0, float("nan"), 0.0], [-1.0, -1.0, 0.0, 0.0]]),
        tf.constant([[10, 20, 30, 40], [1, 2, 0, 0]], tf.int64),
        tf.constant([4, 2]),
    )
    chosen = chosen_events(history)
    assert chosen.length.numpy().tolist() == [2, 0]
    assert chosen.item_index.numpy()[0, :2].tolist() == [4, 7]  # an unknown value stays
    assert chosen.times.numpy()[0, :2].tolist() == [10, 30]
    assert model().chosen(history).length.numpy().tolist() == [2, 0]
    assert model(SCHEMA.model_copy(update={"has_weights": False})).chosen(history) is history
