"""Reads and writes `dataset.yaml`, and explains mistakes in it in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tfrecs.errors import DataError, SpecError, shorten
from tfrecs.spec.infer import infer_spec
from tfrecs.spec.models import (
    ColumnSplit,
    DatasetSpec,
    FeatureSpec,
    InteractionsSpec,
    ItemsSpec,
    LabelSpec,
    LeaveLastSplit,
    PositiveSpec,
    TimeSplit,
    UsersSpec,
)

__all__ = [
    "SPEC_FILE",
    "ColumnSplit",
    "DatasetSpec",
    "FeatureSpec",
    "InteractionsSpec",
    "ItemsSpec",
    "LabelSpec",
    "LeaveLastSplit",
    "PositiveSpec",
    "TimeSplit",
    "UsersSpec",
    "infer_spec",
    "load_spec",
    "spec_to_yaml",
]

SPEC_FILE = "dataset.yaml"
_SPLITS: dict[str, type[BaseModel]] = {"time": TimeSplit, "leave_last": LeaveLastSplit, "column": ColumnSplit}


def load_spec(data: Path, spec_file: Path | None) -> DatasetSpec:
    """Read `spec_file`, else `<data>/dataset.yaml`; without either, infer the spec from the folder.

    Raises:
      DataError: `data` is no folder.
      SpecError: the file does not exist, is not YAML, or has an unknown, missing or wrong key; one line with the file,
        the key and the remedy.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    path = spec_file or data / SPEC_FILE
    if spec_file is None and not path.exists():
        return infer_spec(data)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{path}{position}: not YAML ({getattr(error, 'problem', None) or 'unreadable'})") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: must hold keys such as name, items and interactions, not {type(content).__name__}")
    try:
        return DatasetSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{path}: {_explain(error)}") from error


def spec_to_yaml(spec: DatasetSpec) -> str:
    """Write a spec as YAML that `load_spec` reads back as an equal spec, without keys that have their default."""
    plain = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def _explain(error: ValidationError) -> str:
    """Describe the first problem that is not the consequence of another, as `key.path: what; remedy`."""
    problems = error.errors()
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    parts = list(first["loc"])
    if parts[:1] == ["split"] and len(parts) > 1 and parts[1] in _SPLITS:
        del parts[1]  # The tag that pydantic puts between the key and its fields is not in the file.
    where = ".".join(map(str, parts)) or "top level"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key; {_nearest(str(parts[-1]), _keys_at(first['loc']))}"
    if first["type"] == "missing":
        return f"{where}: missing; add this key"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{where}: needs `by`: one of {', '.join(_SPLITS)}"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]}; it is {shorten(first['input'])}"


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"there are {', '.join(known)}"


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """List the keys that are allowed beside the last part of `loc`."""
    model: type[BaseModel] | None = DatasetSpec
    for part in loc[:-1]:
        if model is None and part in _SPLITS:
            model = _SPLITS[str(part)]
        elif model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation)
    return list(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in `X`, `X | None` or `dict[str, X]`; None without a model, or with several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [model for part in get_args(annotation) if (model := _model_in(part)) is not None]
    return models[0] if len(models) == 1 else None
