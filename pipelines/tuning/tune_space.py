"""Search spaces: the options that a search varies, and their values."""

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
    """The values of an option: `choices`, or a range.

    Attributes:
      choices: the values, in any order.
      low: the smallest value; values are integers where `low` and `high` are.
      high: the largest value.
      log: draw evenly in the logarithm.
      step: distance of neighbouring values; None: any value in the range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: list[Scalar] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        ends = (self.low, self.high)
        if (self.choices is None) == (ends == (None, None)):
            raise ValueError("give `choices`, or `low` and `high`")
        if self.choices is not None:
            if not self.choices or self.log or self.step is not None:
                raise ValueError("`choices` must not be empty, and takes neither `log` nor `step`")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("`low` must be less than `high`, and both must be given")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs a `low` above 0 and no `step`")
        if self.step is not None and self.step <= 0:
            raise ValueError("`step` must be above 0")
        return self

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def extremes(self) -> list[Scalar]:
        """Return the values that the option must accept: all choices, or both ends of the range."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def contains(self, value: Any) -> bool:
        """Return whether a value can be drawn."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        inside = isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high
        return inside and (self.step is None or (value - self.low) % self.step == 0)


Space = Mapping[str, Dimension]


def read_space(file: Path) -> dict[str, Any]:
    """Read a search space from a YAML file. Raises SpecError where it is no mapping."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: cannot read the search space ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict) or not values:
        raise SpecError(f"{file}: a search space is a mapping, option -> choices, or low and high")
    return values


def make_space(values: Mapping[str, Any], base: Config, source: str) -> dict[str, Dimension]:
    """Check a space against the configuration that it varies.

    Args:
      values: option `section.key` -> fields of a `Dimension`.
      base: the configuration.
      source: of the space, for error messages.

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
            raise SpecError(f"{source}: {name}: not an option of training; it would not change a trial")
        for value in space[name].extremes():
            changed(base, {name: value}, source)
    return space


def changed(base: Config, values: Mapping[str, Any], source: str) -> Config:
    """Return the configuration with options `section.key` set. Raises SpecError naming `source`."""
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
    """Return the configuration's own values of the options, without those outside the space."""
    plain, values = base.model_dump(mode="json"), {}
    for name, dimension in space.items():
        value: Any = plain
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if dimension.contains(value):
            values[name] = value
    return values
