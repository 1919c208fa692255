"""User tower: causality, padding, time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecs.schema import History
from towers.user import UserTower, time_bucket, time_context

CONTEXT = [
    {"name": "hour", "kind": "categories", "source": "time", "vocabulary": [str(hour) for hour in range(24)]},
    {"name": "device", "kind": "categories", "source": "column", "vocabulary": ["phone", "tv"]},
    {"name": "volume", "kind": "number", "source": "column"},
]


def tower(*, values: bool = True, gaps: bool = True) -> UserTower:
    tf.keras.utils.set_random_seed(1)
    return UserTower(
        hidden_dim=8,
        num_layers=2,
        num_heads=2,
        intermediate_dim=16,
        dropout=0.5,
        max_history=6,
        use_values=values,
        use_time_gaps=gaps,
        context=CONTEXT,
    )


def inputs(length: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 10_000, size=(2, length + 1)), axis=1) + 1_600_000_000
    return {
        "items": rng.normal(size=(2, length, 8)).astype(np.float32),
        "values": rng.normal(size=(2, length)).astype(np.float32),
        "times": times[:, :-1],
        "now": times,
        "context": {
            "device": rng.integers(0, 3, size=(2, length + 1)).astype(np.int32),
            "volume": rng.normal(size=(2, length + 1)).astype(np.float32),
        },
    }


def call(layer: UserTower, arguments: dict) -> np.ndarray:
    tensors = tf.nest.map_structure(tf.constant, arguments)
    embeddings, values, times = (tensors.pop(name) for name in ("items", "values", "times"))
    shape = tf.shape(values)
    history = History(tf.zeros(shape, tf.int32), values, times, tf.fill([shape[0]], shape[1]))
    return layer(embeddings, history, **tensors).numpy()


@pytest.mark.parametrize(
    ("now", "then", "bucket"),
    [
        (100, 100, 0),  # 2 log2(1) = 0
        (101, 100, 2),  # 2 log2(2) = 2
        (103, 100, 4),  # 2 log2(4) = 4
        (99, 100, 0),  # clocks that run backwards
        (1 << 40, 1, 63),  # far beyond the last bucket
        (0, 100, 64),
        (100, 0, 64),
    ],
)
def test_time_bucket_by_hand(now: int, then: int, bucket: int) -> None:
    assert int(time_bucket(tf.constant(now, tf.int64), tf.constant(then, tf.int64))) == bucket


@pytest.mark.parametrize(("option", "changed"), [("values", ["values"]), ("gaps", ["times"])])
def test_event_values_and_time_gaps_can_be_switched_off(option: str, changed: list[str]) -> None:
    first, second = inputs(4), inputs(4)
    for name in changed:
        second[name] = second[name] * 2
    with_input, without_input = tower(), tower(**{option: False})
    assert not np.allclose(call(with_input, first), call(with_input, second))
    np.testing.assert_array_equal(call(without_input, first), call(without_input, second))


def test_hour_and_weekday_of_a_known_moment() -> None:
    # 2024-02-29 17:45 UTC was a Thursday: index 1 + 17 and 1 + 3.
    moment = tf.constant([1_709_228_700, 0], tf.int64)
    assert time_context("hour", moment).numpy().tolist() == [18, 0]
    assert time_context("weekday", moment).numpy().tolist() == [4, 0]
    with pytest.raises(KeyError):
        time_context("moon", moment)


def test_no_position_sees_a_later_event() -> None:
    layer = tower()
    before = inputs(6)
    after = inputs(6)
    changed = inputs(6, seed=9)
    after["items"][:, 4:], after["values"][:, 4:] = changed["items"][:, 4:], changed["values"][:, 4:]
    after["times"] = before["times"].copy()
    after["times"][:, 4:] += 77
    first, second = call(layer, before), call(layer, after)
    # Position 4 has seen the start and events 0 to 3.
    np.testing.assert_allclose(first[:, :5], second[:, :5], atol=1e-6)
    assert np.abs(first[:, 5:] - second[:, 5:]).max() > 1e-3


def test_more_padding_changes_nothing() -> None:
    layer = tower()
    long, short = inputs(6), inputs(6)
    short = {
        "items": long["items"][:, :3],
        "values": long["values"][:, :3],
        "times": long["times"][:, :3],
        "now": long["now"][:, :4],
        "context": {name: value[:, :4] for name, value in long["context"].items()},
    }
    np.testing.assert_allclose(call(layer, long)[:, :4], call(layer, short), atol=1e-6)


def test_a_history_may_start_anywhere_in_time() -> None:
    layer = tower()
    first, second = inputs(5), inputs(5)
    shift = 24 * 3600 * 7  # a week later the hour is the same
    second["times"], second["now"] = second["times"] + shift, second["now"] + shift
    np.testing.assert_allclose(call(layer, first), call(layer, second), atol=1e-6)


def test_an_empty_history_has_one_embedding_that_depends_on_the_context() -> None:
    layer = tower()
    first, second = inputs(0), inputs(0)
    second["context"]["device"] = (first["context"]["device"] + 1) % 3
    before, after = call(layer, first), call(layer, second)
    assert before.shape == (2, 1, 8)
    assert np.abs(before - after).max() > 1e-3


def test_the_mean_is_of_the_events_before_a_position_in_its_own_history() -> None:
    events = tf.constant([[[1.0], [3.0], [100.0], [6.0]]])
    # Histories of two and of one event: the last event of the first, 100, gives way to the start of the second.
    begins = tf.constant([[True, False, False, True, False]])
    assert UserTower._mean_before(events, begins).numpy().ravel().tolist() == [0.0, 1.0, 2.0, 0.0, 6.0]


def test_what_is_added_is_eight_times_the_mean_to_begin_with() -> None:
    arguments = inputs(3)
    plain, with_mean = tower(), UserTower(**{**tower().options, "average": True, "context": CONTEXT})
    call(plain, arguments), call(with_mean, arguments)
    with_mean.set_weights([*plain.get_weights()[:1], np.full(8, 8.0), *plain.get_weights()[1:]])
    means = np.cumsum(arguments["items"], axis=1) / np.arange(1, 4)[:, None]
    difference = call(with_mean, arguments) - call(plain, arguments)
    np.testing.assert_allclose(difference[:, 0], 0.0, atol=1e-5)
    np.testing.assert_allclose(difference[:, 1:], 8.0 * means, atol=1e-4)
