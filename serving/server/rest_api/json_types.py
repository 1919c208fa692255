"""How JSON values are called in messages, as TensorFlow Serving calls them (util/json_tensor.cc)."""

from __future__ import annotations

import json
from typing import Any

_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def type_name(value: Any) -> str:
    """What JSON calls its type; "True" and "False" are types of their own to TensorFlow Serving."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def shown(value: Any) -> str:
    """A JSON value in a message: on one line, and cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."
