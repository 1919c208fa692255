"""A condition that was said in words, and where. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

_SAID = {"<": "under", "<=": "at most", ">": "over", ">=": "at least", "=": ""}
_SAID_YEAR = {"<": "before", "<=": "until", ">": "after", ">=": "since", "=": "in"}


@dataclass(frozen=True)
class Condition:
    """Something that every item is held to.

    Attributes:
      kind: category, not_category, number or not_word.
      names: categories (any of them), the number's name, or the word.
      op: of a number: < <= > >= = or "range".
      value: of a number; None: that of the list before, which `relative_to` fills in.
      high: the end of a range, itself not in it.
      turn: which turn said it.
      relative: it was said without a number.
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
        """The same for the same condition, whatever the turn; of a relative one whatever the list before."""
        if self.kind != "number":
            return (
                f"{ {'category': 'is', 'not_category': 'not', 'not_word': 'word'}[self.kind] }:{'|'.join(self.names)}"
            )
        if self.op == "range":
            return f"{self.names[0]}:{_plain(self.value)}-{_plain(self.high)}"
        return f"{self.names[0]}{self.op}{'list' if self.relative else _plain(self.value)}"

    @property
    def label(self) -> str:
        """For people."""
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
        said = (_SAID_YEAR if "year" in name.lower() else _SAID)[self.op]
        return " ".join(part for part in (name, said, _plain(self.value)) if part)

    def relative_to(self, value: float) -> Condition:
        """With the number of the list before."""
        return replace(self, value=value)


@dataclass(frozen=True)
class Found:
    """A condition and the tokens [first, last) that said it; `stays`: they are of use to the model as well."""

    condition: Condition
    first: int
    last: int
    stays: bool = False


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
