"""Search spaces: which options are varied, and between what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipelines.config import Config, validate
from pipelines.config.renamed import current_name, current_names
from tfrecs.errors import SpecError

Scalar = bool | int | float | str | None


class Dimension(BaseModel):
    """One option: `choices`, or a range from `low` to `high`, both included; integers where both are.

    `log`: drawn evenly in the logarithm; `step`: distance of neighbours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: list[Scalar] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _whole(self) -> Dimension:
        ends = (self.low, self.high)
        if (self.choices is None) == (ends == (None, None)):
            raise ValueError("give `choices`, or `low` and `high`")
        if self.choices is not None:
            if not self.choices or self.log or self.step is not None:
                raise ValueError("`choices` must not be empty, and takes neither `log` nor `step`")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("`low` must be less than `high`, and both be there")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs a `low` above 0 and no `step`")
        if self.step is not None and self.step <= 0:
            raise ValueError("`step` must be above 0")
        return self

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Scalar]:
        """Values that show whether the option takes what the dimension says."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Whether a value is one that the dimension can give."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        inside = isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high
        return inside and (self.step is None or (value - self.low) % self.step == 0)


Space = Mapping[str, Dimension]


def read_space(file: Path) -> dict[str, Any]:
    """A space as plain values. Raises SpecError where the file is no mapping."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: cannot read the search space ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict) or not values:
        raise SpecError(f"{file}: a search space is a mapping, option -> choices, or low and high")
    return values


def make_space(values: Mapping[str, Any], base: Config, source: str) -> dict[str, Dimension]:
    """Checks a space against the configuration that it varies.

    Raises:
      SpecError: one line that names the source, the option and what is wrong with it.
    """
    space = {}
    for name, row in current_names(values, source).items():
        try:
            space[name] = Dimension.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            part = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise SpecError(f"{source}: {name}: {part + ': ' if part else ''}{message}") from error
        if name.partition(".")[0] in ("tune", "build", "seed", "serve", "export", "evaluate", "demo", "inspect"):
            raise SpecError(f"{source}: {name}: not an option of training; a trial would not change by it")
        for value in space[name].ends():
            changed(base, {name: value}, source)
    return space


def changed(base: Config, values: Mapping[str, Any], source: str) -> Config:
    """The configuration with options `section.key` set. Raises SpecError naming `source`."""
    plain = base.model_dump(mode="json")
    for name, value in values.items():
        *sections, key = current_name(name).split(".")
        target = plain
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise SpecError(f"{source}: {name}: {section} is a value, not a section")
        target[key] = value
    return validate(plain, source)


def current(base: Config, space: Space) -> dict[str, Any]:
    """The configuration's own values of the space's options, without those that lie outside."""
    plain, found = base.model_dump(mode="json"), {}
    for name, dimension in space.items():
        value: Any = plain
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if dimension.holds(value):
            found[name] = value
    return found
