"""JSON to tensors and back: values survive the round trip, and any invalid input is an INVALID_ARGUMENT."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.server.rest_api.json_tensors import COLUMNAR, ROW, read_inputs, write_outputs
from serving.server.rest_api.json_values import parse

TYPES = {"f": tf.float32, "d": tf.float64, "i": tf.int32, "l": tf.int64, "u": tf.uint8, "b": tf.bool, "s": tf.string}
ALL = st.one_of(
    *[arrays.arrays(tf.dtypes.as_dtype(t).as_numpy_dtype, arrays.array_shapes(min_dims=1, max_dims=3, max_side=3))
      for t in (tf.float32, tf.float64, tf.int32, tf.int64, tf.uint8, tf.bool)]
)  # fmt: skip


def signature(**inputs: tf.DType) -> Any:
    definition = tf.compat.v1.MetaGraphDef().signature_def["s"]
    for alias, dtype in inputs.items():
        definition.inputs[alias].dtype = dtype.as_datatype_enum
    return definition


@given(ALL)
@settings(max_examples=200, deadline=None)
def test_numbers_survive_the_way_out_and_back_in_both_formats(array: np.ndarray) -> None:
    definition = signature(x=tf.dtypes.as_dtype(array.dtype))
    for layout, key in ((ROW, "predictions"), (COLUMNAR, "outputs")):
        body = write_outputs({"y": array}, layout)
        found, inputs = read_inputs(parse(json.dumps({layout: json.loads(body)[key]}).encode()), definition)
        assert found == layout
        assert inputs["x"].dtype == array.dtype
        np.testing.assert_array_equal(inputs["x"], array)


@given(st.lists(st.binary(), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_bytes_survive_under_names_that_end_in_bytes(values: list[bytes]) -> None:
    flat = np.empty(len(values), object)
    flat[:] = values
    outputs = json.loads(write_outputs({"raw_bytes": flat}, COLUMNAR))["outputs"]
    _, inputs = read_inputs({"inputs": outputs}, signature(x=tf.string))
    assert inputs["x"].tolist() == values


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "x", "y", "z"]), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(ANY, st.sampled_from([ROW, COLUMNAR]), st.sampled_from(sorted(TYPES)), st.booleans())
@settings(max_examples=500, deadline=None)
def test_any_json_is_inputs_or_an_invalid_argument(value: Any, layout: str, kind: str, two: bool) -> None:
    definition = signature(x=TYPES[kind], y=tf.string) if two else signature(x=TYPES[kind])
    document = parse(json.dumps({layout: value}).encode())
    try:
        _, inputs = read_inputs(document, definition)
    except tf.errors.InvalidArgumentError:  # any other exception fails the test
        return
    assert set(inputs) == set(definition.inputs)
    assert inputs["x"].dtype == np.dtype(object if kind == "s" else TYPES[kind].as_numpy_dtype)


@given(st.binary(max_size=30) | st.text(alphabet='{}[]",:0123456789.eE+-\\u NaIfity', max_size=30).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_object_or_an_invalid_argument(body: bytes) -> None:
    try:
        document = parse(body)
    except tf.errors.InvalidArgumentError:  # any other exception fails the test
        return
    assert isinstance(document, dict)


def test_whole_numbers_are_ids_in_inputs_of_ids_alone() -> None:
    definition = signature(history_ids=tf.string, query=tf.string)
    for document in ({"inputs": {"history_ids": [[1, "b", 7.0]], "query": ["x"]}},
                     {"instances": [{"history_ids": [1, "b", 7.0], "query": "x"}]}):  # fmt: skip
        _, inputs = read_inputs(document, definition)
        assert inputs["history_ids"].tolist() == [[b"1", b"b", b"7"]]
    for ids, query in (([[True]], ["x"]), ([[1.5]], ["x"]), ([[1]], [7])):
        with pytest.raises(tf.errors.InvalidArgumentError, match="is not of expected type: string"):
            read_inputs({"inputs": {"history_ids": ids, "query": query}}, definition)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        (tf.int32, 2**31, f"JSON Value: {2**31} Type: Number is not of expected type: int32"),
        (tf.int32, 1.0, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (tf.int32, True, "JSON Value: true Type: True is not of expected type: int32"),
        (tf.float32, None, "JSON Value: null Type: Null is not of expected type: float"),
        (tf.float32, 1e39, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (tf.float32, 2**24 + 1, "Cannot convert JSON value: 16777217 to float without loss of precision."),
        # An integer beyond 64 bits is a decimal number there, and so one that a float may hold inexactly.
        (tf.float32, 10**39, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (tf.string, 1, "JSON Value: 1 Type: Number is not of expected type: string"),
        (tf.string, {"b64": "***"}, "Unable to base64 decode"),
        (tf.float32, [[1], [2, 3]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (
            tf.float32,
            [[1], 2],
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (tf.float32, [1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_a_wrong_value_is_named(dtype: tf.DType, value: Any, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read_inputs({"inputs": {"x": value}}, signature(x=dtype))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "JSON Value: [] No values in 'instances' array"),
        (3, "JSON Value: 3 Excepting 'instances' to be an list/array"),
        ([1], "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ([{"x": 1, "y": 2}, 3], "Expecting object but got list at item 1 of input list"),
        ([{"x": 1}], "Failed to process element: 0 of 'instances' list. JSON object: {\"x\": 1} keys must be equal to: x,y"),
        (
            [{"x": 1, "z": 2}],
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
            "have named input: z",
        ),
        # The number of values is compared before the shape, and both after the values themselves.
        (
            [{"x": [1, 2], "y": 0}, {"x": [1], "y": 0}],
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but "
            "got: 1",
        ),
        (
            [{"x": [[1, 2]], "y": 0}, {"x": [[1], [2]], "y": 0}],
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1,2] but "
            "got: [2,1]",
        ),
        (
            [{"x": [1, 2], "y": 0}, {"x": ["a"], "y": 0}],
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: "
            "String is not of expected type: int32",
        ),
    ],
)  # fmt: skip
def test_wrong_rows_are_named(rows: Any, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read_inputs({"instances": rows}, signature(x=tf.int32, y=tf.int32))
    assert caught.value.message.startswith(message)


def test_large_integers_are_decimal_numbers_where_floats_are_expected() -> None:
    _, inputs = read_inputs({"inputs": {"x": [10**20, -(10**20)]}}, signature(x=tf.float32))
    np.testing.assert_array_equal(inputs["x"], np.array([1e20, -1e20], np.float32))


@pytest.mark.parametrize(
    ("layout", "value", "error"),
    [("inputs", [1, 2], tf.errors.UnimplementedError), ("instances", [{"x": 1}], tf.errors.InvalidArgumentError)],
)
def test_a_type_that_json_has_no_way_to_is_named(layout: str, value: Any, error: type[tf.errors.OpError]) -> None:
    with pytest.raises(error) as caught:
        read_inputs({layout: {"x": value} if layout == "inputs" else value}, signature(x=tf.complex64))
    assert caught.value.message.endswith("Conversion of JSON Value: 1 to type: complex64")
