"""Rule-based query parser over the categories and numbers of the catalogue. Pure functions.

    "quiet comedies", "but older", "no horror"  ->  the text "quiet comedies" and three conditions

The page shows each condition as a chip that the user can remove. Words that no rule matches stay in the text query of
the model, but for those behind a negation: to search for what somebody does not want would be worse than to ignore it.
The rules are those of a grammar (`grammar.py`), one for each language; the categories come from the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from serving.app.language.conditions import Condition, ConditionMatch
from serving.app.language.grammar import Grammar, Phrase, longest_at
from serving.app.language.languages import choose_grammar, load_grammar
from serving.app.language.numeric_conditions import match_numeric_condition
from serving.app.language.words import is_han, plain

_CLAUSE_END = re.compile(r"[,.;:!?()\u2013\u2014\u3001\u3002\uff0c\uff1b\uff1a\uff01\uff1f\n]")
_LONGEST_HAN = 4  # characters of an excluded word


@dataclass(frozen=True)
class CategoryTerms:
    """Plain folded words of the categories, with the endings of one language -> name."""

    names: dict[Phrase, str]
    longest: int


@dataclass(frozen=True)
class QueryVocabulary:
    """Names and words that a query can refer to.

    Attributes:
      categories: category names.
      numbers: names of numbers, such as year.
      words: folded words (`words.fold_words`) of the item texts; only these can be excluded.
    """

    categories: Collection[str]
    numbers: Collection[str]
    words: Collection[str]
    _terms: dict[str, CategoryTerms] = field(default_factory=dict, init=False, repr=False, compare=False)

    def category_terms(self, grammar: Grammar) -> CategoryTerms:
        """Return the words of the categories as a language may have them; made once."""
        terms = self._terms.get(grammar.language)
        if terms is None:
            names: dict[Phrase, str] = {}
            for is_exact in (True, False):  # a form of one category never hides another one's own name
                for name in sorted(self.categories):
                    words = [match.group() for match in grammar.tokenize(name)]
                    if words:
                        *before, last = [grammar.forms(word) for word in words]
                        start = tuple(plain(forms[0]) for forms in before)
                        for form in last[:1] if is_exact else last[1:]:
                            names.setdefault((*start, plain(form)), name)
            terms = CategoryTerms(names, max(map(len, names), default=0))
            self._terms[grammar.language] = terms
        return terms


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed query.

    Attributes:
      text: the words of all turns that remain for the model.
      conditions: in the order of the turns.
      not_understood: what was excluded and cannot be, as nothing in the catalogue is called that; of the kind unknown.
    """

    text: str
    conditions: tuple[Condition, ...]
    not_understood: tuple[Condition, ...] = ()


def parse_query(
    turns: Sequence[str],
    vocabulary: QueryVocabulary,
    dropped: Collection[str] = (),
    grammars: Sequence[Grammar] | None = None,
) -> ParsedQuery:
    """Parse all turns of a query; a later condition replaces an earlier one on the same subject.

    Args:
      turns: what the user typed, oldest first; each may be in a language of its own.
      vocabulary: names and words of the catalogue.
      dropped: keys of conditions that the user removed; their words count as text.
      grammars: of the languages that are understood; None for English alone.
    """
    grammars = grammars or (load_grammar("en"),)
    grammar = grammars[0]
    texts: list[str] = []
    conditions: dict[str, Condition] = {}
    for number, turn in enumerate(turns):
        grammar = choose_grammar(turn, grammars, grammar)
        reader = _TurnReader(turn, number, vocabulary, grammar)
        rest, end = "", 0
        for match in reader.matches():
            if match.condition.key in dropped:
                continue
            conditions = {key: old for key, old in conditions.items() if not _is_replaced(old, match.condition)}
            conditions[match.condition.key] = match.condition
            if not match.keep_text:
                rest += turn[end : reader.tokens[match.first].start()] + " "
                end = reader.tokens[match.last - 1].end()
        rest += turn[end:]
        texts.append(" ".join((grammar.edges.sub("", rest) if end else rest).split()))
    found = conditions.values()
    return ParsedQuery(
        " ".join(text for text in texts if text),
        tuple(condition for condition in found if condition.kind != "unknown"),
        tuple(condition for condition in found if condition.kind == "unknown"),
    )


def _is_replaced(old: Condition, new: Condition) -> bool:
    if old.key == new.key:
        return True
    if {old.kind, new.kind} == {"category", "not_category"}:
        return bool(set(old.names) & set(new.names))
    if old.kind == new.kind == "number" and old.names == new.names:
        return {old.op[0], new.op[0]} != {"<", ">"}  # a lower and an upper bound are kept together
    return False


