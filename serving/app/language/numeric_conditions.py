"""Parse English conditions on numbers: "before 1980", "the 90s", "under 90 minutes", "but older"."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from serving.app.language.conditions import Condition, ConditionMatch

_YEAR, _DECADE = re.compile(r"1[89]\d\d|20\d\d"), re.compile(r"(1[89]\d0|20\d0|\d0)s")
# Comparative -> (words in the names of the numbers it may refer to, operator). It compares with the previous list.
_COMPARATIVES: Mapping[tuple[str, ...], tuple[tuple[str, ...], str]] = {
    ("older",): (("year",), "<"),
    ("earlier",): (("year",), "<"),
    ("newer",): (("year",), ">"),
    ("later",): (("year",), ">"),
    ("more", "recent"): (("year",), ">"),
    ("shorter",): (("minutes", "duration", "runtime", "length", "pages"), "<"),
    ("longer",): (("minutes", "duration", "runtime", "length", "pages"), ">"),
    ("cheaper",): (("price", "cost"), "<"),
    ("more", "expensive"): (("price", "cost"), ">"),
}
_YEAR_OPERATORS: Mapping[tuple[str, ...], str] = {
    ("older", "than"): "<",
    ("earlier", "than"): "<",
    ("before",): "<",
    ("until",): "<=",
    ("newer", "than"): ">",
    ("later", "than"): ">",
    ("after",): ">",
    ("since",): ">=",
    ("in",): "=",
    ("from",): "=",
}
_NUMBER_OPERATORS: Mapping[tuple[str, ...], str] = {
    ("less", "than"): "<",
    ("under",): "<",
    ("below",): "<",
    ("at", "most"): "<=",
    ("more", "than"): ">",
    ("over",): ">",
    ("above",): ">",
    ("at", "least"): ">=",
}


def match_numeric_condition(
    lower: Sequence[str], start: int, turn: int, numbers: Collection[str]
) -> list[ConditionMatch]:
    """Match a condition on a number at one position.

    Args:
      lower: the words of the turn in lower case.
      start: index of the first word.
      turn: index of the turn.
      numbers: names of the numbers in the catalogue.

    Returns:
      One match, or an empty list.
    """
    year = _find_number(numbers, ("year",))

    def match(name: str, op: str, last: int, value: float | None, high: float | None = None) -> list[ConditionMatch]:
        condition = Condition("number", (name,), turn, op, value, high, relative=value is None)
        return [ConditionMatch(condition, start, last)]

    if year is not None:
        has_preposition = tuple(lower[start : start + 2]) in {("from", "the"), ("in", "the"), ("of", "the")}
        position = start + 2 if has_preposition else start
        if position < len(lower) and (decade_match := _DECADE.fullmatch(lower[position])):
            decade = int(decade_match.group(1))
            first = decade if decade >= 1000 else decade + (2000 if decade < 30 else 1900)
            return match(year, "range", position + 1, float(first), first + 10.0)
        if lower[start] == "between" and start + 3 < len(lower) and lower[start + 2] == "and":
            ends = lower[start + 1], lower[start + 3]
            if all(map(_YEAR.fullmatch, ends)):
                low, high = sorted(map(float, ends))
                return match(year, "range", start + 4, low, high + 1)
        for opening, op in _YEAR_OPERATORS.items():
            last = start + len(opening)
            if tuple(lower[start:last]) == opening and last < len(lower) and _YEAR.fullmatch(lower[last]):
                return match(year, op, last + 1, float(lower[last]))
    for opening, op in _NUMBER_OPERATORS.items():
        last = start + len(opening)
        if (
            tuple(lower[start:last]) == opening
            and last < len(lower)
            and lower[last].isdecimal()
            and len(lower[last]) < 10
        ):
            unit = lower[last + 1] if last + 1 < len(lower) else ""
            name = _find_number(numbers, (unit, unit.removesuffix("s"))) if unit else None
            if name is not None:
                return match(name, op, last + 2, float(lower[last]))
    for opening, (name_parts, op) in _COMPARATIVES.items():
        last, name = start + len(opening), _find_number(numbers, name_parts)
        if name is not None and tuple(lower[start:last]) == opening:
            return match(name, op, last, None)
    return []


def _find_number(numbers: Collection[str], parts: Sequence[str]) -> str | None:
    """Return the number whose name contains one of these words."""
    for part in parts:
        for name in sorted(numbers):
            if part and part in re.split(r"[^a-z]+", name.lower()):
                return name
    return None
