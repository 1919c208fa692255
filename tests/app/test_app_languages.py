"""The grammars of conditions: for each language a table of sentences, what they exclude or require, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from serving.app.language.languages import FOLDER, languages, load_grammar
from serving.app.language.query_parser import QueryVocabulary, parse_query
from serving.app.language.words import WordIndex, fold_words
from serving.wire.errors import StartError

ALL = tuple(map(load_grammar, ("en", "de", "es", "fr", "zh")))
NUMBERS = ["year", "minutes", "price"]
VOCABULARIES = {
    "en": QueryVocabulary(["Horror", "Comedy", "War", "Sci-Fi"], NUMBERS, {"ghost", "quiet", "witch"}),
    "de": QueryVocabulary(["Horror", "Komödie", "Krieg", "Drama"], ["Jahr", "Minuten"], {"geist", "katze"}),
    "es": QueryVocabulary(["Terror", "Comedia", "Guerra", "Canción"], NUMBERS, {"fantasma"}),
    "fr": QueryVocabulary(["Horreur", "Comédie", "Guerre", "Musical"], NUMBERS, {"fantôme"}),
    "zh": QueryVocabulary(["恐怖", "喜剧", "战争"], NUMBERS, {"鬼魂", "猫"}),
}

# Language; what is typed; keys of the conditions; the text that is left for the model; what is not understood.
SENTENCES: list[tuple[str, str, list[str], str, list[str]]] = [
    ("en", "quiet films, no horror movies", ["not:Horror"], "quiet films", []),
    ("en", "No vampires", [], "", ["No vampires"]),
    ("en", "a comedy without vampires or clowns", ["is:Comedy"], "a comedy", ["without vampires or clowns"]),
    ("en", "something funny but not scary", [], "something funny", ["but not scary"]),
    ("en", "I don't want any slasher movies, something warm", [], "something warm", ["don't want any slasher movies"]),
    ("en", "no horror or vampires please", ["not:Horror"], "", ["or vampires"]),
    ("en", "without witches", ["word:witch"], "", []),
    ("en", "quiet films without any quiet ghosts", ["word:quiet|ghost"], "quiet films", []),
    ("en", "no quiet vampires", [], "", ["no quiet vampires"]),
    ("en", "nothing too quiet", [], "", ["nothing too quiet"]),
    ("en", "no, something quiet", [], "no, something quiet", []),
    ("en", "not only horror", ["is:Horror"], "not only horror", []),
    ("en", "under 20 dollars and shorter", ["price<20", "minutes<list"], "", []),
    ("en", "from 1980 to 1985", ["year:1980-1986"], "", []),
    ("en", "songs of the nineties", ["year:1990-2000"], "songs", []),
    ("de", "ruhige Filme ohne Geister", ["word:geist"], "ruhige Filme", []),
    ("de", "kein Horror", ["not:Horror"], "", []),
    ("de", "bitte keine Horrorfilme und keine Komödien", ["not:Horror", "not:Komödie"], "", []),
    ("de", "Dramen oder eine Komödie", ["is:Drama|Komödie"], "Dramen oder eine Komödie", []),
    ("de", "keine Vampire, etwas Warmes", [], "etwas Warmes", ["keine Vampire"]),
    ("de", "nicht nur Krieg", ["is:Krieg"], "nicht nur Krieg", []),
    ("de", "Filme aus den 90er Jahren", ["Jahr:1990-2000"], "Filme", []),
    ("de", "vor 1980", ["Jahr<1980"], "", []),
    ("de", "zwischen 1990 und 1985", ["Jahr:1985-1991"], "", []),
    ("de", "höchstens 90 Minuten, aber älter", ["Minuten<=90", "Jahr<list"], "", []),
    ("de", "außer Krieg", ["not:Krieg"], "", []),
    ("de", "Lieder der Achtziger", ["Jahr:1980-1990"], "Lieder", []),
    ("es", "películas tranquilas sin fantasmas", ["word:fantasma"], "películas tranquilas", []),
    ("es", "no quiero terror", ["not:Terror"], "", []),
    ("es", "nada de comedias ni guerra", ["not:Comedia", "not:Guerra"], "", []),
    ("es", "una comedia o una de guerra", ["is:Comedia", "is:Guerra"], "una comedia o una de guerra", []),
    ("es", "sin vampiros, por favor", [], "", ["sin vampiros"]),
    ("es", "películas de los años 90", ["year:1990-2000"], "películas", []),
    ("es", "antes de 1980", ["year<1980"], "", []),
    ("es", "entre 1985 y 1990", ["year:1985-1991"], "", []),
    ("es", "menos de 90 minutos", ["minutes<90"], "", []),
    ("es", "algo MAS ANTIGUO", ["year<list"], "algo", []),
    ("es", "sin canciones", ["not:Canción"], "", []),
    ("es", "no solo terror", ["is:Terror"], "no solo terror", []),
    ("fr", "des films calmes sans fantômes", ["word:fantôme"], "films calmes", []),
    ("fr", "pas d'horreur", ["not:Horreur"], "", []),
    ("fr", "je ne veux pas de comédies ni de guerre", ["not:Comédie", "not:Guerre"], "", []),
    ("fr", "une comédie ou de l\u2019horreur", ["is:Comédie", "is:Horreur"], "une comédie ou de l\u2019horreur", []),
    ("fr", "sans vampires s'il te plaît", [], "", ["sans vampires"]),
    ("fr", "films des années 90", ["year:1990-2000"], "films", []),
    ("fr", "avant 1980", ["year<1980"], "", []),
    ("fr", "jusqu'en 1990", ["year<=1990"], "", []),
    ("fr", "moins de 90 minutes", ["minutes<90"], "", []),
    ("fr", "mais plus récent", ["year>list"], "", []),
    ("fr", "tout sauf des films musicaux", ["not:Musical"], "", []),
    ("fr", "pas seulement la guerre", ["is:Guerre"], "pas seulement la guerre", []),
    ("zh", "安静的电影\uff0c不要恐怖片", ["not:恐怖"], "安静的电影", []),
    ("zh", "不要恐怖、战争", ["not:恐怖", "not:战争"], "", []),
    ("zh", "喜剧或者战争片", ["is:喜剧|战争"], "喜剧或者战争片", []),
    ("zh", "没有鬼魂的故事", ["word:鬼魂"], "故事", []),
    ("zh", "不要吸血鬼\uff0c温暖一点", [], "温暖一点", ["不要吸血鬼"]),
    ("zh", "九十年代的电影", ["year:1990-2000"], "电影", []),
    ("zh", "90年代", ["year:1990-2000"], "", []),
    ("zh", "1980年以前的喜剧", ["year<1980", "is:喜剧"], "喜剧", []),
    ("zh", "1985年到1990年", ["year:1985-1991"], "", []),
    ("zh", "90分钟以内", ["minutes<=90"], "", []),
    ("zh", "更早的", ["year<list"], "", []),
    ("zh", "不只是恐怖", ["is:恐怖"], "不只是恐怖", []),
]  # fmt: skip


@pytest.mark.parametrize(("language", "turn", "keys", "text", "unknown"), SENTENCES)
def test_a_sentence_becomes_conditions(
    language: str, turn: str, keys: list[str], text: str, unknown: list[str]
) -> None:
    parsed = parse_query([turn], VOCABULARIES[language], (), ALL)
    assert [condition.key for condition in parsed.conditions] == keys
    assert parsed.text == text
    assert [condition.label for condition in parsed.not_understood] == unknown


def test_every_grammar_has_a_table() -> None:
    assert languages() == sorted({language for language, *_ in SENTENCES})


def test_each_turn_is_read_in_its_own_language_and_shown_in_it() -> None:
    vocabulary = QueryVocabulary(["Horror", "War"], ["year"], {"baker"})
    turns = ["no Horror", "vor 1980", "sin baker", "2000年以后"]
    parsed = parse_query(turns, vocabulary, (), ALL)
    assert [(one.key, one.label, one.turn) for one in parsed.conditions] == [
        ("not:Horror", "no Horror", 0),
        ("year<1980", "year vor 1980", 1),
        ("word:baker", "sin «baker»", 2),
        ("year>2000", "year 2000 以后", 3),
    ]


def test_a_word_of_the_language_is_no_category_of_another_one() -> None:
    vocabulary = QueryVocabulary(["War"], [], set())
    assert parse_query(["das war schön"], vocabulary, (), ALL).conditions == ()
    assert [one.key for one in parse_query(["a war story"], vocabulary, (), ALL).conditions] == ["is:War"]


def test_only_the_languages_that_are_asked_for_are_read() -> None:
    english = parse_query(["kein Horror"], VOCABULARIES["de"], (), (load_grammar("en"),))
    assert (english.text, [one.key for one in english.conditions]) == ("kein Horror", ["is:Horror"])


def test_words_behind_a_negation_are_never_searched_for_unless_asked() -> None:
    turns = ["quiet films, no vampires"]
    parsed = parse_query(turns, VOCABULARIES["en"], (), ALL)
    assert (parsed.text, [one.key for one in parsed.not_understood]) == ("quiet films", ["unknown:no vampires"])
    asked = parse_query(turns, VOCABULARIES["en"], ["unknown:no vampires"], ALL)
    assert (asked.text, asked.not_understood) == ("quiet films, no vampires", ())


def test_chinese_words_are_found_in_texts_without_spaces() -> None:
    index = WordIndex(["一只猫在睡觉", "鬼魂出没的房子", "a quiet cat", "没有人"])
    found = {word: index[word].tolist() for word in ("猫", "鬼魂", "睡觉", "鬼魂出没", "cat")}
    assert found == {"猫": [0], "鬼魂": [1], "睡觉": [0], "鬼魂出没": [1], "cat": [2]}
    assert "狗" not in index
    assert "猫在房" not in index
    assert fold_words("两只Cats睡觉") == ["两只", "cat", "睡觉"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"negations": {"any_word": [False], "category": []}}, "negations.any_word.0: .*need quotes"),
        ({"years": {"<": ["before {decade}"]}}, "years: 'before {decade}' needs {year} and no other slot"),
        ({"quantities": {}}, "quantities: 'year' is missing"),
        ({"comparatives": [{"of": ["mass"], "lower": [], "higher": []}]}, "there is no quantity 'mass'"),
        ({"tails": ["…"]}, "tails: '…' has no word"),
        ({"labels": {}}, "labels.any_of: "),
        ({"adjectives": []}, "adjectives: "),
    ],
)
def test_a_mistake_in_a_grammar_is_one_line_that_names_it(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    content = yaml.safe_load((FOLDER / "en.yaml").read_text(encoding="utf-8")) | change
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(StartError, match=message) as raised:
        load_grammar(str(file))
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_grammar_of_ones_own_and_an_unknown_language(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    english = yaml.safe_load((FOLDER / "en.yaml").read_text(encoding="utf-8"))
    negations = {"any_word": ["nae"], "category": []}
    file.write_text(yaml.safe_dump(english | {"language": "sco", "negations": negations}), encoding="utf-8")
    parsed = parse_query(["nae horror"], VOCABULARIES["en"], (), (load_grammar(str(file)),))
    assert [one.key for one in parsed.conditions] == ["not:Horror"]
    with pytest.raises(StartError, match="no grammar 'tlh'; there are de, en, es, fr, zh"):
        load_grammar("tlh")
    with pytest.raises(StartError, match=r"missing\.yaml"):
        load_grammar(str(tmp_path / "missing.yaml"))
