"""Conditions on items that a query expresses, with their keys and labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.app.language.grammar import YEAR, Grammar
from serving.app.language.languages import load_grammar, number_for

_PREFIXES = {"category": "is", "not_category": "not", "not_word": "word", "unknown": "unknown"}


@dataclass(frozen=True)
class Condition:
    """A condition that every listed item fulfils, or, with the kind unknown, one that no item of the catalogue can tell.

    Attributes:
      kind: category, not_category, number, not_word or unknown.
      names: the categories (any of them), the name of the number, the words (all of them), or what was typed and not understood.
      turn: index of the turn that expressed it.
      op: of a number, one of < <= > >= = and "range".
      value: of a number; None in a relative condition until `masks.resolve_relative` sets it.
      high: end of a range, exclusive.
      relative: expressed without a number ("older"): compared with the previous list.
      grammar: of the language in which it was expressed, whose labels it has.
    """

    kind: str
    names: tuple[str, ...]
    turn: int
    op: str = ""
    value: float | None = None
    high: float | None = None
    relative: bool = False
    grammar: Grammar = field(default_factory=lambda: load_grammar("en"), compare=False, repr=False)

    @property
    def key(self) -> str:
        """Identify the condition, independently of its turn and, if relative, of the previous list."""
        if self.kind != "number":
            return f"{_PREFIXES[self.kind]}:{'|'.join(self.names)}"
        if self.op == "range":
            return f"{self.names[0]}:{_plain(self.value)}-{_plain(self.high)}"
        return f"{self.names[0]}{self.op}{'list' if self.relative else _plain(self.value)}"

    @property
    def label(self) -> str:
        """Describe the condition for people, in the language in which it was expressed."""
        labels, name = self.grammar.labels, self.names[0]
        if self.kind == "category":
            return labels.any_of.join(self.names)
        if self.kind == "unknown":
            return name
        if self.kind != "number":
            return (labels.not_category if self.kind == "not_category" else labels.not_word).format(
                name=" ".join(self.names)
            )
        if self.op == "range":
            return labels.range.format(name=name, low=_plain(self.value), high=_plain((self.high or 0) - 1))
        if self.value is None:
            return (labels.lower if self.op.startswith("<") else labels.higher).format(name=name)
        templates = labels.number if number_for(YEAR, [name], self.grammar) is None else labels.year
        return templates[self.op].format(name=name, value=_plain(self.value))  # type: ignore[index]  # checked on loading


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
