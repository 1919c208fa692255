"""Rule-based query parser over the categories and numbers of the catalogue. Pure functions.

    "quiet comedies", "but older", "no horror"  ->  the text "quiet comedies" and three conditions

The page shows each condition as a chip that the user can remove. Words that no rule matches stay in the text query of
the model. The rules are English; the categories come from the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.app.language.conditions import Condition, ConditionMatch
from serving.app.language.numeric_conditions import match_numeric_condition

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*")
_NEGATIONS = tuple(
    tuple(phrase.split())
    for phrase in (
        *("nothing with", "anything but", "other than", "no more", "but not", "no", "not", "without", "except"),
        *("excluding", "avoid", "don't", "dont", "never", "hate", "dislike", "neither"),
    )
)
# These may exclude any word, the others only a category: "not sure" excludes nothing.
_WORD_NEGATIONS = frozenset({("no",), ("without",), ("nothing", "with"), ("no", "more")})
_ARTICLES = frozenset({"a", "an", "any", "the"})
# Words that may stand between a negation and its object: "do not want any", "don't show me", "not in the mood for".
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
_CONJUNCTIONS = frozenset({"or", "nor", "and"})
# Words that are left over at the edges once a condition is cut out of a turn.
_LEFTOVER = r"\b(?:but|and|also|please|with|i|i'm|am|do|we)\b"
_EDGES = re.compile(rf"^(?:[\s,;.:!?-]|{_LEFTOVER})+|(?:[\s,;:-]|{_LEFTOVER})+$", re.I)


@dataclass(frozen=True)
class QueryVocabulary:
    """Names and words that a query can refer to.

    Attributes:
      categories: category names.
      numbers: names of numbers, such as year.
      words: folded words (`fold_words`) of the item texts; only these can be excluded.
    """

    categories: Collection[str]
    numbers: Collection[str]
    words: Collection[str]

    def category_terms(self) -> dict[tuple[str, ...], str]:
        """Map the folded words of a category to its name."""
        return {words: name for name in sorted(self.categories) if (words := tuple(fold_words(name)))}


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed query.

    Attributes:
      text: the words of all turns that remain for the model.
      conditions: in the order of the turns.
    """

    text: str
    conditions: tuple[Condition, ...]


def fold_words(text: str) -> list[str]:
    """Split a text into lower-case words without the plural s."""
    return [_fold(match.group()) for match in _TOKEN.finditer(text)]


def parse_query(turns: Sequence[str], vocabulary: QueryVocabulary, dropped: Collection[str] = ()) -> ParsedQuery:
    """Parse all turns of a query; a later condition replaces an earlier one on the same subject.

    Args:
      turns: what the user typed, oldest first.
      vocabulary: names and words of the catalogue.
      dropped: keys of conditions that the user removed; their words count as text.
    """
    terms = vocabulary.category_terms()
    texts: list[str] = []
    conditions: dict[str, Condition] = {}
    for number, turn in enumerate(turns):
        tokens = list(_TOKEN.finditer(turn))
        rest, end = "", 0
        for match in _match_conditions([token.group() for token in tokens], number, vocabulary, terms):
            if match.condition.key in dropped:
                continue
            conditions = {key: old for key, old in conditions.items() if not _is_replaced(old, match.condition)}
            conditions[match.condition.key] = match.condition
            if not match.keep_text:
                rest += turn[end : tokens[match.first].start()] + " "
                end = tokens[match.last - 1].end()
        rest += turn[end:]
        texts.append(_trim(rest) if end else " ".join(turn.split()))
    return ParsedQuery(" ".join(text for text in texts if text), tuple(conditions.values()))


def _is_replaced(old: Condition, new: Condition) -> bool:
    if old.key == new.key:
        return True
    if {old.kind, new.kind} == {"category", "not_category"}:
        return bool(set(old.names) & set(new.names))
    if old.kind == new.kind == "number" and old.names == new.names:
        return {old.op[0], new.op[0]} != {"<", ">"}  # a lower and an upper bound are kept together
    return False


def _match_conditions(
    words: Sequence[str], turn: int, vocabulary: QueryVocabulary, terms: Mapping[tuple[str, ...], str]
) -> Iterator[ConditionMatch]:
    """Match from left to right; every word belongs to at most one condition."""
    lower, folded = [word.lower().replace("\u2019", "'") for word in words], [_fold(word) for word in words]
    start = 0
    while start < len(words):
        matches = (
            match_numeric_condition(lower, start, turn, vocabulary.numbers)
            or _match_negation(lower, folded, start, turn, vocabulary, terms)
            or _match_category(lower, folded, start, turn, terms)
        )
        yield from matches
        start = matches[-1].last if matches else start + 1


def _match_negation(
    lower: Sequence[str],
    folded: Sequence[str],
    start: int,
    turn: int,
    vocabulary: QueryVocabulary,
    terms: Mapping[tuple[str, ...], str],
) -> list[ConditionMatch]:
    negation = next((words for words in _NEGATIONS if tuple(lower[start : start + len(words)]) == words), None)
    if negation is None:
        return []
    first, position = start, start + len(negation)
    matches: list[ConditionMatch] = []
    while position < len(lower):
        while position < len(lower) and lower[position] in _FILLERS and not _longest_term(folded, position, terms)[1]:
            position += 1
        name, length = _longest_term(folded, position, terms)
        if name is not None:
            matches.append(ConditionMatch(Condition("not_category", (name,), turn), first, position + length))
        elif position < len(lower) and negation in _WORD_NEGATIONS and folded[position] in vocabulary.words:
            matches.append(ConditionMatch(Condition("not_word", (folded[position],), turn), first, position + 1))
        else:
            break
        first = position = matches[-1].last
        if position + 1 < len(lower) and lower[position] in _CONJUNCTIONS:
            # "no horror and comedies" is ambiguous; both are excluded, and the chips show it.
            position += 1
        elif _longest_term(folded, position, terms)[0] is None:
            break
    return matches


def _match_category(
    lower: Sequence[str], folded: Sequence[str], start: int, turn: int, terms: Mapping[tuple[str, ...], str]
) -> list[ConditionMatch]:
    name, length = _longest_term(folded, start, terms)
    if name is None:
        return []
    names, last = [name], start + length
    while last + 1 < len(lower) and lower[last] == "or":
        following = last + 2 if last + 2 < len(lower) and lower[last + 1] in _ARTICLES else last + 1
        other, length = _longest_term(folded, following, terms)
        if other is None:
            break
        names, last = [*names, other], following + length
    return [ConditionMatch(Condition("category", tuple(dict.fromkeys(names)), turn), start, last, keep_text=True)]


def _longest_term(folded: Sequence[str], start: int, terms: Mapping[tuple[str, ...], str]) -> tuple[str | None, int]:
    """Return the category with the most words that begins at `start`, and its number of words."""
    longest = max(map(len, terms), default=0)
    for length in range(min(longest, len(folded) - start), 0, -1):
        name = terms.get(tuple(folded[start : start + length]))
        if name is not None:
            return name, length
    return None, 0


def _fold(word: str) -> str:
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _trim(text: str) -> str:
    """Remove the joining words that are left at the edges after conditions were cut out."""
    return " ".join(_EDGES.sub("", text).split())
