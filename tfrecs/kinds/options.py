"""Options and parameters of the feature kinds, validated with messages for the person who wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tfrecs.errors import SpecError


class Options(BaseModel):
    """Base of what a kind takes from `dataset.yaml` (its options) and from the manifest (its parameters)."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=Options)


def validated(model: type[Model], given: Mapping[str, Any], what: str) -> Model:
    """`given` as a `model`.

    Raises:
      SpecError: one line that begins with `what` and names the first option that is unknown, missing or wrong.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A misspelt option is also a missing one; its own spelling says more.
        first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        name, value = ".".join(str(part) for part in first["loc"]), repr(first["input"])
        known = ", ".join(model.model_fields) or "none"
        if first["type"] == "extra_forbidden":
            raise SpecError(f"{what}: unknown option {name!r}; its options: {known}") from error
        if first["type"] == "missing":
            raise SpecError(f"{what}: option {name!r} is required and not given; its options: {known}") from error
        problem = first["msg"].removeprefix("Value error, ")
        value = value if len(value) <= 80 else value[:77] + "..."
        raise SpecError(f"{what}: option {name!r} is {value}: {problem}") from error
