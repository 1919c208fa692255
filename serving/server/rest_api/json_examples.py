"""JSON of classify and regress requests, as in TensorFlow Serving's REST API (util/json_tensor.cc).

    {"signature_name": ..., "context": {...}, "examples": [{"feature": value or list, ...}, ...]}

answered by {"results": [...]}: one number an Example from regress, one list of [label, score] from classify. Whole
numbers and true and false are int64 features, other numbers float features, strings and {"b64": "..."} bytes features.
Pure functions; errors are InvalidArgumentError with TensorFlow Serving's messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import inference_pb2, input_pb2

from serving.server.rest_api.json_values import dump, is_base64, listed, shown, type_name, unwrapped
from serving.server.status import invalid

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """Read the Examples of a request, with the context that they share if there is one.

    Raises:
      InvalidArgumentError: there are none, or a value cannot be part of a feature.
    """
    request = input_pb2.Input()
    into = request.example_list.examples
    if "context" in document:
        _fill(request.example_list_with_context.context, document["context"])
        into = request.example_list_with_context.examples
    if "examples" not in document:
        # TensorFlow Serving's message for both methods.
        raise _malformed(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(document, "'examples' value is an empty array")
    for example in examples:
        _fill(into.add(), example)
    return request


def write_result(result: inference_pb2.InferenceResult) -> bytes:
    """Encode the body of a response."""
    if result.WhichOneof("result") == "regression_result":
        return dump({"results": _short([one.value for one in result.regression_result.regressions])})
    rows = [row.classes for row in result.classification_result.classifications]
    return dump(
        {
            "results": [
                [
                    list(pair)
                    for pair in zip([one.label for one in row], _short([one.score for one in row]), strict=True)
                ]
                for row in rows
            ]
        }
    )


def _malformed(document: Mapping[str, Any], why: str) -> tf.errors.InvalidArgumentError:
    return invalid(f"JSON Value: {shown(document)} {why}")


def _short(values: list[float]) -> Any:
    """float32 numbers with the digits of their own type."""
    return listed("", np.array(values, np.float32))


def _fill(example: tf.train.Example, value: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        # A lone surrogate (an escape such as "\ud800") cannot be in a message.
        feature = example.features.feature[_utf8(name).decode()]
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)


def _add(feature: tf.train.Feature, name: str, value: Any) -> None:
    converted: Any = value
    if isinstance(value, bool):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, int) and -(2**63) <= value < 2**64:
        kind = "int64_list"
    elif isinstance(value, (int, float)):
        kind = "float_list"  # also whole numbers of more than 64 bits, which are parsed as decimal numbers
    elif isinstance(value, str):
        kind, converted = "bytes_list", _utf8(value)
    elif is_base64(value):
        kind = "bytes_list"
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    before = feature.WhichOneof("kind")
    if before not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[before]}")
    if is_base64(value):
        converted = unwrapped(value)
    elif kind == "int64_list" and converted >= 2**63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    elif kind == "float_list":
        converted = _single(value)
    getattr(feature, kind).value.append(converted)


def _single(value: int | float) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    except OverflowError:
        raise invalid("JSON Parse error: Number too big to be stored in double.") from None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
