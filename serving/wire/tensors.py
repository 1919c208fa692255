"""Conversion between numpy arrays and TensorProto, without TensorFlow.

The caller passes the message, so the same code works with TensorFlow's classes and with those of `serving.wire.stubs`.
The fields are described in tensorflow/core/framework/tensor.proto; see also Tensor::FromProto.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAX_RANK = 32  # numpy's limit; TensorFlow's is 254
_STRING_BYTES = 24  # memory that TensorFlow uses per string besides its characters
_LITTLE = sys.byteorder == "little"


class TensorError(ValueError):
    """A value cannot become a tensor, or a message holds none. The message is one line without the input's name."""


@dataclass(frozen=True)
class DType:
    """An element type: number and name in TensorFlow, numpy type, and field of TensorProto with its values."""

    number: int
    name: str
    numpy: np.dtype[Any]
    field: str


_TABLE = (
    DType(1, "float", np.dtype(np.float32), "float_val"),
    DType(2, "double", np.dtype(np.float64), "double_val"),
    DType(3, "int32", np.dtype(np.int32), "int_val"),
    DType(4, "uint8", np.dtype(np.uint8), "int_val"),
    DType(5, "int16", np.dtype(np.int16), "int_val"),
    DType(6, "int8", np.dtype(np.int8), "int_val"),
    DType(7, "string", np.dtype(object), "string_val"),
    DType(9, "int64", np.dtype(np.int64), "int64_val"),
    DType(10, "bool", np.dtype(np.bool_), "bool_val"),
    DType(17, "uint16", np.dtype(np.uint16), "int_val"),
    DType(19, "half", np.dtype(np.float16), "half_val"),
    DType(22, "uint32", np.dtype(np.uint32), "uint32_val"),
    DType(23, "uint64", np.dtype(np.uint64), "uint64_val"),
)
DTYPES: dict[int, DType] = {row.number: row for row in _TABLE}
_BY_NUMPY: dict[np.dtype[Any], DType] = {row.numpy: row for row in _TABLE}


def dtype_name(number: int) -> str:
    """The name of an element type, such as "float" for 1; "type N" if it is not in the table."""
    return DTYPES[number].name if number in DTYPES else f"type {number}"


def encode(values: Any, proto: Any, *, content: bool) -> None:
    """Fill an empty TensorProto.

    Args:
      values: an array, or anything that numpy converts to one. Strings are str (sent as UTF-8) or bytes, in an object
        array, a list or numpy's string types. numpy's bytes type drops trailing NULs, so binary data needs the others.
      proto: the message to fill, of any class generated from tensor.proto.
      content: send numbers as raw bytes (`tensor_content`, fastest) and not in the typed fields, which much client
        code reads. Strings always go into their field.

    Raises:
      TensorError: tensors do not have that element type, or a string is neither str nor bytes, or not Unicode.
    """
    array = as_array(values)
    row = _BY_NUMPY[array.dtype]
    proto.dtype = row.number
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if row.name == "string":
        proto.string_val.extend(array.ravel().tolist())
    elif content:
        proto.tensor_content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    elif row.name == "half":
        proto.half_val.extend(array.ravel().view(np.uint16).tolist())
    else:
        getattr(proto, row.field).extend(array.ravel().tolist())


