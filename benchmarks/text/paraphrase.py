"""Rule-based paraphraser of an English sentence, for queries of users who remember a plot but not its words.

Its rules, in this order, deterministic:

1. brackets, which contain names of actors, and quotation marks are removed;
2. names are removed: a run of capitalised words becomes "someone", or "somewhere" after in, at, from, to, near, of; the
   first word of a sentence is a name if the corpus never has it in lower case. No name in a title is left to match;
3. every word of `synonyms.txt` is replaced with the same ending (plural, -s, -ed, -ing);
4. of the other lower-case words with a plural -s, every second one (by a hash of the word) loses it if the corpus has the
   word without it;
5. the last clause (split at commas, semicolons, dashes, and, but, when, who, after, while, as) moves to the front, and of
   four or more clauses the shortest is dropped;
6. function words are exchanged (a: one, the: that, his: their, ...), letters become lower case, and the full stop is
   removed.

`changed_fraction` measures its strength: the fraction of a sentence's content words that the paraphrase lacks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from pathlib import Path

SYNONYMS = Path(__file__).with_name("synonyms.txt")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+|[^\w\s]", re.UNICODE)
_SOMEWHERE = {"in", "at", "from", "to", "near", "of", "into"}
_CLAUSE = re.compile(r"\s*(?:[,;:.!?]|(?<=\s)-+(?=\s)|\b(?:and|but|when|who|after|while|as)\b)\s*")
_FUNCTION = {
    "a": "one", "an": "one", "the": "that", "his": "their", "her": "their", "he": "they", "she": "they",
    "him": "them", "is": "was", "are": "were", "has": "had", "must": "needs to", "can": "is able to",
    "with": "along with", "about": "concerning", "which": "that", "whose": "with their", "before": "prior to",
    "because": "since", "into": "inside", "also": "too", "only": "just", "however": "though", "until": "till",
}  # fmt: skip
_IRREGULAR = {"thief": "thieves", "male child": "male children", "child": "children", "female child": "female children", "man": "men",
              "woman": "women", "policeman": "policemen", "hitman": "hitmen", "wife": "wives"}  # fmt: skip
_VOWELS = set("aeiou")


def _endings(word: str) -> dict[str, str]:
    """Return the forms of a regular verb by ending; the particle of a phrase such as `call on` is unchanged."""
    head, _, rest = word.partition("_")
    tail = f" {rest.replace('_', ' ')}" if rest else ""
    last = head[-1]
    if last == "e":
        past, present = head + "d", head[:-1] + "ing"
    elif last == "y" and head[-2] not in _VOWELS:
        past, present = head[:-1] + "ied", head + "ing"
    elif (
        len(head) <= 4
        and last not in "wxy"
        and last not in _VOWELS
        and head[-2] in _VOWELS
        and head[-3:-2] not in _VOWELS
    ):
        past, present = head + last + "ed", head + last + "ing"
    else:
        past, present = head + "ed", head + "ing"
    return {"": head + tail, "s": _plural(head) + tail, "ed": past + tail, "ing": present + tail}


def _plural(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def read_synonyms(path: Path = SYNONYMS) -> dict[str, str]:
    """Read word form -> replacement; the first line of a form counts.

    Raises:
      ValueError: a line is not `kind word replacement`.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, word, other = line.split(" ")
        if kind == "w":
            forms = {word: other.replace("_", " ")}
        elif kind == "n":
            forms = {word: other.replace("_", " "), _plural(word): _plural(other.replace("_", " "))}
        elif kind == "v":
            into = _endings(other)
            forms = {form: into[ending] for ending, form in _endings(word).items()}
        else:
            raise ValueError(f"{path}:{number}: kind must be n, v or w, not {kind!r}")
        for form, replacement in forms.items():
            table.setdefault(form, replacement)
    return table


class Paraphraser:
    """Paraphrases sentences.

    Args:
      corpus: texts whose lower-case words are known.
      synonyms: word form -> replacement.
    """

    def __init__(self, corpus: Iterable[str], synonyms: dict[str, str]):
        self.known = {word for text in corpus for word in re.findall(r"\b[^\W\d_A-Z][^\W\d_]*\b", text)}
        self.synonyms = synonyms

    def without_names(self, sentence: str) -> str:
        """Apply rules 1 and 2."""
        sentence = re.sub(r"\([^)]*\)|\[[^]]*\]|[\"“”]", " ", sentence)
        tokens = _WORD.findall(sentence)
        result: list[str] = []
        start = True
        for token in tokens:
            plain = re.sub(r"['\u2019]s$", "", token)
            name = plain[:1].isupper() and plain != "I" and not (start and plain.lower() in self.known)
            if not name:
                result.append(token.lower() if start else token)
            elif result and result[-1] in ("someone", "somewhere"):
                pass
            else:
                result.append("somewhere" if result and result[-1].lower() in _SOMEWHERE else "someone")
            start = token in ".!?"
        return " ".join(result)

    def __call__(self, sentence: str) -> str:
        """Paraphrase a sentence."""
        words = [self._replaced(word) for word in self.without_names(sentence).split()]
        clauses = [clause for clause in _CLAUSE.split(" ".join(words)) if clause.strip()]
        if len(clauses) >= 4:
            clauses.remove(min(clauses, key=lambda clause: len(clause.split())))
        clauses = clauses[-1:] + clauses[:-1]
        text = " ".join(clauses).lower()
        return " ".join(_FUNCTION.get(word, word) for word in text.split() if any(c.isalnum() for c in word))

    def _replaced(self, word: str) -> str:
        word = re.sub(r"['\u2019]s$", "", word)
        if word in self.synonyms:
            return self.synonyms[word]
        bare = word[:-1]
        if (
            len(word) > 4
            and word.endswith("s")
            and not word.endswith(("ss", "us", "is"))
            and bare in self.known
            and zlib.crc32(word.encode()) % 2
        ):
            return bare
        return word


def changed_fraction(sentence: str, paraphrase: str, stop_words: Iterable[str]) -> float:
    """Return the fraction of the content words that are not in the paraphrase, NaN without content words."""
    stop = set(stop_words)
    before = set(re.findall(r"\w+", sentence.lower())) - stop
    after = set(re.findall(r"\w+", paraphrase.lower()))
    return len(before - after) / len(before) if before else float("nan")
