"""The query parser: conditions, remaining text, and later turns that replace conditions of earlier ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app.language.query_parser import QueryVocabulary, parse_query
from serving.app.language.words import fold_words

VOCABULARY = QueryVocabulary(
    ["Horror", "Comedy", "Sci-Fi", "Film Noir", "War", "calm"],
    ["year", "minutes", "price"],
    {"ghost", "baker", "quiet"},
)


@pytest.mark.parametrize(
    ("turns", "text", "keys"),
    [
        (["quiet films for a rainy evening"], "quiet films for a rainy evening", []),
        (["no horror"], "", ["not:Horror"]),
        (["comedies without ghosts"], "comedies", ["is:Comedy", "word:ghost"]),
        (["a sci-fi story, no film noir"], "a sci-fi story", ["is:Sci-Fi", "not:Film Noir"]),
        (["no horror or war please"], "", ["not:Horror", "not:War"]),
        (["not too calm"], "", ["not:calm"]),
        (["not sure what to see"], "not sure what to see", []),
        (["I do not want any horror"], "", ["not:Horror"]),
        (["please don\u2019t show me comedies or war"], "", ["not:Comedy", "not:War"]),
        (["not in the mood for war"], "", ["not:War"]),
        (["a comedy or a war film"], "a comedy or a war film", ["is:Comedy|War"]),
        (["not only horror"], "not only horror", ["is:Horror"]),
        (["no idea, something quiet"], "no idea, something quiet", []),
        (["horror or comedy"], "horror or comedy", ["is:Horror|Comedy"]),
        (["anything but war"], "", ["not:War"]),
        (["before 1980"], "", ["year<1980"]),
        (["films from the 90s"], "films", ["year:1990-2000"]),
        (["films of the 1950s"], "films", ["year:1950-1960"]),
        (["between 1990 and 1985"], "", ["year:1985-1991"]),
        (["war films since 2000"], "war films", ["is:War", "year>=2000"]),
        (["under 90 minutes"], "", ["minutes<90"]),
        (["something cheaper"], "something", ["price<list"]),
        (["2001 a space odyssey"], "2001 a space odyssey", []),
        (["warm", "but older", "no horror"], "warm", ["year<list", "not:Horror"]),
        (["horror", "no horror"], "horror", ["not:Horror"]),
        (["no horror", "horror after all"], "horror after all", ["is:Horror"]),
        (["before 1980", "before 1990"], "", ["year<1990"]),
        (["after 1980", "before 1990"], "", ["year>1980", "year<1990"]),
        (["", "   "], "", []),
    ],
)
def test_turns_become_text_and_conditions(turns: list[str], text: str, keys: list[str]) -> None:
    parsed = parse_query(turns, VOCABULARY)
    assert parsed.text == text
    assert [condition.key for condition in parsed.conditions] == keys


def test_a_dropped_condition_becomes_text() -> None:
    turns = ["quiet", "no horror", "but older"]
    parsed = parse_query(turns, VOCABULARY, ["not:Horror", "year<list"])
    assert (parsed.text, parsed.conditions) == ("quiet no horror but older", ())


def test_every_condition_has_its_turn_and_a_label() -> None:
    first, second, third = parse_query(["comedy", "no horror", "before 1980"], VOCABULARY).conditions
    assert [(one.turn, one.label) for one in (first, second, third)] == [
        (0, "Comedy"),
        (1, "no Horror"),
        (2, "year before 1980"),
    ]


def test_without_years_a_comparative_is_text() -> None:
    plain = QueryVocabulary(["Horror"], [], set())
    assert parse_query(["but older"], plain).text == "but older"


def test_plurals_and_case_are_folded() -> None:
    assert fold_words("Comedies GHOSTS ghost's boss") == ["comedy", "ghost", "ghost", "boss"]


WORDS = st.sampled_from(
    ["no", "not", "without", "but", "older", "Horror", "comedies", "war", "film", "noir", "ghosts", "quiet", "before",
     "1980", "90s", "or", "and", "under", "90", "minutes", "sci-fi", "nothing", "with", "between", "the", "from"]
)  # fmt: skip
TURN = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=10).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(st.lists(TURN, max_size=5))
def test_parsing_is_deterministic_and_adds_no_words(turns: list[str]) -> None:
    parsed = parse_query(turns, VOCABULARY)
    assert parsed == parse_query(turns, VOCABULARY)
    keys = [condition.key for condition in parsed.conditions]
    assert len(keys) == len(set(keys))
    said = " ".join(turns).split()
    assert all(any(word in one for one in said) for word in parsed.text.split())
    assert all(0 <= condition.turn < len(turns) and condition.label for condition in parsed.conditions)


@settings(max_examples=300, deadline=None)
@given(st.lists(TURN, max_size=4))
def test_with_all_conditions_dropped_all_words_are_text(turns: list[str]) -> None:
    dropped: set[str] = set()
    for _ in range(40):  # a condition that goes may let one come back that it had overruled
        parsed = parse_query(turns, VOCABULARY, dropped)
        keys = {condition.key for condition in (*parsed.conditions, *parsed.not_understood)}
        if not keys:
            break
        dropped |= keys
    parsed = parse_query(turns, VOCABULARY, dropped)
    assert parsed.conditions == parsed.not_understood == ()
    assert parsed.text == " ".join(" ".join(turns).split())
