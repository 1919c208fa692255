"""Ids that mean the same in another form, by one rule for all formats of tables.

Programs change the form of ids: a column of integers with gaps becomes 12.0, leading zeros are lost where digits are read as a
number, a letter with an accent is one Unicode character or two. The ids of the catalogue (or of the table of users) count
as they stand, and an id elsewhere that is none of them is taken for the one that differs in form only. Two ids of the
catalogue that differ in form only are different ids, and that form is left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
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
    return _renamed(ids, _other_forms(different, known, different=True), table, column, rejects)


def referred_ids(table: Table, column: str, rejects: Rejects, known: Collection[str], *, others: bool) -> pd.Series:
    """Return the ids [rows] in a table that refers to those of another.

    Args:
      table: the table.
      column: of its ids.
      rejects: takes notes.
      known: ids of the other table; an id that differs from one of them in form only is taken for it.
      others: whether there are ids beside `known`, such as users without a row of their own; these get one form among
        themselves.
    """
    ids = _stripped(table, column, rejects)
    different = ids.dropna().unique()
    names = _one_form(different, known) if others else _other_forms(different, known, different=False)
    return _renamed(ids, names, table, column, rejects)


def logged_ids(column: pd.Series, known: Collection[str] = ()) -> pd.Series:
    """Return the ids [rows] as `referred_ids` does, without notes; of a column that no table but the log defines."""
    ids = as_ids(column)
    return _replaced(ids, _one_form(ids.dropna().unique(), known))


def look(ids: Collection[str]) -> str:
    """Describe ids, for a message about one that is not among them."""
    shown = ", ".join(shorten(known) for known in islice(ids, _SHOWN))
    pair = _Disregarded.by(ids).pair
    why = f"; {' and '.join(map(shorten, pair))} are both there, so their forms are told apart" if pair else ""
    return f"the catalogue's ids look like {shown}{why}"


def _one_form(ids: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Map ids that are not known to known ones, or to each other."""
    names = _other_forms(ids, known, different=False)
    exact = set(known)
    rest = [text for text in ids if text not in exact and text not in names]
    forms = _Disregarded.by(exact, _ALWAYS).forms if rest else ()
    groups: dict[str, list[str]] = defaultdict(list)
    for text in rest:
        groups[_plain(text, forms)].append(text)
    whole = _are_whole(rest)
    names.update({text: plain for plain, texts in groups.items() if whole or len(texts) > 1 for text in texts})
    return names


def _other_forms(ids: Collection[str], known: Collection[str], *, different: bool) -> dict[str, str]:
    """Map ids that are not known to the known ones from which they differ in form only.

    Args:
      ids: each once.
      known: the ids that count.
      different: whether `ids` are different from each other too.
    """
    exact = set(known)
    unknown = [text for text in ids if text not in exact]
    if not unknown or not exact:
        return {}
    forms = _Disregarded.by(exact).forms
    if different:
        forms = _Disregarded.by(ids, forms).forms
    by_plain = {_plain(text, forms): text for text in known}
    found = {text: by_plain.get(_plain(text, forms)) for text in unknown}
    return {text: name for text, name in found.items() if name is not None}


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
    if count := int(blanks.sum()):
        example = shorten(raw[blanks].iloc[0])
        rejects.note(
            f"{table.name}: {count:,} ids in {column} have blanks around them (such as {example}); read without"
        )
    return ids


def _renamed(ids: pd.Series, names: Mapping[str, str], table: Table, column: str, rejects: Rejects) -> pd.Series:
    """Replace ids, and note how many."""
    names = {text: name for text, name in names.items() if text != name}
    if names:
        count, (text, name) = int(ids.isin(names).sum()), next(iter(names.items()))
        rejects.note(
            f"{table.name}: {count:,} ids in {column} are taken for the same ids in another form "
            f"(such as {_shown(text, name)} for {_shown(name, text)})"
        )
    return _replaced(ids, names)


def _shown(text: str, other: str) -> str:
    """Format an id; by its code points where it looks like the other one."""
    return ascii(text) if _composed(text) == _composed(other) else shorten(text)


def _replaced(ids: pd.Series, names: Mapping[str, str]) -> pd.Series:
    changed = ids.isin(names).to_numpy(bool)
    if changed.any():
        ids = ids.copy()
        ids[changed] = ids[changed].map(names).astype(STRINGS)
    return ids
