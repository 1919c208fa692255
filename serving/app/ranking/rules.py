"""Business rules over the ranked list: pin, boost, bury and block items.

A file of rules:

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


class NumberRange(_Frozen):
    """Items whose number lies below a bound, above one, or between two; items without the number never match."""

    number: str
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("give below, above or both")
        return self


class Rule(_Frozen):
    """One rule: an action on the items that match `items`, `categories` or `where`.

    Attributes:
      name: shown in the answer beside every affected item.
      action: pin places items from `position` on; boost adds and bury subtracts `weight` logits; block excludes items.
      items, categories, where: which items; any of those given.
      weight: logits, of boost and bury.
      position: from 1, of pin.
      since, until: first and last day.
    """

    name: str = Field(min_length=1, max_length=80)
    action: Literal["pin", "boost", "bury", "block"]
    items: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    where: NumberRange | None = None
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

    def active_on(self, day: date) -> bool:
        """Return whether the rule applies on a day."""
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)


class _File(_Frozen):
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        names = [rule.name for rule in self.rules]
        duplicates = {name for name in names if names.count(name) > 1}
        if duplicates:
            raise ValueError(f"two rules are named {min(duplicates)!r}")
        return self


@dataclass(frozen=True)
class ResolvedRule:
    """A rule and the items it matches.

    Attributes:
      rule: the rule.
      rows: bool [N].
    """

    rule: Rule
    rows: np.ndarray


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """Parse rules from YAML.

    Raises:
      StartError: names the source, the rule and the mistake in one line.
    """
    try:
        content: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        raise StartError(f"{source}{f':{mark.line + 1}' if mark else ''}: not valid YAML; correct it") from error
    if not isinstance(content, dict):
        raise StartError(f"{source}: a file of rules is a mapping with the one key `rules`")
    try:
        return _File.model_validate(content).rules
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "rules"
        raise StartError(f"{source}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def read_rules(file: Path) -> tuple[Rule, ...]:
    """Read rules from a YAML file. Raises StartError."""
    try:
        return parse_rules(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{file}: the rules cannot be read ({error}); name a YAML file in UTF-8") from error


def resolve_rules(
    rules: Sequence[Rule],
    position: Mapping[str, int],
    categories: Mapping[str, np.ndarray],
    numbers: Mapping[str, np.ndarray],
    source: str,
) -> tuple[ResolvedRule, ...]:
    """Find the items that each rule matches.

    Args:
      rules: parsed rules.
      position: item id -> row.
      categories: category -> rows of its items.
      numbers: name -> float [N], NaN if an item has none.
      source: the file, for messages.

    Raises:
      StartError: a rule names an item, category or number that the catalogue does not have, so that a block without
        effect does not go unnoticed.
    """
    resolved = []
    for rule in rules:
        for field, names, known in (
            ("item", rule.items, position),
            ("category", rule.categories, categories),
            ("number", (rule.where.number,) if rule.where else (), numbers),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise StartError(f"{source}: rule {rule.name!r}: the catalogue has no {field} {unknown[0]!r}")
        rows = np.zeros(len(position), bool)
        rows[[position[item] for item in rule.items]] = True
        for name in rule.categories:
            rows[categories[name]] = True
        if rule.where is not None:
            values = numbers[rule.where.number]
            matches = ~np.isnan(values)
            if rule.where.below is not None:
                matches &= values < rule.where.below
            if rule.where.above is not None:
                matches &= values > rule.where.above
            rows |= matches
        resolved.append(ResolvedRule(rule, rows))
    return tuple(resolved)


def blocked_rows(rules: Sequence[ResolvedRule], day: date, count: int) -> np.ndarray:
    """Return bool [count], true for the items that a rule blocks on a day."""
    blocked = np.zeros(count, bool)
    for resolved in rules:
        if resolved.rule.action == "block" and resolved.rule.active_on(day):
            blocked |= resolved.rows
    return blocked


def apply_weights(rules: Sequence[ResolvedRule], day: date, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Add the weights of boost rules and subtract those of bury rules.

    Args:
      rules: resolved rules.
      day: only the rules of this day apply.
      rows: int [n], rows of the catalogue.
      scores: float [n].

    Returns:
      float64 [n].
    """
    weighted = scores.astype(np.float64)
    for resolved in rules:
        if resolved.rule.weight is not None and resolved.rule.active_on(day):
            sign = 1 if resolved.rule.action == "boost" else -1
            weighted = weighted + sign * resolved.rule.weight * resolved.rows[rows]
    return weighted


def apply_pins(
    rules: Sequence[ResolvedRule],
    day: date,
    order: Sequence[int],
    allowed: np.ndarray,
    position: Mapping[str, int],
    k: int,
) -> list[int]:
    """Insert the pinned items at their positions.

    Args:
      rules: resolved rules.
      day: only the rules of this day apply.
      order: rows, best first.
      allowed: bool [N]; items that are filtered out, blocked or disliked are not pinned.
      position: item id -> row.
      k: length of the list.

    Returns:
      At most k rows.
    """
    pins: list[tuple[int, int]] = []
    for resolved in rules:
        if resolved.rule.action == "pin" and resolved.rule.active_on(day) and resolved.rule.position is not None:
            rows = [position[item] for item in resolved.rule.items if allowed[position[item]]]
            pins += [(resolved.rule.position - 1 + offset, row) for offset, row in enumerate(rows)]
    pinned = {row for _, row in pins}
    result = [row for row in order if row not in pinned]
    for index, row in sorted(pins, key=lambda pin: pin[0]):
        if row in pinned:  # an item that two rules pin is inserted once
            result.insert(index, row)
            pinned.remove(row)
    return result[:k]
