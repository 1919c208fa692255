"""Reads lists that a cell holds as text, as programs write them where a table has no lists: Python, JSON, numpy; and lists of records.

`['a', 'b']`, `["a", "b"]`, `('a', 'b')`, `{'a', 'b'}`, `['a' 'b']`, `[{"id": 1, "name": "a"}]`. No TensorFlow here: the app reads the
same tables.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecs.errors import shorten
from tfrecs.tables.cells import is_missing

# Keys of a record by which people call it, the first that it has.
_NAMES = ("name", "title", "label", "value", "text", "tag", "genre", "category", "keyword")
# Cells that ought to be lists, but are none: with an enumeration, or with a first string.
_LIKE_NUMBERS = re.compile(r"\s*[\[({].*['\",]", re.S)
_LIKE_TEXTS = re.compile(r"\s*[\[({]\s*['\"{]")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_ARRAY = re.compile(r"(?:np\.|numpy\.)?(?:array|frozenset|set|list|tuple)\((.*?)(?:,\s*dtype=[^()\[\]]+)?\)", re.S)
_STRING = re.compile(r"""[bBuU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.S)
_WORDS = {"nan": "None", "NaN": "None", "null": "None", "true": "True", "false": "False"}
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b")
_SCALAR = re.compile(r"\b(?:np|numpy)\.\w+(?=\()")  # np.str_('a'), np.int64(1): numpy 2 in a list.


@dataclass
class _Counts:
    """What was read in the cells of a column, with an example of each."""

    texts: int = 0
    text: str = ""
    records: int = 0
    key: str = ""
    others: int = 0
    other: str = ""

    def took(self, key: str | None) -> None:
        """Count a cell of whose records a key was taken."""
        if key is not None:
            self.records, self.key = self.records + 1, self.key or key


def read_lists(cells: Iterable[Any], note: Callable[[str], None], *, numbers: bool) -> list[Any]:
    """Turn the cells of a column that hold lists into lists; others stay as they are.

    Args:
      cells: of one column, None where missing.
      note: called with one line for each of: lists as text, records, and texts that look like a list but are none.
      numbers: whether a text of numbers alone is a list too; in a column of texts, `[1984]` is a title.

    Returns:
      A cell each. Lists inside a list are flattened; a record becomes its value of the first of the usual keys (name, title,
      ...), or stays a record, which kinds refuse, where it has none.
    """
    counts = _Counts()
    result = [_read(cell, counts, numbers) for cell in cells]
    if counts.texts:
        note(f"{counts.texts:,} cells are lists written as text (such as {counts.text}); read as lists")
    if counts.records:
        note(f"{counts.records:,} cells hold records; of each its {counts.key!r} is taken")
    if counts.others:
        note(f"{counts.others:,} cells look like lists but cannot be read as such ({counts.other}); taken as text")
    return result


def read_list(cell: Any, *, numbers: bool) -> Any:
    """Turn one cell into a list if it holds one, as `read_lists` does."""
    return _read(cell, _Counts(), numbers)


def list_in(text: str) -> list[Any] | None:
    """Return the list, or the single record as a list, that a text is; None where it is none."""
    text = text.strip()
    if match := _ARRAY.fullmatch(text):
        text = match.group(1).strip() or "[]"
    if not looks_like_list(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _python(text)
    return [value] if isinstance(value, dict) else value if isinstance(value, list) else None


def looks_like_list(text: str) -> bool:
    """Whether a text stands in brackets."""
    return len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]


def _python(text: str) -> Any:
    """Evaluate a literal of Python or numpy; None where it is none."""
    strings = _STRING.findall(text)
    rest = _STRING.split(text)
    if any(not between.strip() for between in rest[1:-1]):
        # Strings beside each other: numpy's, or else of a broken list, which Python would glue together.
        if rest[0].strip() != "[" or rest[-1].strip() != "]" or any(between.strip() for between in rest[1:-1]):
            return None
        rest[1:-1] = [","] * (len(rest) - 2)
    plain = [_SCALAR.sub("", _WORD.sub(lambda word: _WORDS[word.group()], part)) for part in rest]
    joined = "".join(part + string for part, string in zip(plain, [*strings, ""], strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of escapes that are none, such as \d.
            node = ast.parse(joined, mode="eval").body
            # A set has no order; the text has one.
            parts = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else None
            return ast.literal_eval(node) if parts is None else [ast.literal_eval(part) for part in parts]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _read(cell: Any, counts: _Counts, numbers: bool) -> Any:
    if isinstance(cell, str):
        return _read_text(cell, counts, numbers)
    if isinstance(cell, dict) or (isinstance(cell, list | tuple | np.ndarray) and _holds_records(cell)):
        flat, key = _named([cell])
        counts.took(key)
        return flat
    return cell


def _read_text(cell: str, counts: _Counts, numbers: bool) -> Any:
    values = list_in(cell)
    if values is None:
        if looks_like_list(cell.strip()) and (_LIKE_NUMBERS if numbers else _LIKE_TEXTS).match(cell):
            counts.others, counts.other = counts.others + 1, counts.other or shorten(cell)
        return cell
    flat, key = _named(values)
    if not numbers and not all(isinstance(value, str) for value in flat):
        return cell
    counts.texts, counts.text = counts.texts + 1, counts.text or shorten(cell)
    counts.took(key)
    return flat


def _holds_records(cell: Iterable[Any]) -> bool:
    return any(isinstance(value, dict) for value in _flat(cell))


def _flat(values: Iterable[Any]) -> list[Any]:
    """Flatten a list of lists, however deep, and leave out what is missing."""
    result: list[Any] = []
    left = [iter(values)]
    while left:
        for value in left[-1]:
            if isinstance(value, list | tuple | set | frozenset | np.ndarray):
                left.append(iter(value))
                break
            if not is_missing(value):
                result.append(value)
        else:
            left.pop()
    return result


def _named(values: Iterable[Any]) -> tuple[list[Any], str | None]:
    """Flatten a list and replace its records by their names; all stay where one has none. Returns the first key too."""
    flat = _flat(values)
    keys = [_name_key(value) if isinstance(value, dict) else None for value in flat]
    if any(isinstance(value, dict) and key is None for value, key in zip(flat, keys, strict=True)):
        return flat, None
    named = [value if key is None else value[key] for value, key in zip(flat, keys, strict=True)]
    return [value for value in named if not is_missing(value)], next((key for key in keys if key is not None), None)


def _name_key(record: dict[Any, Any]) -> Any:
    """Return the key of a record's name: a usual one, or one that ends so (`genre_name`); None without."""
    by_lower = {str(key).lower(): key for key, value in record.items() if not isinstance(value, list | dict)}
    usual = [name for name in _NAMES if name in by_lower]
    ending = [name for end in _NAMES for name in by_lower if name.endswith(end)]
    return by_lower[(usual + ending)[0]] if usual or ending else None
