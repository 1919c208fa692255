"""Parts of the grammar of a language: labels, negations, conjunctions and comparatives, as they are in its YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

Comparison = Literal["<", "<=", ">", ">=", "="]


class FrozenPart(BaseModel):
    """A mapping of a grammar: every key is known, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Labels(FrozenPart):
    """How conditions are shown to people; each is a template.

    Attributes:
      any_of: between categories.
      not_category, not_word: with `{name}`.
      range: with `{name}`, `{low}`, `{high}`.
      number, year: with `{name}`, `{value}`, by comparison.
      lower, higher: of a comparison with the list before, with `{name}`.
    """

    any_of: str
    not_category: str
    not_word: str
    range: str
    number: dict[Comparison, str]
    year: dict[Comparison, str]
    lower: str
    higher: str

    @model_validator(mode="after")
    def _fillable(self) -> Self:
        every: tuple[Comparison, ...] = ("<", "<=", ">", ">=", "=")
        templates = [self.not_category, self.not_word, self.range, self.lower, self.higher]
        for table in (self.number, self.year):
            templates += [table[op] for op in every if op in table]
            if missing := [op for op in every if op not in table]:
                raise ValueError(f"labels: no template for {missing[0]!r}")
        for template in templates:
            try:
                template.format(name="", low="", high="", value="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"labels: {template!r} has a placeholder other than those of its kind") from error
        return self


class Negations(FrozenPart):
    """Phrases that exclude what follows: `any_word` a category or any word of the texts, `category` a category alone."""

    any_word: list[str]
    category: list[str]


class Conjunctions(FrozenPart):
    """Phrases of one word between two objects: `either` joins categories that are both allowed, `others` do not."""

    either: list[str]
    others: list[str]


class Comparative(FrozenPart):
    """Phrases that compare a number with the list before; `of`: quantities, the first one that the catalogue has."""

    of: list[str]
    lower: list[str]
    higher: list[str]
