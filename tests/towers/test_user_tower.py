"""User tower: causality, padding, time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecs.schema import History
from towers.blocks.attention import HstuAttention, time_bucket
from towers.user import UserTower, time_context

CONTEXT = [
    {"name": "hour", "kind": "categories", "source": "time", "vocabulary": [str(hour) for hour in range(24)]},
    {"name": "device", "kind": "categories", "source": "column", "vocabulary": ["phone", "tv"]},
    {"name": "volume", "kind": "number", "source": "column"},
]


@pytest.fixture(params=["transformer", "hstu"])
def block(request: pytest.FixtureRequest) -> str:
    return request.param


def tower(block: str, *, values: bool = True, gaps: bool = True) -> UserTower:
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
        block=block,
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
def test_event_values_and_time_gaps_can_be_switched_off(block: str, option: str, changed: list[str]) -> None:
    first, second = inputs(4), inputs(4)
    for name in changed:
        second[name] = second[name] * 2
    with_input, without_input = tower(block), tower(block, **{option: False})
    assert not np.allclose(call(with_input, first), call(with_input, second))
    np.testing.assert_array_equal(call(without_input, first), call(without_input, second))


def test_hour_and_weekday_of_a_known_moment() -> None:
    # 2024-02-29 17:45 UTC was a Thursday: index 1 + 17 and 1 + 3.
    moment = tf.constant([1_709_228_700, 0], tf.int64)
    assert time_context("hour", moment).numpy().tolist() == [18, 0]
    assert time_context("weekday", moment).numpy().tolist() == [4, 0]
    with pytest.raises(KeyError):
        time_context("moon", moment)


def test_no_position_sees_a_later_event(block: str) -> None:
    layer = tower(block)
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


def test_more_padding_changes_nothing(block: str) -> None:
    layer = tower(block)
    long, short = inputs(6), inputs(6)
    short = {
        "items": long["items"][:, :3],
        "values": long["values"][:, :3],
        "times": long["times"][:, :3],
        "now": long["now"][:, :4],
        "context": {name: value[:, :4] for name, value in long["context"].items()},
    }
    np.testing.assert_allclose(call(layer, long)[:, :4], call(layer, short), atol=1e-6)


def test_a_history_may_start_anywhere_in_time(block: str) -> None:
    layer = tower(block)
    first, second = inputs(5), inputs(5)
    shift = 24 * 3600 * 7  # a week later the hour is the same
    second["times"], second["now"] = second["times"] + shift, second["now"] + shift
    np.testing.assert_allclose(call(layer, first), call(layer, second), atol=1e-6)


def test_an_empty_history_has_one_embedding_that_depends_on_the_context(block: str) -> None:
    layer = tower(block)
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
    disliked = tf.constant([[False, True, True, True]])  # the first event
    assert UserTower._mean_before(events, begins, disliked).numpy().ravel().tolist() == [0.0, 0.0, 3.0, 0.0, 6.0]


def test_what_is_added_is_eight_times_the_mean_to_begin_with(block: str) -> None:
    arguments = inputs(3)
    plain = tower(block)
    with_mean = UserTower(**{**plain.options, "average": True, "context": CONTEXT})
    call(plain, arguments), call(with_mean, arguments)
    with_mean.set_weights([*plain.get_weights()[:1], np.full(8, 8.0), *plain.get_weights()[1:]])
    means = np.cumsum(arguments["items"], axis=1) / np.arange(1, 4)[:, None]
    difference = call(with_mean, arguments) - call(plain, arguments)
    np.testing.assert_allclose(difference[:, 0], 0.0, atol=1e-5)
    np.testing.assert_allclose(difference[:, 1:], 8.0 * means, atol=1e-4)


def test_histories_in_one_row_are_embedded_as_each_in_a_row_of_its_own(block: str) -> None:
    # Of 2 and 3 events: the last event of the first predicts nothing and gives way to the start token of the second.
    layer, alone = tower(block), inputs(5)
    split = {"now": [alone["now"][:1, :3], alone["now"][1:, :4]]}
    parts = []
    for row, length in ((0, 2), (1, 3)):
        parts.append(
            {
                **{name: alone[name][row : row + 1, :length] for name in ("items", "values", "times")},
                "now": split["now"][row],
                "context": {name: value[row : row + 1, : length + 1] for name, value in alone["context"].items()},
            }
        )
    packed = {
        # What stands at the start token of the second history is not an event of it.
        name: np.concatenate([parts[0][name], parts[0][name][:, -1:], parts[1][name]], axis=1)
        for name in ("items", "values", "times")
    }
    packed["now"] = np.concatenate([part["now"] for part in parts], axis=1)
    packed["context"] = {
        name: np.concatenate([part["context"][name] for part in parts], axis=1) for name in alone["context"]
    }
    packed["segments"] = np.array([[0, 0, 0, 1, 1, 1, 1]], np.int32)
    expected = np.concatenate([call(layer, part) for part in parts], axis=1)
    np.testing.assert_allclose(call(layer, packed), expected, atol=1e-6)


def test_hstu_attention_by_hand() -> None:
    # D = 1, one head, two positions; every weight of the first projection 1, of the second 2, no bias but of distance 1.
    layer = HstuAttention(hidden_dim=2, num_heads=1, max_length=4)
    x, gaps = tf.constant([[[1.0, 0.0], [0.0, 2.0]]]), tf.zeros([1, 2, 2], tf.int32)
    layer(x, gaps)
    eye = np.eye(2, dtype=np.float32)
    layer.uvqk.set_weights([np.concatenate([eye] * 4, axis=1), np.zeros(8, np.float32)])
    layer.out.set_weights([2 * eye, np.zeros(2, np.float32)])
    layer.distance_bias.assign([[0.0], [0.5], [0.0], [0.0]])
    silu = lambda value: value / (1 + np.exp(-value))  # noqa: E731
    a, b = silu(1.0), silu(2.0)  # U = V = Q = K = [a, 0] at the first position and [0, b] at the second
    # The second gathers silu(b * b) / 4 of itself and silu(0 * a + 0.5) / 4 of the first.
    gathered = np.array([[silu(a * a) / 4 * a, 0.0], [silu(0.5) / 4 * a, silu(b * b) / 4 * b]])
    centred = gathered - gathered.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
    expected = 2 * normed * np.array([[a, 0.0], [0.0, b]])
    np.testing.assert_allclose(layer(x, gaps).numpy()[0], expected, atol=1e-5)
