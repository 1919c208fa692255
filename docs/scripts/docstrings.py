"""Reads pydantic models: for each field its type, default, bounds and meaning."""

from __future__ import annotations

import inspect
import re
import typing
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")
_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} entries"}


def split_docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """The prose of a model's docstring, and the meanings in its `Attributes:` section by field name."""
    text = inspect.cleandoc(model.__doc__ or "")
    prose, _, attributes = text.partition("Attributes:\n")
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(attributes).splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
            meanings |= dict.fromkeys(names, entry[2])
        elif line.strip():
            for name in names:
                meanings[name] += " " + line.strip()
    return prose.strip(), meanings


def meaning(model: type[BaseModel], name: str) -> str:
    """What one field means: its description, else its entry in the docstring of the class or of one it inherits from."""
    classes = [base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    entries = (split_docstring(base)[1].get(name) for base in classes)
    return model.model_fields[name].description or next((entry for entry in entries if entry), "")


def kind_of(field: FieldInfo) -> str:
    """The type of a field as people write it, with its bounds."""
    text = _type(field.annotation)
    bounds = [
        pattern.format(_number(getattr(part, key)))
        for part in field.metadata
        for key, pattern in _BOUNDS.items()
        if getattr(part, key, None) is not None
    ]
    return ", ".join([text, *bounds])


def default_of(field: FieldInfo) -> str:
    """The default of a field as YAML on one line; "required" where there is none."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f"`{text.removesuffix('...').strip()}`"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is dict:
        return "mapping"
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if arguments:  # a union
        return " or ".join(_type(part) for part in arguments)
    if annotation is type(None):
        return "null"
    return {"str": "text", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation))
    )


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
