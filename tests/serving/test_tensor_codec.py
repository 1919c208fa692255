"""numpy arrays to TensorProto and back, compared with TensorFlow's conversion, and malformed messages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from serving.wire import stubs, tensors

LIMIT = 1 << 20
NUMBERS = (np.float32, np.float64, np.float16, np.int64, np.int32, np.int16, np.int8)
UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64, np.bool_)

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
numbers = st.sampled_from(NUMBERS + UNSIGNED).flatmap(lambda dtype: arrays.arrays(dtype, shapes))
# Binary data, NULs at the end and invalid UTF-8 included.
byte_strings = shapes.flatmap(
    lambda shape: st.lists(st.binary(max_size=5), min_size=math.prod(shape), max_size=math.prod(shape)).map(
        lambda items: object_array(items, shape)
    )
)


def object_array(items: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat.reshape(shape)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Same type, same shape, same bits (NaN included)."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype == object else left.tobytes() == right.tobytes()


def encoded(values: object, content: bool, kind: type = tensor_pb2.TensorProto) -> tensor_pb2.TensorProto:
    proto = kind()
    tensors.encode(values, proto, content=content)
    return proto


@given(st.one_of(numbers, byte_strings), st.booleans())
def test_what_is_encoded_decodes_to_the_same_array(array, content):
    assert same(tensors.decode(encoded(array, content), limit_bytes=LIMIT), array)


@given(st.one_of(numbers, byte_strings))
def test_the_light_message_classes_have_the_wire_format_of_tensorflow(array):
    light = encoded(array, True, stubs.message("PredictRequest").InputsEntry().value.__class__)
    assert light.SerializeToString(deterministic=True) == encoded(array, True).SerializeToString(deterministic=True)


@given(st.one_of(numbers, byte_strings), st.booleans())
def test_tensorflow_reads_what_this_codec_writes(array, content):
    assert same(tf.make_ndarray(encoded(array, content)), array)


@given(st.one_of(numbers, byte_strings))
def test_this_codec_reads_what_tensorflow_writes(array):
    assert same(tensors.decode(tf.make_tensor_proto(array), limit_bytes=LIMIT), array)


@given(numbers)
def test_the_runtime_itself_reads_the_typed_fields_as_this_codec_means_them(array):
    parsed = tf.io.parse_tensor(encoded(array, False).SerializeToString(), tf.as_dtype(array.dtype))
    assert same(parsed.numpy() if array.ndim else np.asarray(parsed.numpy()), array)


@given(st.text(max_size=8), st.integers(0, 3))
def test_text_travels_as_utf8_at_any_rank(text, rank):
    nested: object = text
    for _ in range(rank):
        nested = [nested]
    array = tensors.decode(encoded(nested, False), limit_bytes=LIMIT)
    assert array.shape == (1,) * rank
    assert array.reshape(-1).tolist() == [text.encode()]


def test_a_list_of_bytes_keeps_the_nuls_at_the_end():
    proto = encoded([b"\x89PNG\x00\x00", b""], False)
    assert list(proto.string_val) == [b"\x89PNG\x00\x00", b""]


def test_big_endian_arrays_are_sent_in_the_order_of_the_wire():
    assert encoded(np.array([1, 258], ">i4"), True).tensor_content == bytes([1, 0, 0, 0, 2, 1, 0, 0])
    assert list(encoded(np.array([1, 258], ">i4"), False).int_val) == [1, 258]


def test_the_last_value_is_repeated_where_values_are_missing():
    proto = tensor_pb2.TensorProto(dtype=1, float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add(size=2)
    proto.tensor_shape.dim.add(size=2)
    assert tensors.decode(proto, limit_bytes=16).tolist() == [[1.0, 2.0], [2.0, 2.0]]
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.float32).numpy().tolist() == [[1.0, 2.0], [2.0, 2.0]]


def test_no_value_at_all_means_zeros_or_empty_strings():
    empty = tensor_pb2.TensorProto(dtype=9)
    empty.tensor_shape.dim.add(size=3)
    assert tensors.decode(empty, limit_bytes=LIMIT).tolist() == [0, 0, 0]
    empty.dtype = 7
    assert tensors.decode(empty, limit_bytes=LIMIT).tolist() == [b"", b"", b""]


@pytest.mark.parametrize(("number", "elements"), [(1, 5), (7, 1)])
def test_a_short_message_cannot_ask_for_more_memory_than_allowed(number, elements):
    proto = tensor_pb2.TensorProto(dtype=number)
    proto.tensor_shape.dim.add(size=elements)
    with pytest.raises(tensors.TensorError, match="would exceed 16 bytes"):
        tensors.decode(proto, limit_bytes=16)


def lie(sizes: Sequence[int] = (2,), **fields: object) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (lie(dtype=1, float_val=[1, 2, 3]), "3 values for the 2 elements"),
        (lie(dtype=1, sizes=[-1]), "negative size"),
        (lie(dtype=1, sizes=[-2, -3]), "negative size"),
        (lie(dtype=1, tensor_content=b"12345"), "5 bytes of content"),
        (lie(dtype=7, tensor_content=b"12345"), "strings as tensor_content"),
        (lie(dtype=1, sizes=[1] * 33), "rank 33"),
        (lie(dtype=1, sizes=[2**62, 2**62, 0]), "too large"),
        (lie(dtype=1, sizes=[2**62, 2**62]), "would exceed"),
        (lie(dtype=8), "type 8 is not supported"),
        (lie(dtype=0), "type 0 is not supported"),
        (lie(dtype=101), "type 101 is not supported"),
        (lie(dtype=999), "type 999 is not supported"),
        (tensor_pb2.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "no known rank"),
    ],
)
def test_a_message_that_does_not_hold_a_tensor_is_refused(proto, message):
    with pytest.raises(tensors.TensorError, match=message):
        tensors.decode(proto, limit_bytes=LIMIT)


@given(st.binary(max_size=60))
def test_random_bytes_decode_or_are_refused_but_nothing_else(data):
    proto = tensor_pb2.TensorProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        return
    try:
        array = tensors.decode(proto, limit_bytes=LIMIT)
    except tensors.TensorError:
        return
    assert array.shape == tuple(dim.size for dim in proto.tensor_shape.dim)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], ["b", "c"]], "rows of different lengths"),
        ([[1], [2, 3]], "not an array"),
        (["a", 1], "int where a string or a number"),
        (["\ud800"], "not Unicode"),
        ([1.0, None], "float where a string or a number"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        (2**70, "beyond 64 bits"),
    ],
)
def test_values_that_are_no_tensor_are_refused(values, message):
    with pytest.raises(tensors.TensorError, match=message):
        encoded(values, False)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2], 1, np.array([1, 2], np.float32)),
        (0.1, 1, np.array(0.1, np.float32)),
        (7, 3, np.array(7, np.int32)),
        ([[]], 7, np.empty((1, 0), object)),
        ([], 9, np.empty(0, np.int64)),
        (np.array([1], np.int32), 9, np.array([1], np.int64)),
        ([True], 10, np.array([True])),
    ],
)
def test_values_are_brought_to_the_type_of_the_input(values, dtype, expected):
    assert same(tensors.cast(values, tensors.DTYPES[dtype]), expected)


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (1.0, 3, "double values where int32 is expected"),
        (2**31, 3, "does not fit int32"),
        (-1, 4, "does not fit uint8"),
        (["1"], 1, "string values where float is expected"),
        ([1], 7, "int64 values where string is expected"),
        ([True], 3, "bool values where int32 is expected"),
    ],
)
def test_values_of_another_kind_are_refused(values, dtype, message):
    with pytest.raises(tensors.TensorError, match=message):
        tensors.cast(values, tensors.DTYPES[dtype])
