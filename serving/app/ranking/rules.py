"""Rules of the house over what the model found: pin, boost, bury, block. Pure but for the reading of the file.

rules:
  - {name: opening night, action: pin, items: [s001], position: 1}
  - {name: local makers, action: boost, categories: [local], weight: 1.5}
  - {name: long ones, action: bury, where: {number: minutes, above: 180}, weight: 2}
  - {name: not for this audience, action: block, categories: [gore], until: 2027-01-01}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from serving.wire.errors import StartError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(_Frozen):
    """Items whose number is below or above a bound, or between both; items without that number are none of them."""

    number: str
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("give below, above or both")
        return self


class Rule(_Frozen):
    """One rule: which items (any of `items`, `categories`, `where` that are given), and what happens to them.

    Attributes:
      name: said in the answer, for every item that it touched.
      action: pin puts them at `position` and after; boost and bury add and take `weight` logits; block leaves them out.
      since, until: first and last day.
    """

    name: str = Field(min_length=1, max_length=80)
    action: Literal["pin", "boost", "bury", "block"]
    items: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    where: Where | None = None
    weight: float | None = Field(None, gt=0, le=1000, allow_inf_nan=False)
    position: int | None = Field(None, ge=1, le=1000)
    since: date | None = None
    until: date | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not (self.items or self.categories or self.where):
            raise ValueError("say which items: items, categories or where")
        if (self.action in ("boost", "bury")) != (self.weight is not None):
            raise ValueError("boost and bury have a weight, the others have none")
        if self.action == "pin" and (self.position is None or not self.items or self.categories or self.where):
            raise ValueError("pin has items and a position, and nothing else")
        if self.action != "pin" and self.position is not None:
            raise ValueError("only pin has a position")
        if self.since and self.until and self.since > self.until:
            raise ValueError("since is after until")
        return self

    def holds_on(self, day: date) -> bool:
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)


class _File(_Frozen):
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two rules are named {min(twice)!r}")
        return self


@dataclass(frozen=True)
class Applicable:
    """A rule with the rows of the catalogue that it is about, bool [N]."""

    rule: Rule
    rows: np.ndarray


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """Rules from YAML. Raises StartError: one line that names the source, the rule and what is wrong with it."""
    try:
        said: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: of a date that is none
        mark = getattr(error, "problem_mark", None)
        raise StartError(f"{source}{f':{mark.line + 1}' if mark else ''}: not YAML; mend it") from error
    if not isinstance(said, dict):
        raise StartError(f"{source}: a file of rules is a mapping with the one key `rules`")
    try:
        return _File.model_validate(said).rules
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "rules"
        raise StartError(f"{source}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The rules of a YAML file. Raises StartError."""
    try:
        return parse_rules(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{file}: the rules cannot be read ({error}); name a YAML file in UTF-8") from error


def resolve(
    rules: Sequence[Rule],
    position: Mapping[str, int],
    categories: Mapping[str, np.ndarray],
    numbers: Mapping[str, np.ndarray],
    source: str,
) -> tuple[Applicable, ...]:
    """Rules with their items.

    Args:
      position: item id -> row.
      categories: category -> rows of its items.
      numbers: name -> float [N], NaN = none.

    Raises:
      StartError: a rule names an item, a category or a number that the catalogue does not have: a rule that says
        "block" and does nothing must not go unseen.
    """
    result = []
    for rule in rules:
        for what, names, there in (
            ("item", rule.items, position),
            ("category", rule.categories, categories),
            ("number", (rule.where.number,) if rule.where else (), numbers),
        ):
            unknown = [name for name in names if name not in there]
            if unknown:
                raise StartError(f"{source}: rule {rule.name!r}: the catalogue has no {what} {unknown[0]!r}")
        rows = np.zeros(len(position), bool)
        rows[[position[item] for item in rule.items]] = True
        for name in rule.categories:
            rows[categories[name]] = True
        if rule.where is not None:
            values = numbers[rule.where.number]
            inside = ~np.isnan(values)
            if rule.where.below is not None:
                inside &= values < rule.where.below
            if rule.where.above is not None:
                inside &= values > rule.where.above
            rows |= inside
        result.append(Applicable(rule, rows))
    return tuple(result)


def blocked(rules: Sequence[Applicable], day: date, count: int) -> np.ndarray:
    """bool [count]: rows that some rule of that day leaves out."""
    result = np.zeros(count, bool)
    for one in rules:
        if one.rule.action == "block" and one.rule.holds_on(day):
            result |= one.rows
    return result


def shifted(rules: Sequence[Applicable], day: date, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores [n] of the catalogue's `rows` [n] with what boosts add and burials take."""
    result = scores.astype(np.float64)
    for one in rules:
        if one.rule.weight is not None and one.rule.holds_on(day):
            sign = 1 if one.rule.action == "boost" else -1
            result = result + sign * one.rule.weight * one.rows[rows]
    return result


def pinned(
    rules: Sequence[Applicable],
    day: date,
    order: Sequence[int],
    allowed: np.ndarray,
    position: Mapping[str, int],
    k: int,
) -> list[int]:
    """At most k rows with pinned items at their places; what is not allowed (filtered, blocked, refused) is not pinned.

    Args:
      order: rows, best first.
      allowed: bool [N].
    """
    places: list[tuple[int, int]] = []
    for one in rules:
        if one.rule.action == "pin" and one.rule.holds_on(day) and one.rule.position is not None:
            there = [position[item] for item in one.rule.items if allowed[position[item]]]
            places += [(one.rule.position - 1 + offset, row) for offset, row in enumerate(there)]
    taken = {row for _, row in places}
    result = [row for row in order if row not in taken]
    done: set[int] = set()
    for place, row in sorted(places, key=lambda pair: pair[0]):
        if row not in done:
            result.insert(place, row)
            done.add(row)
    return result[:k]