def decode(proto: Any, *, limit_bytes: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Convert a TensorProto to an array; strings become an object array of bytes.

    If there are fewer values than the shape has, the last one is repeated (0 or "" if there is none), which is
    TensorFlow's shorthand. A few bytes can ask for any amount of memory that way, hence the limit.

    Args:
      proto: a message of any class generated from tensor.proto.
      limit_bytes: the largest tensor in shorthand; tensors written in full are not limited.
      shape: `dimensions` of the message, if the caller has them already.

    Raises:
      TensorError: unknown element type, no definite shape, or content that does not fit the shape.
    """
    row = DTYPES.get(proto.dtype)
    if row is None:
        raise TensorError(f"element {dtype_name(proto.dtype)} is not supported")
    if shape is None:
        shape = dimensions(proto)
    count = math.prod(shape)
    if content := proto.tensor_content:
        return _from_content(content, row, shape, count)
    values = getattr(proto, row.field)
    given = len(values)
    if given > count:
        raise TensorError(f"{given} values for the {count} elements of shape {list(shape)}")
    if given < count:
        last = values[-1] if given else b""
        size = _STRING_BYTES + len(last) if row.name == "string" else row.numpy.itemsize
        if count * size > limit_bytes:
            raise TensorError(f"{given} values for shape {list(shape)}: filled up, it would exceed {limit_bytes} bytes")
    flat = _from_field(values, given, row)
    if given < count:
        fill: Any = flat[-1] if given else (b"" if row.name == "string" else 0)
        full = np.empty(count, row.numpy)
        full[:given] = flat
        full[given:] = fill
        flat = full
    return _reshaped(flat, shape)


def dimensions(proto: Any) -> tuple[int, ...]:
    """The shape of a TensorProto. Raises TensorError if it has no definite one, or one that numpy cannot hold."""
    declared = proto.tensor_shape
    if declared.unknown_rank:
        raise TensorError("the shape has no known rank")
    shape = tuple([dim.size for dim in declared.dim])
    if len(shape) > _MAX_RANK:
        raise TensorError(f"rank {len(shape)} is more than {_MAX_RANK}")
    if shape and min(shape) < 0:
        raise TensorError(f"shape {list(shape)} has a negative size")
    return shape


def as_array(values: Any) -> np.ndarray:
    """Convert values to an array of one of the element types above; strings become an object array of bytes.

    Raises:
      TensorError: see `encode`.
    """
    try:
        array = values if isinstance(values, np.ndarray) else _from_nested(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise TensorError(f"not an array: {str(error).splitlines()[0]}") from error
    if array.dtype.kind in "OUS":
        flat = np.empty(array.size, object)
        flat[:] = [_as_bytes(item) for item in array.ravel().tolist()]
        return flat.reshape(array.shape)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype not in _BY_NUMPY:
        raise TensorError(f"no tensor has elements of numpy type {array.dtype}")
    return native


def cast(values: Any, dtype: DType) -> np.ndarray:
    """Convert values to an array of an element type, if that loses nothing but float precision.

    Integers become floats, but floats never become integers, nor numbers strings. An empty list has any type.

    Raises:
      TensorError: the values are of another kind or out of range.
    """
    array = as_array(values)
    if array.dtype == dtype.numpy:
        return array
    if array.size == 0 and not isinstance(values, np.ndarray):
        return array.astype(dtype.numpy)
    if array.dtype.kind in "iuf" and dtype.numpy.kind == "f":
        return array.astype(dtype.numpy)
    if array.dtype.kind in "iu" and dtype.numpy.kind in "iu":
        bounds = np.iinfo(dtype.numpy)
        if array.size == 0 or (int(array.min()) >= bounds.min and int(array.max()) <= bounds.max):
            return array.astype(dtype.numpy)
        raise TensorError(f"a value does not fit {dtype.name}")
    raise TensorError(f"{_BY_NUMPY[array.dtype].name} values where {dtype.name} is expected")


def _from_nested(values: Any) -> np.ndarray:
    # Strings stay Python objects: numpy's bytes type would drop trailing NULs.
    return np.array(values, dtype=object) if _holds_strings(values) else np.asarray(values)


def _holds_strings(values: Any) -> bool:
    while isinstance(values, Sequence) and not isinstance(values, (str, bytes, bytearray)):
        if not values:
            return False
        # A list may begin with empty lists; the first non-empty element decides.
        values = next((item for item in values if not (isinstance(item, Sequence) and len(item) == 0)), values[0])
    return isinstance(values, (str, bytes, bytearray))


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError as error:
            raise TensorError(f"{item!r} is not Unicode text") from error
    raise TensorError(
        f"{type(item).__name__} where a string or a number is expected (mixed types, a number beyond 64 bits, or rows "
        "of different lengths)"
    )


def _from_content(content: bytes, row: DType, shape: tuple[int, ...], count: int) -> np.ndarray:
    if row.name == "string":
        raise TensorError("strings as tensor_content are not supported")
    if len(content) != count * row.numpy.itemsize:
        raise TensorError(f"{len(content)} bytes of content for shape {list(shape)} of {row.name}")
    if row.name == "bool":
        return _reshaped(np.frombuffer(content, np.uint8) != 0, shape)
    flat = np.frombuffer(content, row.numpy) if _LITTLE else np.frombuffer(content, row.numpy.newbyteorder("<"))
    # A copy, because frombuffer returns a read-only array.
    return _reshaped(flat.astype(row.numpy), shape)


def _from_field(values: Any, given: int, row: DType) -> np.ndarray:
    if row.name == "string":
        flat = np.empty(given, object)
        flat[:] = values[:]
        return flat
    if row.name == "half":
        return np.fromiter(values, np.int32, given).astype(np.uint16).view(np.float16)
    if row.field == "int_val":
        # The field is wider than the type; like TensorFlow's cast, astype wraps around.
        return np.fromiter(values, np.int32, given).astype(row.numpy)
    return np.fromiter(values, row.numpy, given)


def _reshaped(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return flat.reshape(shape)
    except ValueError as error:  # no elements, and sizes whose product overflows
        raise TensorError(f"shape {list(shape)} is too large") from error
