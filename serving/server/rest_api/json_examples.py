"""Classification and regression requests over REST, as far as they are read: the server then refuses them all.

Words and order are those of TensorFlow Serving (util/json_tensor.cc, FillClassifyRegressRequestFromJson).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.server.rest_api.json_types import shown, type_name
from serving.server.status import invalid


def check_examples(document: Mapping[str, Any]) -> None:
    """What a classification or regression request must look like. Raises InvalidArgumentError."""
    if "context" in document:
        _check_example(document["context"])
    what = f"JSON Value: {shown(document)}"
    if "examples" not in document:
        # TensorFlow Serving's words for both methods.
        raise invalid(f"{what} When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"{what} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"{what} 'examples' value is an empty array")
    for example in examples:
        _check_example(example)


def _check_example(example: Any) -> None:
    if not isinstance(example, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(example)}")
