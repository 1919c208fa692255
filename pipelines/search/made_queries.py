"""Queries made of the catalogue's own texts, whose answers are known without any log."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from towers.terms import cut_into_words, without_cuts

__all__ = ["as_typed", "self_queries", "sentences"]

# Behind full-width marks there need be no space.
_SENTENCE = re.compile("(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_WORD = re.compile(r"\S+\s*")
_LONGEST = 40  # words of a query made from a text; longer sentences are cut


def sentences(text: str) -> list[str]:
    """Split a text into its sentences and lines; none of them is empty."""
    return [part.strip() for part in _SENTENCE.split(text) if part and part.strip()]


def self_queries(texts: Sequence[str], shortest: int = 3) -> tuple[list[str], np.ndarray]:
    """Make queries of the sentences of the texts (inverse cloze task: Lee et al., 2019, arXiv:1906.00300).

    Args:
      texts: str [N], "" = none. A text of one sentence gives its two halves.
      shortest: words of a query, at least; in scripts without spaces two characters count as one.

    Returns:
      queries str [Q], and owners int64 [Q], the text that each is from.
    """
    queries, owners = [], []
    for owner, text in enumerate(cut_into_words(texts)):
        parts = [_WORD.findall(part)[:_LONGEST] for part in _SENTENCE.split(text) if part]
        if len(parts) == 1:
            half = len(parts[0]) // 2
            parts = [parts[0][:half], parts[0][half:]]
        for words in parts:
            if len(words) >= shortest:
                queries.append(without_cuts("".join(words)))
                owners.append(owner)
    return queries, np.array(owners, np.int64)


def as_typed(sentence: str, rng: np.random.Generator) -> str:
    """Shorten a sentence to what somebody might type: half of its words, half of these without their last letters.

    What people type is shorter than what is written, in other forms, and not always spelt right.

    Args:
      sentence: as `cut_into_words` leaves it.
      rng: draws words and letters.
    """
    kept = [word for word in sentence.split() if rng.random() < 0.5]
    return " ".join(word[: -rng.integers(1, 3)] if len(word) > 4 and rng.random() < 0.5 else word for word in kept)
