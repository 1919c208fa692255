"""Conditions on numbers, as the patterns of a grammar: "before 1980", "the 90s", "under 90 minutes", "but older"."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from serving.app.language.conditions import Condition, ConditionMatch
from serving.app.language.grammar import YEAR, Grammar, Pattern
from serving.app.language.languages import number_for

_YEAR = re.compile(r"1[89]\d\d|20\d\d")
_MOST_DIGITS = 9
_LONGEST_UNIT = 3  # tokens


def match_numeric_condition(
    words: Sequence[str], start: int, turn: int, numbers: Collection[str], grammar: Grammar
) -> list[ConditionMatch]:
    """Match a condition on a number at one position; of several the one with the most tokens.

    Args:
      words: plain tokens of the turn.
      start: index of the first token.
      turn: index of the turn.
      numbers: names of the numbers in the catalogue.
      grammar: of the turn.

    Returns:
      One match, or an empty list.
    """
    best: ConditionMatch | None = None
    for pattern in grammar.patterns_at(words[start]):
        filled = _fill(pattern.parts, words, start, numbers, grammar) if numbers else None
        if filled is None or (best is not None and filled[0] <= best.last):
            continue
        last, figures, unit = filled
        condition = _condition(pattern, figures, unit, turn, numbers, grammar)
        if condition is not None:
            best = ConditionMatch(condition, start, last)
    return [] if best is None else [best]


def _condition(
    pattern: Pattern,
    figures: Sequence[float],
    unit: str | None,
    turn: int,
    numbers: Collection[str],
    grammar: Grammar,
) -> Condition | None:
    if pattern.kind == "comparatives":
        found = (number_for(quantity, numbers, grammar) for quantity in pattern.quantities)
        number = next((one for one in found if one is not None), None)
        return number and Condition("number", (number,), turn, pattern.op, relative=True, grammar=grammar)  # type: ignore[return-value]
    number = unit if pattern.kind == "amounts" else number_for(YEAR, numbers, grammar)
    if number is None:
        return None
    low, high = min(figures), None
    if pattern.op == "range":
        high = low + 10 if pattern.kind == "decades" else max(figures) + 1
    return Condition("number", (number,), turn, pattern.op, low, high, grammar=grammar)


def _fill(
    parts: Sequence[str], words: Sequence[str], start: int, numbers: Collection[str], grammar: Grammar
) -> tuple[int, list[float], str | None] | None:
    """Return where a pattern ends, the figures in its slots, and the number that its unit names; None if it does not fit."""
    figures: list[float] = []
    unit: str | None = None
    position = start
    for part in parts:
        if position >= len(words):
            return None
        word, length = words[position], 1
        if part == "{year}":
            if not _YEAR.fullmatch(word):
                return None
            figures.append(float(word))
        elif part == "{number}":
            if not word.isdecimal() or len(word) > _MOST_DIGITS:
                return None
            figures.append(float(word))
        elif part == "{decade}":
            decade, length = _decade(words, position, grammar)
            if decade is None:
                return None
            figures.append(decade)
        elif part == "{unit}":
            unit, length = _unit(words, position, numbers, grammar)
            if unit is None:
                return None
        elif part != word:
            return None
        position += length
    return position, figures, unit


def _decade(words: Sequence[str], position: int, grammar: Grammar) -> tuple[float | None, int]:
    """Return the first year of a decade and the number of its tokens."""
    for phrase, first in grammar.decade_phrases.items():
        if tuple(words[position : position + len(phrase)]) == phrase:
            return float(first), len(phrase)
    match = grammar.decade_token.fullmatch(words[position])
    if match is None:
        return None, 0
    decade = int(match.group(1))
    return float(decade if decade >= 1000 else decade + (2000 if decade < 30 else 1900)), 1


def _unit(words: Sequence[str], position: int, numbers: Collection[str], grammar: Grammar) -> tuple[str | None, int]:
    """Return the number that a unit names, and the number of its tokens."""
    for length in range(_LONGEST_UNIT, 0, -1):
        phrase = tuple(words[position : position + length])
        if len(phrase) == length and phrase in grammar.unit_phrases:
            return number_for(grammar.unit_phrases[phrase], numbers, grammar), length
    for word in (words[position], words[position].removesuffix("s")):  # a number that no quantity is about: "calories"
        for name in sorted(numbers):
            if word in grammar.phrase(re.sub(r"[\d_]+", " ", name)) and number_for(YEAR, [name], grammar) is None:
                return name, 1
    return None, 0
