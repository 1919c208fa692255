"""The languages of conditions: grammars from YAML files, that of a turn, and the words of all of them for a number."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from serving.app.language.grammar import Grammar, Phrase
from serving.wire.errors import StartError

FOLDER = Path(__file__).with_name("grammars")


@lru_cache(maxsize=32)
def load_grammar(name: str) -> Grammar:
    """Load the grammar of a language that comes with the app ("en"), or from a YAML file (a path that ends in .yaml).

    Raises:
      StartError: there is no such language or file, or the file is no grammar; names the key.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(languages())
        raise StartError(f"app.languages: no grammar {name!r}; there are {known}, or name a YAML file") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise StartError(f"{file}{f':{mark.line + 1}' if mark else ''}: not valid YAML; correct it") from error
    try:
        return Grammar.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "grammar"
        quote = " (words such as no, on and y need quotes)" if "string" in first["type"] else ""
        raise StartError(f"{file}: {where}: {first['msg'].removeprefix('Value error, ')}{quote}") from error


def languages() -> list[str]:
    """Names of the grammars that come with the app."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def choose_grammar(turn: str, grammars: Sequence[Grammar], before: Grammar) -> Grammar:
    """Return the grammar that knows most words of a turn; of several that of the turn before, else the first one."""
    scores = [grammar.familiarity(turn) for grammar in grammars]
    best = [grammar for grammar, score in zip(grammars, scores, strict=True) if score == max(scores)]
    return before if before in best else best[0]


@lru_cache(maxsize=1)
def _quantity_words() -> Mapping[str, list[Phrase]]:
    """Quantity -> words in the names of numbers, of all languages: a question may be in another one than the catalogue."""
    words: dict[str, list[Phrase]] = {}
    for language in sorted(languages(), key=lambda one: (one != "en", one)):
        grammar = load_grammar(language)
        for quantity, texts in grammar.quantities.items():
            words.setdefault(quantity, []).extend(map(grammar.phrase, texts))
    return words


def number_for(quantity: str, numbers: Collection[str], grammar: Grammar) -> str | None:
    """Return the number of the catalogue whose name has a word for a quantity."""
    for phrase in [*map(grammar.phrase, grammar.quantities.get(quantity, ())), *_quantity_words().get(quantity, ())]:
        for name in sorted(numbers):
            if _contains(grammar.phrase(re.sub(r"[\d_]+", " ", name)), phrase):
                return name
    return None


def _contains(words: Phrase, phrase: Phrase) -> bool:
    return any(words[start : start + len(phrase)] == phrase for start in range(len(words) - len(phrase) + 1))
