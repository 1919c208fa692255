"""Conditions on numbers, as English has them: "before 1980", "the 90s", "under 90 minutes", "but older". Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from serving.app.language.said import Condition, Found

_YEAR, _DECADE = re.compile(r"1[89]\d\d|20\d\d"), re.compile(r"(1[89]\d0|20\d0|\d0)s")
# Comparison -> (parts of the names of numbers that it is about, operator). Without a number: than the list so far.
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
_BEFORE_YEAR: Mapping[tuple[str, ...], str] = {
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
_BEFORE_NUMBER: Mapping[tuple[str, ...], str] = {
    ("less", "than"): "<",
    ("under",): "<",
    ("below",): "<",
    ("at", "most"): "<=",
    ("more", "than"): ">",
    ("over",): ">",
    ("above",): ">",
    ("at", "least"): ">=",
}


def number_at(lower: Sequence[str], at: int, turn: int, numbers: Collection[str]) -> list[Found]:
    """The condition on a number that begins at a word, if one does.

    Args:
      lower: the words of the turn, in lower case.
      at: where to look.
      turn: which turn it is.
      numbers: names of the catalogue's numbers.
    """
    year = _named(numbers, ("year",))

    def found(name: str, op: str, last: int, value: float | None, high: float | None = None) -> list[Found]:
        return [Found(Condition("number", (name,), turn, op, value, high, relative=value is None), at, last)]

    if year is not None:
        start = at + 2 if tuple(lower[at : at + 2]) in {("from", "the"), ("in", "the"), ("of", "the")} else at
        if start < len(lower) and (match := _DECADE.fullmatch(lower[start])):
            decade = int(match.group(1))
            first = decade if decade >= 1000 else decade + (2000 if decade < 30 else 1900)
            return found(year, "range", start + 1, float(first), first + 10.0)
        if lower[at] == "between" and at + 3 < len(lower) and lower[at + 2] == "and":
            ends = lower[at + 1], lower[at + 3]
            if all(map(_YEAR.fullmatch, ends)):
                low, high = sorted(map(float, ends))
                return found(year, "range", at + 4, low, high + 1)
        for opening, op in _BEFORE_YEAR.items():
            last = at + len(opening)
            if tuple(lower[at:last]) == opening and last < len(lower) and _YEAR.fullmatch(lower[last]):
                return found(year, op, last + 1, float(lower[last]))
    for opening, op in _BEFORE_NUMBER.items():
        last = at + len(opening)
        if tuple(lower[at:last]) == opening and last < len(lower) and lower[last].isdecimal() and len(lower[last]) < 10:
            unit = lower[last + 1] if last + 1 < len(lower) else ""
            name = _named(numbers, (unit, unit.removesuffix("s"))) if unit else None
            if name is not None:
                return found(name, op, last + 2, float(lower[last]))
    for opening, (about, op) in _COMPARATIVES.items():
        last, name = at + len(opening), _named(numbers, about)
        if name is not None and tuple(lower[at:last]) == opening:
            return found(name, op, last, None)
    return []


def _named(numbers: Collection[str], parts: Sequence[str]) -> str | None:
    """The number whose name is, or has in it, one of these."""
    for part in parts:
        for name in sorted(numbers):
            if part and part in re.split(r"[^a-z]+", name.lower()):
                return name
    return None
