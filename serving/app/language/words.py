"""Words of texts and of what is typed: tokens, their folded forms, and the index of the items that have them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

# Chinese is written without spaces: a character is a token, two neighbours are a word, as in the export's own search.
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTERS = rf"[^\W{_HAN}]+"
WORD = rf"{_LETTERS}(?:['\u2019]{_LETTERS})*"
CHARACTER = f"[{_HAN}]"
_RUN_OR_WORD = re.compile(rf"{CHARACTER}+|{WORD}")
_IS_HAN = re.compile(f"{CHARACTER}+")
_NO_ROWS = np.zeros(0, np.int32)


def is_han(text: str) -> bool:
    """Return whether a text consists of Chinese characters alone."""
    return _IS_HAN.fullmatch(text) is not None


def fold(word: str) -> str:
    """Return a word in lower case without the plural s."""
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def plain(text: str) -> str:
    """Return a text without case and accents, for comparing what is typed with a grammar: "MÁS" is "mas"."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("\u2019", "'"))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def fold_words(text: str) -> list[str]:
    """Split a text into folded words; Chinese into pairs of neighbouring characters."""
    words: list[str] = []
    for match in _RUN_OR_WORD.finditer(text):
        run = match.group()
        if not is_han(run):
            words.append(fold(run))
        else:
            words += [run[start : start + 2] for start in range(max(1, len(run) - 1))]
    return words


class WordIndex(Mapping[str, np.ndarray]):
    """Folded word -> rows of the items whose text contains it, int32, ascending.

    A Chinese word of one character is in every pair that has it, and one of more than two where all of its pairs are.

    Args:
      texts: of the items, in their order.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            for word in set(fold_words(text)):
                rows.setdefault(word, []).append(row)
        self._rows = {word: np.array(of_word, np.int32) for word, of_word in rows.items()}

    def __getitem__(self, word: str) -> np.ndarray:
        found = self._rows_of_run(word) if is_han(word) and len(word) != 2 else self._rows.get(word, _NO_ROWS)
        if not len(found):
            raise KeyError(word)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def _rows_of_run(self, run: str) -> np.ndarray:
        if len(run) == 1:
            parts = [rows for word, rows in self._rows.items() if run in word]
            return np.unique(np.concatenate(parts)) if parts else _NO_ROWS
        rows = [self._rows.get(pair, _NO_ROWS) for pair in fold_words(run)]
        common = rows[0]
        for others in rows[1:]:
            common = np.intersect1d(common, others)
        return common
