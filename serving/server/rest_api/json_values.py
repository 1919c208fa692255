"""JSON values that predict requests and requests with Examples have in common.

Bytes are {"b64": "..."} in requests, and in responses for outputs whose names end in "_bytes". Numbers may be NaN,
Infinity and -Infinity. Pure functions; errors are InvalidArgumentError with TensorFlow Serving's messages.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.server.status import invalid

_BYTES_SUFFIX = "_bytes"
_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def parse(body: bytes) -> dict[str, Any]:
    """Parse the JSON object in a request's body. Raises InvalidArgumentError."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document


def unwrapped(value: Mapping[str, Any]) -> bytes:
    """The bytes of {"b64": ...}. Raises InvalidArgumentError."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        # As TensorFlow Serving, with or without the padding at the end.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def is_base64(value: Any) -> bool:
    """Whether a value has the form of bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def listed(name: str, array: np.ndarray) -> Any:
    """The nested lists of an output of that name."""
    if array.dtype == object:
        flat = np.empty(array.size, object)
        flat[:] = [_string(name, value) for value in array.ravel().tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "f" and array.dtype != np.float64:
        # Through text: 0.2 as a float32 must be written as 0.2, not with the digits of the equal float64.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def dump(value: Any) -> bytes:
    """Encode the body of a response."""
    # Bytes that are not valid text are written unchanged, as TensorFlow Serving does.
    return json.dumps(value, ensure_ascii=False, indent=None).encode("utf-8", "surrogateescape")


def type_name(value: Any) -> str:
    """The name of a JSON type; "True" and "False" are types to TensorFlow Serving."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def shown(value: Any) -> str:
    """A JSON value for a message: on one line, cut if long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to be shown)"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _string(name: str, value: bytes) -> Any:
    if name.endswith(_BYTES_SUFFIX):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "surrogateescape")
