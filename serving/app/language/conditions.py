"""Conditions on items that a query expresses, with their keys and labels."""

from __future__ import annotations

from dataclasses import dataclass

_COMPARISONS = {"<": "under", "<=": "at most", ">": "over", ">=": "at least", "=": ""}
_YEAR_COMPARISONS = {"<": "before", "<=": "until", ">": "after", ">=": "since", "=": "in"}


@dataclass(frozen=True)
class Condition:
    """A condition that every listed item fulfils.

    Attributes:
      kind: category, not_category, number or not_word.
      names: the categories (any of them), the name of the number, or the word.
      turn: index of the turn that expressed it.
      op: of a number, one of < <= > >= = and "range".
      value: of a number; None in a relative condition until `masks.resolve_relative` sets it.
      high: end of a range, exclusive.
      relative: expressed without a number ("older"): compared with the previous list.
    """

    kind: str
    names: tuple[str, ...]
    turn: int
    op: str = ""
    value: float | None = None
    high: float | None = None
    relative: bool = False

    @property
    def key(self) -> str:
        """Identify the condition, independently of its turn and, if relative, of the previous list."""
        if self.kind != "number":
            prefix = {"category": "is", "not_category": "not", "not_word": "word"}[self.kind]
            return f"{prefix}:{'|'.join(self.names)}"
        if self.op == "range":
            return f"{self.names[0]}:{_plain(self.value)}-{_plain(self.high)}"
        return f"{self.names[0]}{self.op}{'list' if self.relative else _plain(self.value)}"

    @property
    def label(self) -> str:
        """Describe the condition for people."""
        if self.kind == "category":
            return " or ".join(self.names)
        if self.kind == "not_category":
            return f"no {self.names[0]}"
        if self.kind == "not_word":
            return f"without “{self.names[0]}”"
        name = self.names[0]
        if self.op == "range":
            return f"{name} {_plain(self.value)} to {_plain((self.high or 0) - 1)}"
        if self.value is None:
            return f"{name} {'lower' if self.op.startswith('<') else 'higher'} than in the list before"
        comparison = (_YEAR_COMPARISONS if "year" in name.lower() else _COMPARISONS)[self.op]
        return " ".join(part for part in (name, comparison, _plain(self.value)) if part)


@dataclass(frozen=True)
class ConditionMatch:
    """A condition and the tokens that express it.

    Attributes:
      condition: the condition.
      first, last: its tokens are [first, last) of the turn.
      keep_text: the tokens also stay in the text query of the model.
    """

    condition: Condition
    first: int
    last: int
    keep_text: bool = False


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
