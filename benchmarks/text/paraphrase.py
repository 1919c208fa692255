"""A rule-based paraphraser of one English sentence, as somebody might ask who remembers the plot but not its words.

What it does, in this order, the same on every machine:

1. brackets go (they hold actors' names), and so do quotation marks;
2. names go: a run of capitalised words becomes "someone", or "somewhere" behind in, at, from, to, near, of; the first
   word of a sentence is a name where the corpus never has it in lower case. No name, and no word of a title that is one,
   is left to match on;
3. every word of `synonyms.txt` is replaced, with its ending (plural, -s, -ed, -ing);
4. of the other words in lower case, every second one with a plural -s loses it, by a hash of the word, where the corpus
   has the bare word: the other inflection;
5. clauses (at commas, semicolons, dashes, and, but, when, who, after, while, as): the last one comes first, and of four or more the
   shortest is dropped;
6. function words are exchanged (a: one, the: that, his: their, ...), letters become lower case, the full stop goes.

How strong it is, `changed` measures: the share of a sentence's content words that the paraphrase has no longer.
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
    """A regular verb's forms by ending; the last word of a phrase like `call on` stands as it is."""
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
    """Word form -> what it is replaced by. The first line of a form holds.

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
    """Args:
    corpus: texts that tell which words exist in lower case.
    synonyms: word form -> replacement.
    """

    def __init__(self, corpus: Iterable[str], synonyms: dict[str, str]):
        self.known = {word for text in corpus for word in re.findall(r"\b[^\W\d_A-Z][^\W\d_]*\b", text)}
        self.synonyms = synonyms

    def without_names(self, sentence: str) -> str:
        """Rules 1 and 2."""
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
        """A sentence -> its paraphrase."""
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


def changed(sentence: str, paraphrase: str, stop_words: Iterable[str]) -> float:
    """Share of the sentence's content words that are not in the paraphrase; NaN where it has none."""
    stop = set(stop_words)
    before = set(re.findall(r"\w+", sentence.lower())) - stop
    after = set(re.findall(r"\w+", paraphrase.lower()))
    return len(before - after) / len(before) if before else float("nan")
