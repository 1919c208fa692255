"""The grammar of conditions of one language, which is data (`languages.py` loads it).

A phrase is what is typed, compared without case and accents. `docs/guides/app.md` says how to write a grammar.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from serving.app.language.grammar_parts import Comparative, Comparison, Conjunctions, FrozenPart, Labels, Negations
from serving.app.language.words import CHARACTER, WORD, fold, plain

YEAR = "year"  # the quantity that `years`, `decades` and the labels of years are about
_SLOT = re.compile(r"(\{\w+\})")
_SLOTS = {"years": ("{year}",), "decades": ("{decade}",), "amounts": ("{number}", "{unit}")}

Phrase = tuple[str, ...]
Phrases = dict[str, list[Phrase]]
"""First token -> phrases that begin with it, the longest first."""


@dataclass(frozen=True)
class Pattern:
    """A phrase with places for figures.

    Attributes:
      parts: plain tokens and slots.
      kind: years, decades, amounts or comparatives.
      op: a comparison, or "range".
      quantities: those that a comparative may be about.
    """

    parts: Phrase
    kind: str
    op: str
    quantities: tuple[str, ...] = ()


class Grammar(FrozenPart):
    """The grammar of one language.

    Attributes:
      language: its code.
      words: frequent words by which the language is recognised; a negation that was not understood ends before one.
      elisions: words that are joined to the next one by an apostrophe ("d" of French "d'horreur").
      negations: what excludes.
      idioms: phrases that look like a negation and are none.
      fillers: words that may stand between a negation and its object; the articles among them also behind "or".
      articles: see `fillers`.
      conjunctions: see there.
      tails: words behind an excluded category that belong to it ("films").
      leftovers: words that are dropped at the edges once a condition is cut out of a turn.
      not_categories: words of the language that are no category, though the catalogue may have one of that name.
      endings: pairs of an ending and what it is replaced by to find the form of the catalogue.
      quantities: quantity -> words in the names of numbers; those of an amount are also units.
      years, amounts: comparison, or "range" -> phrases with {year}, or with {number} and {unit}.
      decades: phrases with {decade}.
      decade_suffixes: what is written behind the figures of a decade; "" where nothing is.
      decade_words: decades in words -> first year.
      comparatives: see there.
      labels: how conditions are shown.
    """

    language: str
    words: list[str]
    elisions: list[str] = Field([])
    negations: Negations
    idioms: list[str] = Field([])
    fillers: list[str]
    articles: list[str] = Field([])
    conjunctions: Conjunctions
    tails: list[str] = Field([])
    leftovers: list[str]
    not_categories: list[str] = Field([])
    endings: list[list[str]] = Field([])
    quantities: dict[str, list[str]]
    years: dict[Comparison | Literal["range"], list[str]]
    decades: list[str]
    decade_suffixes: list[str]
    decade_words: dict[str, int] = Field({})
    amounts: dict[Comparison, list[str]]
    comparatives: list[Comparative] = Field([])
    labels: Labels

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if YEAR not in self.quantities:
            raise ValueError(f"quantities: {YEAR!r} is missing")
        for comparative in self.comparatives:
            if unknown := [name for name in comparative.of if name not in self.quantities]:
                raise ValueError(f"comparatives: there is no quantity {unknown[0]!r}")
        lists = {name: value for name, value in self if isinstance(value, list)} | {
            "negations": [*self.negations.any_word, *self.negations.category],
            "conjunctions": [*self.conjunctions.either, *self.conjunctions.others],
            "comparatives": [text for one in self.comparatives for text in (*one.lower, *one.higher)],
            "quantities": [text for texts in self.quantities.values() for text in texts],
        }
        for name in lists.keys() - {"endings", "elisions", "decade_suffixes"}:
            if blank := [text for text in lists[name] if not self.phrase(text)]:
                raise ValueError(f"{name}: {blank[0]!r} has no word")
        if any(len(pair) != 2 or not pair[0] for pair in self.endings):
            raise ValueError("endings: each is a pair of an ending and its replacement")
        for kind, phrases in (
            ("years", [phrase for all_of_one in self.years.values() for phrase in all_of_one]),
            ("decades", self.decades),
            ("amounts", [phrase for all_of_one in self.amounts.values() for phrase in all_of_one]),
        ):
            for phrase in phrases:
                slots = _SLOT.findall(phrase)
                if set(slots) != set(_SLOTS[kind]):
                    raise ValueError(f"{kind}: {phrase!r} needs {' and '.join(_SLOTS[kind])} and no other slot")
        return self

    @cached_property
    def _token(self) -> re.Pattern[str]:
        elided = "|".join(map(re.escape, self.elisions))
        first = rf"\b(?:{elided})['\u2019]|" if elided else ""
        return re.compile(f"{first}{CHARACTER}|{WORD}", re.I)

    def tokenize(self, text: str) -> list[re.Match[str]]:
        """Split a text into words and single Chinese characters."""
        return list(self._token.finditer(text))

    def phrase(self, text: str) -> Phrase:
        """Return the plain tokens of a phrase."""
        return tuple(plain(match.group()) for match in self.tokenize(text))

    def phrases(self, texts: Collection[str]) -> Phrases:
        """Return the plain tokens of phrases."""
        found: Phrases = {}
        for phrase in sorted({self.phrase(text) for text in texts}, key=lambda phrase: (-len(phrase), phrase)):
            found.setdefault(phrase[0], []).append(phrase)
        return found

    @cached_property
    def negation_phrases(self) -> Phrases:
        """Phrases that exclude."""
        return self.phrases([*self.negations.category, *self.negations.any_word])

    @cached_property
    def word_negations(self) -> frozenset[Phrase]:
        """Those that exclude any word, and not categories alone."""
        return frozenset(map(self.phrase, self.negations.any_word))

    @cached_property
    def idiom_phrases(self) -> Phrases:
        """Phrases that look like a negation and are none."""
        return self.phrases(self.idioms)

    @cached_property
    def filler_phrases(self) -> Phrases:
        """Phrases between a negation and its object."""
        return self.phrases([*self.fillers, *self.articles])

    @cached_property
    def article_phrases(self) -> Phrases:
        """Articles."""
        return self.phrases(self.articles)

    @cached_property
    def either_phrases(self) -> Phrases:
        """Conjunctions between allowed categories."""
        return self.phrases(self.conjunctions.either)

    @cached_property
    def conjunction_phrases(self) -> Phrases:
        """All conjunctions."""
        return self.phrases([*self.conjunctions.either, *self.conjunctions.others])

    @cached_property
    def tail_phrases(self) -> Phrases:
        """Words that belong to an excluded category before them."""
        return self.phrases(self.tails)

    @cached_property
    def no_categories(self) -> frozenset[str]:
        """Single words that are no category, plain."""
        return frozenset(map(plain, self.not_categories))

    @cached_property
    def stop_phrases(self) -> Phrases:
        """Phrases before which a negation that was not understood ends."""
        return self.phrases([*self.words, *self.leftovers, *self.conjunctions.either, *self.conjunctions.others])

    @cached_property
    def edges(self) -> re.Pattern[str]:
        """Joining words and punctuation at both ends of what is left of a turn."""
        bounded = [
            re.escape(text) if re.match(CHARACTER, text) else rf"\b{re.escape(text)}\b" for text in self.leftovers
        ]
        word = "|".join(sorted(bounded, key=lambda one: (-len(one), one)))
        marks = r"[\s,;.:!?\-\u3001\u3002\uff0c\uff1b\uff1a\uff01\uff1f]"
        open_end = r"[\s,;:\-\u3001\u3002\uff0c\uff1b\uff1a]"
        return re.compile(rf"^(?:{marks}|{word})+|(?:{open_end}|{word})+$", re.I)

    @cached_property
    def patterns(self) -> dict[str, list[Pattern]]:
        """All phrases about numbers, by their first token; "" of those that begin with a figure."""
        found = [Pattern(self._parts(text), "years", op) for op, texts in self.years.items() for text in texts]
        found += [Pattern(self._parts(text), "decades", "range") for text in self.decades]
        found += [Pattern(self._parts(text), "amounts", op) for op, texts in self.amounts.items() for text in texts]
        for one in self.comparatives:
            for op, texts in (("<", one.lower), (">", one.higher)):
                found += [Pattern(self.phrase(text), "comparatives", op, tuple(one.of)) for text in texts]
        by_first: dict[str, list[Pattern]] = {}
        for pattern in found:
            by_first.setdefault("" if pattern.parts[0].startswith("{") else pattern.parts[0], []).append(pattern)
        return by_first

    @cached_property
    def decade_starts(self) -> frozenset[str]:
        """First tokens of decades in words."""
        return frozenset(phrase[0] for phrase in self.decade_phrases)

    def patterns_at(self, word: str) -> list[Pattern]:
        """Return the phrases about numbers that may begin with a plain token."""
        is_figure = word[:1].isdecimal() or word in self.decade_starts
        return [*self.patterns.get(word, ()), *(self.patterns.get("", ()) if is_figure else ())]

    def _parts(self, template: str) -> Phrase:
        parts: list[str] = []
        for piece in _SLOT.split(template):
            parts += [piece] if _SLOT.fullmatch(piece) else self.phrase(piece)
        return tuple(parts)

    @cached_property
    def decade_token(self) -> re.Pattern[str]:
        """Figures of a decade with a suffix of the language."""
        suffixes = "|".join(re.escape(plain(suffix)) for suffix in self.decade_suffixes)
        return re.compile(rf"(1[89]\d0|20\d0|\d0)(?:{suffixes})")

    @cached_property
    def decade_phrases(self) -> dict[Phrase, int]:
        """Decades in words -> first year."""
        return {self.phrase(text): first for text, first in self.decade_words.items()}

    @cached_property
    def unit_phrases(self) -> dict[Phrase, str]:
        """Words behind a figure -> quantity."""
        return {
            self.phrase(text): quantity
            for quantity, texts in self.quantities.items()
            if quantity != YEAR
            for text in texts
        }

    @cached_property
    def _known(self) -> frozenset[str]:
        tables: tuple[Phrases, ...] = (
            self.negation_phrases,
            self.idiom_phrases,
            self.filler_phrases,
            self.conjunction_phrases,
        )
        tables += (self.tail_phrases, self.phrases([*self.words, *self.leftovers]))
        phrases = [phrase for table in tables for same_start in table.values() for phrase in same_start]
        phrases += [pattern.parts for patterns in self.patterns.values() for pattern in patterns]
        phrases += [*self.unit_phrases, *self.decade_phrases]
        return frozenset(word for phrase in phrases for word in phrase if not word.startswith("{"))

    def familiarity(self, text: str) -> int:
        """Count the words of a text that this grammar knows."""
        has_suffix = any(self.decade_suffixes)
        tokens = [plain(match.group()) for match in self.tokenize(text)]
        return sum(
            token in self._known or (has_suffix and self.decade_token.fullmatch(token) is not None) for token in tokens
        )

    def forms(self, word: str) -> list[str]:
        """Return the folded forms in which the catalogue may have a word, the likeliest first."""
        lower = word.lower()
        forms = [fold(word)]
        for ending, replacement in self.endings:
            if lower.endswith(ending) and len(lower) - len(ending) >= 3:
                forms.append(lower[: len(lower) - len(ending)] + replacement)
        return list(dict.fromkeys(forms))


def longest_at(phrases: Phrases, words: Sequence[str], start: int) -> int:
    """Return the length of the longest of these phrases that stands at a position, 0 if none does."""
    if start >= len(words):
        return 0
    same_start = phrases.get(words[start], ())
    return next((len(phrase) for phrase in same_start if tuple(words[start : start + len(phrase)]) == phrase), 0)
