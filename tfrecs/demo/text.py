"""Titles and descriptions: the text block in two to four sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tfrecs.demo import words
from tfrecs.demo.world import nearby_level

T = TypeVar("T")

HERO, SETTING, PLOT, TONE = range(4)  # what the factors of the text block stand for


def describe(factors: np.ndarray, rng: np.random.Generator) -> str:
    """A description of two to four sentences.

    Args:
      factors: float64 [4] in levels: hero, setting, plot and tone.
      rng: picks among synonyms, and now and then a neighbouring level.
    """
    name = _pick(rng, words.NAMES)
    hero, who = _bank(rng, words.HEROES, factors[HERO])
    setting = _bank(rng, words.SETTINGS, factors[SETTING])
    plot = _bank(rng, words.PLOTS, factors[PLOT])
    opening = _pick(
        rng,
        (
            f"{setting}, {name}, {hero}, {plot}",
            f"{name}, {hero}, {plot} {setting}",
            f"{name} is {hero}. {setting}, {who} {plot}",
            f"{setting} lives {name}, {hero}, who {plot}",
            f"this is the story of {name}, {hero}, who {plot} {setting}",
        ),
    )
    turn = _bank(rng, words.TURNS, factors[PLOT]).format(name=name, who=who)
    place = _bank(rng, words.PLACES, factors[SETTING])
    tone = _bank(rng, words.TONES, factors[TONE])
    middle = [sentence for sentence, chance in ((place, 0.85), (turn, 0.85)) if rng.random() < chance]
    if opening.count(". ") and len(middle) == 2:  # never more than four sentences
        middle.pop(int(rng.integers(2)))
    order = rng.permutation(len(middle))
    sentences = [*opening.split(". "), *(middle[index] for index in order), tone]
    return " ".join(f"{_capital(sentence)}." for sentence in sentences)


def entitle(factors: np.ndarray, rng: np.random.Generator) -> str:
    """A title that goes with the description of the same factors. Not unique."""
    noun = _bank(rng, words.TITLE_NOUNS, factors[SETTING])
    adjective = _bank(rng, words.TITLE_ADJECTIVES, factors[TONE])
    deed = _bank(rng, words.TITLE_DEEDS, factors[PLOT])
    name = _pick(rng, words.NAMES)
    return _pick(
        rng,
        (
            f"The {adjective} {noun}",
            f"{name} and the {noun}",
            f"{noun} and {deed}",
            f"The {deed} of {name}",
            f"{name}'s {adjective} {deed}",
            f"A {deed} for {name}" if deed[0] not in "AEIOU" else f"An {deed} for {name}",
            f"{adjective} {noun}, {adjective} {deed}",
            f"The {adjective} {deed}",
        ),
    )


def _bank(rng: np.random.Generator, banks: Sequence[Sequence[T]], factor: float) -> T:
    return _pick(rng, banks[nearby_level(factor, rng)])


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