class _TurnReader:
    """Finds the conditions of one turn."""

    def __init__(self, turn: str, number: int, vocabulary: QueryVocabulary, grammar: Grammar) -> None:
        self.turn, self.number, self.vocabulary, self.grammar = turn, number, vocabulary, grammar
        self.terms = vocabulary.category_terms(grammar)
        self.tokens = grammar.tokenize(turn)
        self.words = [token.group() for token in self.tokens]
        self.plain = [plain(word) for word in self.words]
        self.forms = [[plain(form) for form in grammar.forms(word)] for word in self.words]
        ends = [token.end() for token in self.tokens]
        # Tokens that begin a clause: what is negated before them does not reach them, unless categories are listed.
        self.breaks = {
            index
            for index in range(1, len(self.tokens))
            if _CLAUSE_END.search(turn[ends[index - 1] : self.tokens[index].start()])
        }

    def matches(self) -> Iterator[ConditionMatch]:
        """Match from left to right; every word belongs to at most one condition."""
        start = 0
        while start < len(self.words):
            if length := longest_at(self.grammar.idiom_phrases, self.plain, start):
                start += length
                continue
            found = self._number(start) or self._negation(start) or self._category(start)
            yield from found
            start = found[-1].last if found else start + 1

    def _number(self, start: int) -> list[ConditionMatch]:
        return match_numeric_condition(self.plain, start, self.number, self.vocabulary.numbers, self.grammar)

    def _condition(self, kind: str, *names: str) -> Condition:
        return Condition(kind, names, self.number, grammar=self.grammar)

    def _negation_at(self, start: int) -> int:
        """Return the number of tokens of the negation at a position, 0 if there is none."""
        return longest_at(self.grammar.negation_phrases, self.plain, start)

    def _negation(self, start: int) -> list[ConditionMatch]:
        length = self._negation_at(start)
        any_word = tuple(self.plain[start : start + length]) in self.grammar.word_negations
        first, position = start, start + length
        if not length or position in self.breaks:  # "no, something quiet" answers what went before
            return []
        matches: list[ConditionMatch] = []
        while position < len(self.words):
            position = self._skip_fillers(position)
            name, length = self._longest_term(position)
            excluded, length = (None, length) if name or not any_word else self._known_words(position)
            if name is not None:
                last = self._skip_tails(position + length)
                matches.append(ConditionMatch(self._condition("not_category", name), first, last))
            elif excluded is not None:
                last = self._skip_tails(position + length)
                matches.append(ConditionMatch(self._condition("not_word", *excluded), first, last))
            else:
                last = self._end_of_object(position)
                if last == position:
                    break
                if (
                    matches and matches[-1].condition.kind == "unknown"
                ):  # "without vampires or clowns" is said back whole
                    first = matches.pop().first
                words = self.turn[self.tokens[first].start() : self.tokens[last - 1].end()]
                matches.append(ConditionMatch(self._condition("unknown", " ".join(words.split())), first, last))
            first = position = last
            length = longest_at(self.grammar.conjunction_phrases, self.plain, position)
            if length and position + length < len(self.words):
                # "no horror and comedies" is ambiguous; both are excluded, and the chips show it.
                position += length
            elif self._longest_term(position)[0] is None:
                break
        return matches

    def _skip_fillers(self, position: int) -> int:
        begin = position
        while position < len(self.words) and (position == begin or position not in self.breaks):
            length = longest_at(self.grammar.filler_phrases, self.plain, position)
            if not length or self._longest_term(position)[1]:
                break
            position += length
        return position

    def _skip_tails(self, position: int) -> int:
        if position in self.breaks or self._longest_term(position)[1]:
            return position
        return position + longest_at(self.grammar.tail_phrases, self.plain, position)

    def _end_of_object(self, position: int) -> int:
        """Return where an object that is no category ends: with the clause, or before a word of the language."""
        begin = position
        while position < len(self.words) and not (position > begin and position in self.breaks):
            if longest_at(self.grammar.stop_phrases, self.plain, position):
                break
            if self._number(position) or self._negation_at(position) or self._longest_term(position)[1]:
                break
            position += 1
        return position

    def _category(self, start: int) -> list[ConditionMatch]:
        name, length = self._longest_term(start)
        if name is None or (length == 1 and self.plain[start] in self.grammar.no_categories):
            return []
        names, last = [name], start + length
        while length := longest_at(self.grammar.either_phrases, self.plain, last):
            following = last + length
            following += longest_at(self.grammar.article_phrases, self.plain, following)
            other, length = self._longest_term(following)
            if other is None:
                break
            names, last = [*names, other], following + length
        condition = self._condition("category", *dict.fromkeys(names))
        return [ConditionMatch(condition, start, last, keep_text=True)]

    def _longest_term(self, start: int) -> tuple[str | None, int]:
        """Return the category with the most words that begins at `start`, and its number of words."""
        for length in range(min(self.terms.longest, len(self.words) - start), 0, -1):
            *before, last = self.forms[start : start + length]
            words = tuple(forms[0] for forms in before)
            for form in last:
                name = self.terms.names.get((*words, form))
                if name is not None:
                    return name, length
        return None, 0

    def _known_words(self, position: int) -> tuple[list[str] | None, int]:
        """Return the words of the texts that an object has ("car chases"), and its number of tokens; None if one is unknown."""
        run = 0
        while run < _LONGEST_HAN and position + run < len(self.words) and is_han(self.words[position + run]):
            if run and position + run in self.breaks:
                break
            run += 1
        for length in range(run, 0, -1):
            word = "".join(self.words[position : position + length])
            if word in self.vocabulary.words:
                return [word], length
        found: list[str] = []
        end = self._end_of_object(position)
        for index in range(position, end):
            if found and longest_at(self.grammar.tail_phrases, self.plain, index):
                return found, index - position
            forms = self.grammar.forms(self.words[index])
            known = next((form for form in forms if form in self.vocabulary.words), None)
            if known is None:
                return None, 0
            found.append(known)
        return (list(dict.fromkeys(found)), end - position) if found else (None, 0)
