"""Merging requests into a batch and splitting its outputs; expected values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from toy_server import batches

from serving.server.batching.batches import (
    batch_key,
    batched_inputs,
    is_divisible,
    merge,
    result_width,
    rounded_up,
    row_count,
    split,
)

A = {"x": np.array([[1, 2]]), "k": np.array(3)}
B = {"x": np.array([[3, 4], [5, 6]]), "k": np.array(3)}
X = frozenset({"x"})
NONE: frozenset[str] = frozenset()


def test_requests_are_put_together_and_taken_apart() -> None:
    merged = merge([A, B], X, pad_lengths=False, paddable=NONE, size=3)
    assert merged["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert merged["k"].tolist() == 3
    first, second = split({"y": np.array([10, 20, 30])}, [1, 2], 3, [None] * 2)
    assert first["y"].tolist() == [10]
    assert second["y"].tolist() == [20, 30]


def test_a_batch_is_filled_up_with_the_last_request_s_first_row() -> None:
    assert rounded_up(3, (2, 4, 8)) == 4
    assert rounded_up(3, ()) == 3
    assert merge([A, B], X, pad_lengths=False, paddable=NONE, size=4)["x"].tolist() == [[1, 2], [3, 4], [5, 6], [3, 4]]
    first, second = split({"y": np.array([10, 20, 30, 20])}, [1, 2], 4, [None] * 2)
    assert (first["y"].tolist(), second["y"].tolist()) == ([10], [20, 30])


def test_inputs_without_a_batch_axis_must_be_equal() -> None:
    other = {**A, "k": np.array(4)}
    assert batch_key(A, X, pad_lengths=False, paddable=NONE) == batch_key(B, X, pad_lengths=False, paddable=NONE)
    assert batch_key(A, X, pad_lengths=False, paddable=NONE) != batch_key(other, X, pad_lengths=False, paddable=NONE)
    word = {**A, "k": np.array(b"three", object)}
    assert batch_key(word, X, pad_lengths=False, paddable=NONE) != batch_key(
        {**A, "k": np.array(b"four", object)}, X, pad_lengths=False, paddable=NONE
    )


def test_types_must_be_equal_even_where_the_bytes_are() -> None:
    """Joined, an int32 and a float32 column would both become float64."""
    for name in ("x", "k"):
        other = {**A, name: A[name].view(np.float64)}
        assert batch_key(A, X, pad_lengths=True, paddable=NONE) != batch_key(other, X, pad_lengths=True, paddable=NONE)


def test_shapes_behind_the_batch_axis_must_be_equal_unless_they_are_padded() -> None:
    longer = {"x": np.array([[7, 8, 9]]), "k": np.array(3)}
    assert batch_key(A, X, pad_lengths=False, paddable=NONE) != batch_key(longer, X, pad_lengths=False, paddable=NONE)
    assert batch_key(A, X, pad_lengths=True, paddable=NONE) == batch_key(longer, X, pad_lengths=True, paddable=NONE)
    # As TensorFlow Serving pads: with the first value of the shorter one.
    assert merge([A, longer], X, pad_lengths=True, paddable=NONE, size=2)["x"].tolist() == [[1, 2, 1], [7, 8, 9]]
    empty = {"x": np.zeros((1, 0)), "k": np.array(3)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="Got empty tensor in batch of non-empty tensors"):
        merge([empty, longer], X, pad_lengths=True, paddable=NONE, size=2)


def test_blank_inputs_are_padded_with_nothing_within_a_power_of_two() -> None:
    def of_length(length: int) -> dict[str, Any]:
        return {"x": np.array([[b"id"] * length], object).reshape(1, length), "t": np.ones((1, length), np.int64)}

    both = frozenset({"x", "t"})
    keys = {
        length: batch_key(of_length(length), both, pad_lengths=False, paddable=both)
        for length in (0, 1, 2, 3, 4, 5, 8, 9)
    }
    assert keys[3] == keys[4] != keys[5] == keys[8] != keys[9]
    assert len({keys[0], keys[1], keys[2], keys[3]}) == 4
    merged = merge([of_length(3), of_length(4)], both, pad_lengths=False, paddable=both, size=2)
    assert merged["x"].tolist() == [[b"id", b"id", b"id", b""], [b"id"] * 4]
    assert merged["t"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def of_width(*k: int, **other: Any) -> dict[str, Any]:
    return {"x": np.zeros((len(k), 1)), "k": np.array(k, np.int32), **other}


def test_requests_of_a_triptych_export_for_about_as_many_results_share_a_batch() -> None:
    both = frozenset({"x", "k"})

    def key(*k: int, paddable: frozenset[str] = X) -> Any:
        return batch_key(of_width(*k), both, pad_lengths=False, paddable=paddable)

    assert key(1) == key(64) == key(3, 17)
    assert key(64) != key(65) == key(1, 128) != key(129)
    assert key(1, paddable=NONE) == key(10**6, paddable=NONE)  # the k of another model may mean anything


def test_the_answer_has_as_many_columns_as_its_own_request_asked_for() -> None:
    assert result_width(of_width(3, 7)) == 7
    assert result_width({"candidate_ids": np.zeros((2, 4))}) == 4
    assert result_width({"k": np.array(3)}) is None  # one for all requests of the batch
    assert result_width({"x": np.zeros((2, 4))}) is None
    outputs = {"ids": np.arange(9).reshape(3, 3), "weights": np.ones((3, 3, 2)), "one": np.arange(3)}
    first, second = split(outputs, [2, 1], 3, [1, 2])
    assert (first["ids"].tolist(), second["ids"].tolist()) == ([[0], [3]], [[6, 7]])
    assert (first["weights"].shape, second["weights"].shape) == ((2, 1, 2), (1, 2, 2))
    assert (first["one"].tolist(), second["one"].tolist()) == ([0, 1], [2])


def test_rows_with_different_k_cannot_be_answered_in_parts() -> None:
    assert is_divisible(of_width(3, 3))
    assert is_divisible({"x": np.zeros((2, 1))})
    assert not is_divisible(of_width(3, 4))


def test_rows_must_agree_between_inputs_and_with_outputs() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="equal 0th-dimension size"):
        row_count({"x": np.zeros((2, 1)), "y": np.zeros(3)}, frozenset({"x", "y"}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have at least one dimension"):
        row_count({"x": np.array(1)}, X)
    assert row_count(B, X) == 2
    with pytest.raises(tf.errors.FailedPreconditionError, match="0th dimension does not equal"):
        split({"y": np.zeros(2)}, [1, 2], 3, [None] * 2)
    with pytest.raises(tf.errors.FailedPreconditionError, match="has 0 dimensions"):
        split({"y": np.array(1.0)}, [1, 2], 3, [None] * 2)


def signature(inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> Any:
    definition = tf.compat.v1.MetaGraphDef().signature_def["s"]
    for infos, shapes in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for alias, shape in shapes.items():
            infos[alias].tensor_shape.SetInParent()
            for size in shape:
                infos[alias].tensor_shape.dim.add(size=size)
    return definition


def test_a_signature_is_batched_where_all_outputs_and_at_least_one_input_have_a_free_first_axis() -> None:
    mixed = signature({"x": [-1, 2], "k": [], "fixed": [3]}, {"y": [-1], "total": []})
    assert batched_inputs(mixed, ["y"]) == X
    assert batched_inputs(mixed, ["y", "total"]) is None
    assert batched_inputs(signature({"k": []}, {"y": [-1]}), ["y"]) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be positive; was 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros must be non-negative; was -1"),
        ({"allowed_batch_sizes": (2, 3)}, "must match max_batch_size; last entry was 3; expected 4"),
        ({"allowed_batch_sizes": (3, 2, 4)}, "monotonically increasing"),
        ({"max_execution_batch_size": 5}, "must not be larger than max_batch_size"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(**changes)
