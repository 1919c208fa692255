"""JSON requests to tensors and tensors to JSON responses, as in TensorFlow Serving's REST API (util/json_tensor.cc).

    {"signature_name": ..., "instances": [...]}   row format: one element a row, answered by {"predictions": [...]}
    {"signature_name": ..., "inputs": ...}        columnar format: one value an input, answered by {"outputs": ...}

Pure functions; errors are InvalidArgumentError with TensorFlow Serving's messages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.server.rest_api.json_values import dump, is_base64, listed, shown, type_name, unwrapped
from serving.server.status import code_name, invalid, unimplemented
from serving.wire.ids import ID_INPUTS, as_id
from serving.wire.tensors import DTYPES, DType

ROW, COLUMNAR = "instances", "inputs"


def read_inputs(document: Mapping[str, Any], signature: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Read the inputs of a predict request.

    Returns:
      The format of the request (ROW or COLUMNAR), and its inputs as arrays of the signature's element types.

    Raises:
      InvalidArgumentError: an input is missing or unknown, a value of another type, a list of another length.
    """
    if ROW in document and COLUMNAR in document:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of '{COLUMNAR}' or '{ROW}' "
            "keys to exist "
        )
    try:
        if ROW in document:
            return ROW, _from_rows(document[ROW], signature)
        if COLUMNAR in document:
            return COLUMNAR, _from_columns(document[COLUMNAR], signature)
    except RecursionError as error:
        raise invalid("JSON Value nested too deeply") from error
    raise invalid("Missing 'inputs' or 'instances' key")


def write_outputs(outputs: Mapping[str, np.ndarray], layout: str) -> bytes:
    """Encode the body of a response in the format of its request (ROW or COLUMNAR).

    Raises:
      InvalidArgumentError: in row format, an output has no rows or the outputs differ in their number of rows.
    """
    if layout == COLUMNAR:
        values = {name: listed(name, array) for name, array in outputs.items()}
        return dump({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    rows = 0
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if len(array) < 1:
            raise invalid(f"Tensor name: {name} has invalid batch size: {len(array)}")
        if rows and len(array) != rows:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)
    columns = {name: listed(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return dump({"predictions": next(iter(columns.values()))})
    return dump({"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]})


def _from_rows(rows: Any, signature: Any) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(rows)} Excepting '{ROW}' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(rows)} No values in '{ROW}' array")
    infos = signature.inputs
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_object(rows[0])
    required = set(infos) - set(signature.defaults)
    columns: dict[str, _Column] = {}
    for number, row in enumerate(rows):
        if named and not _is_object(row):
            raise invalid(f"Expecting object but got list at item {number} of input list")
        if not named and _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        items = row if named else {next(iter(infos)): row}
        for name, value in items.items():
            try:
                if name not in infos:
                    raise invalid(f"JSON object: does not have named input: {name}")
                column = columns.setdefault(name, _Column(name, infos[name].dtype))
                column.add(value)
            except tf.errors.OpError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of '{ROW}' list. "
                    f"Error: {code_name(error.error_code)}: {error.message}"
                ) from error
        if not required <= set(items) or set(items) != set(columns):
            raise invalid(
                f"Failed to process element: {number} of '{ROW}' list. JSON object: {shown(row)} keys must be equal "
                f"to: {','.join(sorted(infos))}"
            )
    return {name: column.array(len(rows)) for name, column in columns.items()}


def _from_columns(columns: Any, signature: Any) -> dict[str, np.ndarray]:
    infos = signature.inputs
    if not _is_object(columns):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        columns = {next(iter(infos)): columns}
    arrays = {}
    for name, info in sorted(infos.items()):
        if name not in columns:
            if name in signature.defaults:
                continue
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        column = _Column(name, info.dtype)
        column.add(columns[name])
        arrays[name] = column.array(None)
    return arrays


class _Column:
    """Collects the values of one input; all must have the shape of the first. Ids may be numbers."""

    def __init__(self, name: str, dtype: int) -> None:
        self._ids = name in ID_INPUTS
        self._number, self._dtype = dtype, DTYPES.get(dtype)
        self._shape: tuple[int, ...] = ()
        self._size = -1
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        shape, before = _shape(value), len(self._values)
        self._fill(value, shape, 0)
        size = len(self._values) - before
        if self._size < 0:
            self._shape, self._size = shape, size
        elif size != self._size:
            raise invalid(f"Expecting tensor size: {self._size} but got: {size}")
        elif shape != self._shape:
            raise invalid(f"Expecting shape {_bracketed(self._shape)} but got: {_bracketed(shape)}")

    def array(self, rows: int | None) -> np.ndarray:
        # Without a known type there are no values: `add` would have raised.
        flat = np.empty(len(self._values), object if self._dtype is None else self._dtype.numpy)
        flat[:] = self._values
        return flat.reshape(self._shape if rows is None else (rows, *self._shape))

    def _fill(self, value: Any, shape: tuple[int, ...], level: int) -> None:
        rank = len(shape)
        if not isinstance(value, list):
            if level != rank:
                raise invalid(
                    f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            if self._dtype is None:
                name = types_pb2.DataType.Name(self._number).removeprefix("DT_").lower()
                raise unimplemented(f"Conversion of JSON Value: {shown(value)} to type: {name}")
            value = _id(value) if self._ids and self._dtype.name == "string" else value
            self._values.append(_scalar(value, self._dtype))
        elif level >= rank:
            raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
        elif len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        else:
            for item in value:
                self._fill(item, shape, level + 1)


def _shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _id(value: Any) -> Any:
    """A whole number as an id, which TensorFlow Serving does not take; all else as it is."""
    try:
        return as_id(value)
    except ValueError:
        return value


def _scalar(value: Any, dtype: DType) -> Any:
    kind = dtype.numpy.kind
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "O" and isinstance(value, str):
        # A lone surrogate (an escape such as "\ud800") cannot be encoded and must not raise an internal error.
        return value.encode("utf-8", "replace")
    if kind == "O" and isinstance(value, dict):
        return unwrapped(value)
    if kind == "b" and isinstance(value, bool):
        return value
    if kind == "f" and number:
        return _real(value, dtype)
    if kind in "iu" and number and isinstance(value, int):
        bounds = np.iinfo(dtype.numpy)
        if bounds.min <= value <= bounds.max:
            return value
    raise invalid(f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {dtype.name}")


def _real(value: int | float, dtype: DType) -> float:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        # Integers up to here are exact in this type.
        exact = abs(value) < 2 ** (np.finfo(dtype.numpy).nmant + 1)
    else:
        # TensorFlow Serving parses integers of more than 64 bits as decimal numbers.
        try:
            value = float(value)
        except OverflowError:
            raise invalid("JSON Parse error: Number too big to be stored in double.") from None
        with np.errstate(over="ignore"):
            exact = not math.isfinite(value) or bool(np.isfinite(dtype.numpy.type(value)))
    if not exact:
        raise invalid(f"Cannot convert JSON value: {shown(value)} to {dtype.name} without loss of precision.")
    return float(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _bracketed(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
