"""What is said in words, understood by plain rules over the catalogue's own categories and numbers. Pure.

    "quiet comedies", "but older", "no horror"  ->  the text "quiet comedies" and three conditions

A condition that a rule found is a chip: it is said back, and can be taken back. Everything else is left to the model as
text. The rules are English; the categories are whatever the catalogue has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.app.language.said import Condition, Found
from serving.app.language.said_numbers import number_at

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*")
_NEGATIONS = (
    ("nothing", "with"),
    ("anything", "but"),
    ("other", "than"),
    ("no", "more"),
    ("but", "not"),
    ("no",),
    ("not",),
    ("without",),
    ("except",),
    ("excluding",),
    ("avoid",),
    ("don't",),
    ("dont",),
    ("never",),
    ("hate",),
    ("dislike",),
    ("neither",),
)
# After these any word may be left out, after the others a category only: "not sure" leaves out nothing.
_OF_WORDS = frozenset({("no",), ("without",), ("nothing", "with"), ("no", "more")})
_ARTICLES = frozenset({"a", "an", "any", "the"})
# What may stand between a negation and what it is of: "do not want any", "don't show me", "not in the mood for".
_FILLERS = _ARTICLES | frozenset(
    [
        "too",
        "so",
        "much",
        "more",
        "very",
        "really",
        "want",
        "like",
        "love",
        "need",
        "show",
        "give",
        "me",
        "us",
        "see",
        "watch",
        "hear",
        "read",
        "in",
        "mood",
        "for",
        "into",
        "to",
        "feel",
        "of",
    ]
)
_JOINTS = frozenset({"or", "nor", "and"})
_LOOSE = r"\b(?:but|and|also|please|with|i|i'm|am|do|we)\b"  # what a condition that was cut out leaves behind
_EDGES = re.compile(rf"^(?:[\s,;.:!?-]|{_LOOSE})+|(?:[\s,;:-]|{_LOOSE})+$", re.I)


@dataclass(frozen=True)
class Vocabulary:
    """What the catalogue has.

    Attributes:
      categories: their names.
      numbers: names of numbers, such as year.
      words: words of the items' own texts, folded (`fold`): no other can be left out.
    """

    categories: Collection[str]
    numbers: Collection[str]
    words: Collection[str]

    def terms(self) -> dict[tuple[str, ...], str]:
        """Folded words of a category -> its name."""
        return {words: name for name in sorted(self.categories) if (words := tuple(fold(name)))}


@dataclass(frozen=True)
class Understanding:
    """`text`: what is left of all turns, for the model; `conditions` in the order said."""

    text: str
    conditions: tuple[Condition, ...]


def fold(text: str) -> list[str]:
    """Its words without case, and without the s of a plural."""
    return [_fold(match.group()) for match in _TOKEN.finditer(text)]


def understand(turns: Sequence[str], vocabulary: Vocabulary, dropped: Collection[str] = ()) -> Understanding:
    """All turns together; a later one overrules what an earlier one says of the same thing.

    Args:
      turns: what was said, oldest first.
      vocabulary: what the catalogue has.
      dropped: keys of conditions that were taken back: their words are text again.
    """
    terms = vocabulary.terms()
    texts: list[str] = []
    conditions: dict[str, Condition] = {}
    for number, turn in enumerate(turns):
        matches = list(_TOKEN.finditer(turn))
        rest, at = "", 0
        for found in _found([match.group() for match in matches], number, vocabulary, terms):
            if found.condition.key in dropped:
                continue
            conditions = {key: one for key, one in conditions.items() if not _overruled(one, found.condition)}
            conditions[found.condition.key] = found.condition
            if not found.stays:
                rest += turn[at : matches[found.first].start()] + " "
                at = matches[found.last - 1].end()
        rest += turn[at:]
        texts.append(_tidy(rest) if at else " ".join(turn.split()))
    return Understanding(" ".join(text for text in texts if text), tuple(conditions.values()))


def _overruled(old: Condition, new: Condition) -> bool:
    if old.key == new.key:
        return True
    if {old.kind, new.kind} == {"category", "not_category"}:
        return bool(set(old.names) & set(new.names))
    if old.kind == new.kind == "number" and old.names == new.names:
        both = {old.op[0], new.op[0]}
        return both != {"<", ">"}  # a lower and an upper end go together
    return False


def _found(
    said: Sequence[str], turn: int, vocabulary: Vocabulary, terms: Mapping[tuple[str, ...], str]
) -> Iterator[Found]:
    """From the left, each token in at most one of them."""
    lower, folded = [word.lower().replace("\u2019", "'") for word in said], [_fold(word) for word in said]
    at = 0
    while at < len(said):
        found = (
            number_at(lower, at, turn, vocabulary.numbers)
            or _negation(lower, folded, at, turn, vocabulary, terms)
            or _category(lower, folded, at, turn, terms)
        )
        yield from found
        at = found[-1].last if found else at + 1


def _negation(
    lower: Sequence[str],
    folded: Sequence[str],
    at: int,
    turn: int,
    vocabulary: Vocabulary,
    terms: Mapping[tuple[str, ...], str],
) -> list[Found]:
    opening = next((one for one in _NEGATIONS if tuple(lower[at : at + len(one)]) == one), None)
    if opening is None:
        return []
    first, here = at, at + len(opening)
    result: list[Found] = []
    while here < len(lower):
        while here < len(lower) and lower[here] in _FILLERS and not _term(folded, here, terms)[1]:
            here += 1
        name, length = _term(folded, here, terms)
        if name is not None:
            result.append(Found(Condition("not_category", (name,), turn), first, here + length))
        elif here < len(lower) and opening in _OF_WORDS and folded[here] in vocabulary.words:
            result.append(Found(Condition("not_word", (folded[here],), turn), first, here + 1))
        else:
            break
        first = here = result[-1].last
        if here + 1 < len(lower) and lower[here] in _JOINTS:
            # "no horror and comedies" may go either way; it is read as leaving out both, and the chips show it.
            here += 1
        elif _term(folded, here, terms)[0] is None:
            break
    return result


def _category(
    lower: Sequence[str], folded: Sequence[str], at: int, turn: int, terms: Mapping[tuple[str, ...], str]
) -> list[Found]:
    name, length = _term(folded, at, terms)
    if name is None:
        return []
    names, last = [name], at + length
    while last + 1 < len(lower) and lower[last] == "or":
        here = last + 2 if last + 2 < len(lower) and lower[last + 1] in _ARTICLES else last + 1
        other, length = _term(folded, here, terms)
        if other is None:
            break
        names, last = [*names, other], here + length
    return [Found(Condition("category", tuple(dict.fromkeys(names)), turn), at, last, stays=True)]


def _term(folded: Sequence[str], at: int, terms: Mapping[tuple[str, ...], str]) -> tuple[str | None, int]:
    """The category with the most words that begins there, and how many words it has."""
    longest = max(map(len, terms), default=0)
    for length in range(min(longest, len(folded) - at), 0, -1):
        name = terms.get(tuple(folded[at : at + length]))
        if name is not None:
            return name, length
    return None, 0


def _fold(word: str) -> str:
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _tidy(text: str) -> str:
    """What is left where conditions were cut out, without the words that joined them to the rest."""
    return " ".join(_EDGES.sub("", text).split())
