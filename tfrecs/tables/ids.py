"""Ids that mean the same in another form, by one rule for all formats of tables.

Programs change the form of ids: a column of integers with gaps becomes 12.0, leading zeros are lost where digits are read as a
number, a letter with an accent is one Unicode character or two. The ids of the catalogue (or of the table of users) count
as they stand, and an id elsewhere that is none of them is taken for the one that differs in form only. Two ids of the
catalogue that differ in form only are different ids, and that form is left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import pandas as pd

from tfrecs.errors import shorten
from tfrecs.rejects import Rejects
from tfrecs.tables.delimited import STRINGS
from tfrecs.tables.table import Table, as_ids

_POINT = re.compile(r"([+-]?\d+)\.0*")
_ZEROS = re.compile(r"0+(\d+)")
_SHOWN = 3  # Ids in a message.


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _without_point(text: str) -> str:
    match = _POINT.fullmatch(text)
    return match.group(1) if match else text


def _without_zeros(text: str) -> str:
    match = _ZEROS.fullmatch(text)
    return match.group(1) if match else text


Form = Callable[[str], str]
# Leading zeros may be part of the id, so they are disregarded only where a catalogue says which ids there are.
_ALWAYS: tuple[Form, ...] = (_composed, _without_point)
_FORMS: tuple[Form, ...] = (*_ALWAYS, _without_zeros)


@dataclass(frozen=True)
class _Disregarded:
    """The forms in which no two of some ids are equal.

    Attributes:
      forms: the forms.
      pair: two of the ids that are equal in another form, or ().
    """

    forms: tuple[Form, ...]
    pair: tuple[str, ...]

    @classmethod
    def by(cls, ids: Collection[str], allowed: tuple[Form, ...] = _FORMS) -> _Disregarded:
        forms: list[Form] = []
        pair: tuple[str, ...] = ()
        current = list(ids)
        for form in allowed:
            plain = [form(text) for text in current]
            if len(set(plain)) == len(plain):
                forms.append(form)
                current = plain
            elif not pair:
                first: dict[str, str] = {}
                pair = next(
                    (first[p], text) for text, p in zip(ids, plain, strict=True) if first.setdefault(p, text) != text
                )
        return cls(tuple(forms), pair)


def _plain(text: str, forms: Iterable[Form]) -> str:
    for form in forms:
        text = form(text)
    return text


def own_ids(table: Table, column: str, rejects: Rejects, known: Collection[str] = ()) -> pd.Series:
    """Return the ids [rows] of a table that says which there are: a catalogue, or the users.

    Where all ids are whole numbers, a decimal point is dropped, unless two ids would become equal.

    Args:
      table: the table.
      column: of its ids.
      rejects: takes notes.
      known: ids of existing records; an id that differs from one of them in form only is taken for it.
    """
    ids = _stripped(table, column, rejects)
    different = ids.dropna().unique()
    if _are_whole(different) and _without_point in _Disregarded.by(different).forms:
        ids = _renamed(ids, {text: _without_point(text) for text in different}, table, column, rejects)
        different = ids.dropna().unique()
    return _renamed(ids, _other_forms(different, KnownIds(known), different=True), table, column, rejects)


class KnownIds:
    """The ids of a catalogue, or of the users, and which of them a text in another form stands for."""

    def __init__(self, ids: Collection[str]):
        self.ids = list(ids)
        self._position = {text: at for at, text in enumerate(ids)}

    def __contains__(self, text: object) -> bool:
        return text in self._position

    def find(self, text: str) -> int:
        """Return the position of the id that a text is, or from which it differs in form only; -1 for none."""
        if text not in self._position:
            text = self.by_plain.get(_plain(text, self.forms), text)
        return self._position.get(text, -1)

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """Forms in which no two of the ids are equal."""
        return _Disregarded.by(self._position).forms

    @cached_property
    def by_plain(self) -> dict[str, str]:
        """Form in which the forms are disregarded -> id."""
        return {_plain(text, self.forms): text for text in self._position}

    def one_form(self, texts: Collection[str]) -> dict[str, str]:
        """Map texts to the ids that they stand for, and those that are none of them to one form among themselves."""
        names = _other_forms(texts, self, different=False)
        rest = [text for text in texts if text not in self and text not in names]
        forms = _Disregarded.by(self._position, _ALWAYS).forms if rest else ()
        changed = {text: plain for text in rest if (plain := _plain(text, forms)) != text}
        if changed and not _are_whole(
            rest
        ):  # Then a form is disregarded only where it is the one difference between ids.
            same = Counter(changed.get(text, text) for text in rest)
            changed = {text: plain for text, plain in changed.items() if same[plain] > 1}
        return names | changed


class IdColumn:
    """The ids in a column of a long table, read part by part: as codes of the different texts, by their first rows.

    Attributes:
      texts: code -> text, without surrounding blanks.
      rows: code -> number of rows with it, int64, as long as `texts` or longer.
    """

    def __init__(self, name: str):
        self.name = name
        self.texts: list[str] = []
        self.rows = np.zeros(0, np.int64)
        self._code: dict[str, int] = {}
        self._blanks, self._blank = 0, ""

    def codes(self, table: Table) -> np.ndarray:
        """Return the code of each row, int32, -1 where there is no id."""
        rows, texts = self._different(table.column(self.name))
        mapping = np.fromiter((-1 if text is None else self._of(text) for text in texts), np.int32, len(texts))
        codes = np.append(mapping, np.int32(-1))[rows]
        counts = np.bincount(codes[codes >= 0], minlength=len(self.rows))
        counts[: len(self.rows)] += self.rows
        self.rows = counts
        return codes

    def _of(self, text: str) -> int:
        code = self._code.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def _different(self, raw: pd.Series) -> tuple[np.ndarray, list[str | None]]:
        """Return which different text each row has, -1 for none, and these texts; count the ids with blanks around."""
        if raw.dtype == object:  # JSON: numbers, texts and truth values that compare as equal are different ids.
            ids = as_ids(raw)
            rows, different = ids.array.factorize()
            # JSON may hold texts that are no Unicode, so they are compared here.
            blank = np.array([isinstance(value, str) and value != value.strip() for value in raw], bool)
            self._saw_blanks(raw, blank & ids.notna().to_numpy(bool), 1)
            return rows, _texts(pd.Series(different))
        rows, values = raw.array.factorize()
        different = pd.Series(values)
        ids = as_ids(different)
        if raw.dtype == STRINGS:
            blank = ((different != ids) & ids.notna()).fillna(False).to_numpy(bool)
            self._saw_blanks(different, blank, np.bincount(rows[rows >= 0], minlength=len(ids)))
        return rows, _texts(ids)

    def _saw_blanks(self, values: pd.Series, blank: np.ndarray, counts: np.ndarray | int) -> None:
        if blank.any():
            self._blank = self._blank or shorten(values[blank].iloc[0])
            self._blanks += int((blank * counts).sum())

    def note(self, table: str, rejects: Rejects, names: Mapping[str, str]) -> None:
        """Note how many ids were read without blanks, and how many under another name; `names`: text -> id."""
        _note_blanks(table, self.name, self._blanks, self._blank, rejects)
        names = {text: name for text, name in names.items() if text != name}
        _note_names(table, self.name, sum(int(self.rows[self._code[text]]) for text in names), names, rejects)


def look(ids: Collection[str]) -> str:
    """Describe ids, for a message about one that is not among them."""
    shown = ", ".join(shorten(known) for known in islice(ids, _SHOWN))
    pair = _Disregarded.by(ids).pair
    why = f"; {' and '.join(map(shorten, pair))} are both there, so their forms are told apart" if pair else ""
    return f"the catalogue's ids look like {shown}{why}"


def _other_forms(ids: Collection[str], known: KnownIds, *, different: bool) -> dict[str, str]:
    """Map ids that are not known to the known ones from which they differ in form only.

    Args:
      ids: each once.
      known: the ids that count.
      different: whether `ids` are different from each other too.
    """
    unknown = [text for text in ids if text not in known]
    if not unknown or not known.ids:
        return {}
    forms = _Disregarded.by(ids, known.forms).forms if different else known.forms
    by_plain = known.by_plain if forms == known.forms else {_plain(text, forms): text for text in known.ids}
    found = {text: by_plain.get(_plain(text, forms)) for text in unknown}
    return {text: name for text, name in found.items() if name is not None}


def _texts(ids: pd.Series) -> list[str | None]:
    return [None if text is pd.NA else text for text in ids.tolist()]


def _are_whole(ids: Iterable[str]) -> bool:
    return all(_without_point(text).lstrip("+-").isdecimal() for text in ids)


def _stripped(table: Table, column: str, rejects: Rejects) -> pd.Series:
    raw, ids = table.column(column), as_ids(table.column(column))
    if raw.dtype == STRINGS:
        blanks = ((raw != ids) & ids.notna()).fillna(False).to_numpy(bool)
    else:  # JSON may hold texts that are no Unicode, so they are compared here.
        blanks = np.array(
            [isinstance(value, str) and value != value.strip() for value in raw], bool
        ) & ids.notna().to_numpy(bool)
    count = int(blanks.sum())
    _note_blanks(table.name, column, count, shorten(raw[blanks].iloc[0]) if count else "", rejects)
    return ids


def _note_blanks(table: str, column: str, count: int, example: str, rejects: Rejects) -> None:
    if count:
        rejects.note(f"{table}: {count:,} ids in {column} have blanks around them (such as {example}); read without")


def _renamed(ids: pd.Series, names: Mapping[str, str], table: Table, column: str, rejects: Rejects) -> pd.Series:
    """Replace ids, and note how many."""
    names = {text: name for text, name in names.items() if text != name}
    _note_names(table.name, column, int(ids.isin(names).sum()), names, rejects)
    return _replaced(ids, names)


def _note_names(table: str, column: str, count: int, names: Mapping[str, str], rejects: Rejects) -> None:
    if names:
        text, name = next(iter(names.items()))
        rejects.note(
            f"{table}: {count:,} ids in {column} are taken for the same ids in another form "
            f"(such as {_shown(text, name)} for {_shown(name, text)})"
        )


def _shown(text: str, other: str) -> str:
    """Format an id; by its code points where it looks like the other one."""
    return ascii(text) if _composed(text) == _composed(other) else shorten(text)


def _replaced(ids: pd.Series, names: Mapping[str, str]) -> pd.Series:
    changed = ids.isin(names).to_numpy(bool)
    if changed.any():
        ids = ids.copy()
        ids[changed] = ids[changed].map(names).astype(STRINGS)
    return ids
