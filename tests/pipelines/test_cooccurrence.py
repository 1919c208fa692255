"""The co-occurrence stage: its targets, its loss, and what encoders learn by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
import tensorflow as tf

from pipelines.config import Config, validate
from pipelines.model.prepared_items import PreparedItems
from pipelines.training.cooccurrence import CoOccurrenceStage, cooccurrence_targets
from tfrecs.reading.training_events import TrainingEvents
from towers.cooccurrence import CoOccurrence
from towers.two_tower import TwoTower

SETTINGS = {"batch_size": 4, "learning_rate": 0.01, "num_neighbours": 4, "min_events": 2}


def settings(epochs: int) -> Config:
    section = {"epochs": epochs, **SETTINGS}
    return validate({"cooccurrence": section, "user": {"hidden_dim": 8}}, "test")


def events(*pairs: tuple[str, int]) -> TrainingEvents:
    users, items = zip(*pairs, strict=True)
    return TrainingEvents.of(np.array(users), np.array(items, np.int32), np.arange(len(pairs)))


def two_camps(users: int = 20) -> TrainingEvents:
    """Half of the users take items 0 to 5, the others 6 to 11, four each."""
    rng = np.random.default_rng(1)
    return events(
        *((f"u{user}", int(item)) for user in range(users) for item in rng.permutation(6)[:4] + 6 * (user % 2))
    )


def camp_items() -> PreparedItems:
    """The first number of `feel` tells the camp, everything else is noise."""
    rng = np.random.default_rng(0)
    feel = rng.normal(size=(small_model.ITEMS, 4)).astype(np.float32)
    feel[:, 0] = np.repeat([1.0, -1.0], 6)
    words = rng.integers(5, 9, (small_model.ITEMS, 8)).astype(np.int32)
    presence = np.ones((small_model.ITEMS, 2), bool)
    return PreparedItems({"words": tf.constant(words), "feel": tf.constant(feel)}, presence)


def encoder_weights(model: TwoTower) -> list[np.ndarray]:
    return [variable.numpy() for encoder in model.item_encoders.values() for variable in encoder.variables]


def stage(
    model: TwoTower, strategy: tf.distribute.Strategy | None = None, epochs: int = 4, softmax: str = "full", **more: int
) -> CoOccurrenceStage:
    strategy = strategy or tf.distribute.get_strategy()
    chosen = settings(epochs)
    chosen = chosen.model_copy(
        update={
            "cooccurrence": chosen.cooccurrence.model_copy(update=more),
            "retrieval": chosen.retrieval.model_copy(update={"softmax": softmax, "uniform_negatives": 4}),
        }
    )
    return CoOccurrenceStage(model, camp_items(), two_camps(), chosen, strategy)


def test_targets_follow_the_weights_of_the_events() -> None:
    log = events(("a", 0), ("a", 1), ("b", 0), ("b", 2))
    log = replace(log, weights=np.array([1.0, 3.0, 1.0, 1.0], np.float32))
    neighbours, probabilities = cooccurrence_targets(log, 3, 2)
    assert neighbours[0].tolist() == [1, 2]
    np.testing.assert_allclose(probabilities[0], [0.75, 0.25], rtol=1e-6)


def test_targets_are_the_other_items_of_the_same_users() -> None:
    log = events(("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 3))
    neighbours, probabilities = cooccurrence_targets(log, 5, 2)
    # Item 0: two users took 1, one took 2.
    assert neighbours[0].tolist() == [1, 2]
    np.testing.assert_allclose(probabilities[0], [2 / 3, 1 / 3], rtol=1e-6)
    # Item 2: user b also took 0 and 1, once each; equal counts keep the order of the catalogue.
    assert neighbours[2].tolist() == [0, 1]
    np.testing.assert_allclose(probabilities[2], [0.5, 0.5], rtol=1e-6)
    # Item 3 stands alone, nobody took item 4.
    assert probabilities[3:].sum() == 0


def test_only_the_most_frequent_neighbours_are_kept_and_their_probabilities_sum_to_one() -> None:
    log = events(("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2))
    neighbours, probabilities = cooccurrence_targets(log, 3, 1)
    assert neighbours[0].tolist() == [1]
    assert probabilities[0].tolist() == [1.0]


@pytest.mark.slow
def test_the_loss_is_the_mean_cross_entropy_of_the_rows_that_are_there() -> None:
    model = small_model.model(small_model.config())
    learner = CoOccurrence(model.item_encoders, model.standardize, 8, np.ones(small_model.ITEMS))
    learner.item_embeddings.assign(tf.zeros_like(learner.item_embeddings))
    learner.bias.assign(np.log(np.arange(1, small_model.ITEMS + 2)))  # the last row is for padding
    items = camp_items()
    inputs = {
        "items": items.rows(tf.constant([0, 3, 5])),
        "presence": tf.constant(items.presence[:3]),
        "neighbours": tf.constant([[1, 3], [0, 2], [4, 5]]),
        "probabilities": tf.constant([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]),
    }
    # Without a table the softmax of the bias is j / (1 + ... + 12) = j / 78; the third row is padding.
    first, second = np.log(78 / 2), 0.5 * np.log(78 / 1) + 0.5 * np.log(78 / 3)
    assert float(learner.compute_loss(inputs)) == pytest.approx((first + second) / 2, rel=1e-5)
    # Of a sample of items 1, 2, 0, 3 and 11, which each but the first are in with a chance of 1/2: own neighbours stand for
    # themselves, others for two. First row: 2 + 2 (1 + 3 + 4 + 12); second: (1 + 3) + 1 * 2 + 2 (4 + 12).
    inputs |= {
        "candidates": tf.constant([1, 2, 0, 3, 11, -1]),
        "log_sampled": tf.constant(np.log([1, 0.5, 0.5, 0.5, 0.5, 0.5]), tf.float32),
        "neighbours": tf.constant([[0, 3], [2, 1], [3, 4]]),
    }
    first, second = np.log(42 / 2), 0.5 * np.log(38 / 1) + 0.5 * np.log(38 / 3)
    assert float(learner.compute_loss(inputs)) == pytest.approx((first + second) / 2, rel=1e-5)


@pytest.mark.slow
def test_content_learns_to_predict_which_items_are_taken_together() -> None:
    model = small_model.model(small_model.config(train={"encoders": "cooccurrence"}))
    before = encoder_weights(model)
    towers = [variable.numpy() for variable in model.item_tower.variables + model.user_tower.variables]
    learning = stage(model, epochs=25)
    loss = learning.run(lambda done, total: None)
    # Who knows the camp chooses among five others instead of eleven.
    assert np.log(5) - 0.1 < loss < np.log(7)
    assert any((a != b).any() for a, b in zip(before, encoder_weights(model), strict=True))
    after = [variable.numpy() for variable in model.item_tower.variables + model.user_tower.variables]
    assert all((a == b).all() for a, b in zip(towers, after, strict=True))
    assert not any(encoder.trainable for encoder in model.item_encoders.values())


@pytest.mark.slow
def test_so_it_does_on_a_sample_of_the_items() -> None:
    model = small_model.model(small_model.config())
    before = encoder_weights(model)
    learning = stage(model, epochs=25, softmax="in_batch")
    loss = learning.run(lambda done, total: None)
    assert np.log(5) - 0.1 < loss < np.log(7)
    assert any((a != b).any() for a, b in zip(before, encoder_weights(model), strict=True))


def test_a_stage_with_more_steps_than_may_be_has_fewer_epochs_or_part_of_one() -> None:
    model = small_model.model(small_model.config())
    learning = stage(model, epochs=25, max_steps=10)
    assert (learning.steps, learning.epochs, learning.left_out) == (3, 3, 66)
    learning = stage(model, epochs=25, max_steps=2)
    assert (learning.steps, learning.epochs, learning.left_out) == (2, 1, 73)


def test_of_items_that_the_steps_cannot_take_nothing_is_counted() -> None:
    model = small_model.model(small_model.config())
    whole, few = stage(model, epochs=25), stage(model, epochs=25, max_steps=2)
    assert len(few.training_items) == len(few.neighbours) == 8  # two steps of four
    at = np.searchsorted(whole.training_items, few.training_items)
    np.testing.assert_array_equal(whole.training_items[at], few.training_items)
    np.testing.assert_array_equal(whole.neighbours[at], few.neighbours)
    np.testing.assert_array_equal(whole.probabilities[at], few.probabilities)
    again = stage(model, epochs=25, max_steps=2)
    np.testing.assert_array_equal(again.training_items, few.training_items)


@pytest.mark.slow
def test_the_stage_reports_every_step_of_all_epochs() -> None:
    calls: list[tuple[int, int]] = []
    learning = stage(small_model.model(small_model.config()))
    learning.run(lambda done, total: calls.append((done, total)))
    total = learning.steps * 4
    assert calls == [(done, total) for done in range(1, total + 1)]


@pytest.mark.slow
def test_the_first_step_on_two_replicas_is_that_on_one(two_replicas: tf.distribute.Strategy) -> None:
    def begin(strategy: tf.distribute.Strategy) -> tuple[TwoTower, CoOccurrenceStage]:
        with strategy.scope():
            model = small_model.model(small_model.config())
        return model, stage(model, strategy, epochs=1)

    def step(learning: CoOccurrenceStage, strategy: tf.distribute.Strategy) -> None:
        with strategy.scope():
            learning.learner.compile(tf.keras.optimizers.SGD(0.1))
        batches = strategy.distribute_datasets_from_function(learning.batches)
        learning.learner.fit(batches, steps_per_epoch=1, verbose=0)

    (one, first), (two, second) = begin(tf.distribute.get_strategy()), begin(two_replicas)
    second.learner.set_weights(first.learner.get_weights())  # a strategy's scope draws other first weights
    step(first, tf.distribute.get_strategy())
    step(second, two_replicas)
    for a, b in zip(encoder_weights(one), encoder_weights(two), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(first.learner.item_embeddings, second.learner.item_embeddings.values[0], atol=1e-4)
    assert float(first.learner.cross_entropy.result()) == pytest.approx(
        float(second.learner.cross_entropy.result()), abs=1e-4
    )


def test_items_that_nobody_took_are_left_out() -> None:
    learning = CoOccurrenceStage(
        small_model.model(small_model.config()),
        camp_items(),
        events(("a", 0), ("b", 1)),
        settings(4),
        tf.distribute.get_strategy(),
    )
    assert len(learning.training_items) == 0
    assert np.isnan(learning.run(lambda done, total: None))


def test_an_encoder_with_pretrained_weights_keeps_them_and_the_others_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model.model(small_model.config())
    words, feel = model.item_encoders["words"], model.item_encoders["feel"]
    monkeypatch.setattr(type(words), "is_pretrained", True)
    before = [[variable.numpy() for variable in encoder.variables] for encoder in (words, feel)]
    of_stage = stage(model, epochs=8)
    loss = of_stage.run(lambda done, total: None)
    assert list(of_stage.encoders) == ["feel"]
    assert [len(of_stage.learner.heads), of_stage.presence.shape[1]] == [1, 1]
    kept, learned = (
        [np.array_equal(variable.numpy(), start) for variable, start in zip(encoder.variables, starts, strict=True)]
        for encoder, starts in zip((words, feel), before, strict=True)
    )
    assert all(kept)
    assert not any(learned)
    # Whoever knows the camps has five others to choose from, of eleven.
    assert loss < np.log(11)
