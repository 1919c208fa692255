"""Cuts quoted text into records, and tells a table with quoted fields from one with stray quotation marks.

In a quoted table (RFC 4180) a field that begins with a mark ends at a mark before the next separator or end of line, and may
hold separators, doubled marks and line ends. In an unquoted one a mark is a character like any other; read as quoted, one
mark at the beginning of a field makes all rows up to the next mark the text of a single field. Both are called csv and tsv.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import BinaryIO, Literal, NamedTuple

from tfrecs.tables.records import (
    Problem,
    Record,
    check_lines,
    checked_header,
    count_lines,
    field_limit,
    shape_problem,
    text_lines,
    text_problem,
)
from tfrecs.tables.streams import blocks

OpenText = Callable[[], AbstractContextManager[BinaryIO]]
Quoting = Literal["auto", "quoted", "none"]
DEFAULT_QUOTING: Quoting = "auto"

PIECE = 1 << 16  # Bytes in which a mark is looked for.
_SAMPLE = 1000  # Rows without a mark that show what the columns hold.
_WIDE = 4  # Columns from which on lines of prose hardly ever have as many separators as a row.
_CHANCE = 3  # Lines of a quoted text that may look like rows by chance.
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_REMEDY = "say `quoting: none` in the spec if the table is not quoted, or `quoted` if it is"


class QuotedRecords:
    """The records of a table whose fields may be quoted.

    A mark that is not closed properly takes in lines up to the next mark, and the record is malformed or has the wrong
    width. Then only its first line is a problem, and the following lines are read again. So it is where the record is well
    formed, but each of its lines looks like a row of the table (`guess`).

    Args:
      open_text: opens the table's UTF-8 text at its beginning.
      separator: of the fields.
      guess: whether to look for tables that are not quoted.
      refuse_doubtful: whether records that could as well be several rows are problems.

    Attributes (after the iteration):
      strays: lines on which a mark opens a field that is not closed properly.
      quotes_needed: whether a record has a field that must be quoted (with a separator, a line end or a doubled mark), or
        the header is quoted.
      doubtful: first lines of records whose lines could as well be rows of their own; `quotes_needed` does not regard them.
    """

    def __init__(self, open_text: OpenText, separator: str, *, guess: bool, refuse_doubtful: bool):
        self._open, self._separator = open_text, separator
        self._guess, self._refuse_doubtful = guess, refuse_doubtful
        self._opening = re.compile(f'(?:^|{re.escape(separator)})"')
        self._rows = self._quoted_rows = 0
        self._width: int | None = None
        self._header_quoted = False
        self.strays: list[int] = []
        self.doubtful: list[int] = []
        self.quotes_needed = False

    @property
    def looks_unquoted(self) -> bool:
        """Whether marks are not closed, and no other row shows that the table is a quoted one."""
        if not self._guess or self.quotes_needed or (self._width is not None and 2 * self._quoted_rows >= self._rows):
            return False
        return bool(self.strays) or (bool(self.doubtful) and not self._like_prose)

    @property
    def first_mark(self) -> int:
        """The first line with a mark that is not, or may not be, closed properly."""
        return min(self.strays + self.doubtful)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records. Raises ValueError where the header line cannot be read."""
        with self._open() as content:
            yield from self._records(blocks(content, PIECE))

    def _records(self, pieces: Iterator[bytes]) -> Iterator[Record]:
        waiting: deque[str] = deque()  # Lines that are not read yet.
        consumed: list[str] = []  # Lines of the record that is being read.
        given = 0

        def feed() -> Iterator[str]:
            nonlocal given
            while True:
                while waiting:
                    consumed.append(waiting.popleft())
                    yield consumed[-1]
                piece = next(pieces, None)
                if piece is None:
                    return
                given += count_lines(piece)
                waiting.extend(text_lines(io.BytesIO(piece)))

        first = 1
        with field_limit():
            reader = csv.reader(feed(), delimiter=self._separator, strict=True)
            while True:
                if not waiting and self._width is not None:  # Between records: text without a mark is what it seems.
                    piece = next(pieces, None)
                    if piece is None:
                        break
                    span = count_lines(piece)
                    given += span
                    if b'"' not in piece:
                        self._rows += span
                        yield Record(first, span, [], plain=piece)
                        first += span
                        continue
                    waiting.extend(text_lines(io.BytesIO(piece)))
                consumed.clear()
                fields: list[str] = []
                problem = None
                try:
                    fields = next(reader)
                except StopIteration:
                    break
                except csv.Error as error:
                    problem = self._not_closed(str(error), consumed, first)
                    parts = [1]
                else:
                    problem, parts = self._problem(fields, consumed, first)
                taken = sum(parts)
                if self._width is None and problem and self._guess and self.strays:
                    return  # A header that begins a field with a mark; the table is read as not quoted.
                self._width = self._width or checked_header(fields, problem)
                if taken < len(consumed):
                    waiting.extendleft(reversed(consumed[taken:]))
                    reader = csv.reader(feed(), delimiter=self._separator, strict=True)
                if problem is None and fields:
                    self._learn(fields, consumed, first)
                for span in parts:
                    yield Record(first, span, fields, problem)
                    first += span
        check_lines(given, first - 1)

    def _not_closed(self, error: str, lines: Sequence[str], first: int) -> tuple[str, str]:
        if not any(map(self._opening.search, lines)):
            return "malformed line", error
        self.strays.append(first)
        return "malformed line", f"a quote opens a field and is not closed properly ({error}); {_REMEDY}"

    def _problem(self, fields: Sequence[str], lines: Sequence[str], first: int) -> tuple[Problem, list[int]]:
        """Return the problem of a well-formed record, and the numbers of lines of the records that it makes.

        Lines that are in none of them are read again.
        """
        shape = shape_problem(fields, self._width)
        if shape is None and len(lines) == 1:
            return text_problem(lines), [1]
        rows = [line.rstrip("\r\n").split(self._separator) for line in lines]
        if shape:
            # A stray mark and the next one: around rows, or within this line.
            within = len(lines) == 1 and len(rows[0]) == self._width and '"' in lines[0]
            stray = within or any(map(self._is_row, rows[1:]))
            self.strays += [first] if stray else []
            return shape, [1 if stray else len(lines)]
        if text := text_problem(lines):
            return text, [1]
        if not self._guess or self._header_quoted or not self._are_rows(rows):
            return None, [len(lines)]
        last = first + len(lines) - 1
        if len(lines) > _CHANCE and not self._like_prose:
            self.strays.append(first)
            why = f"the quote that opens a field here takes in rows up to line {last}; {_REMEDY}"
            return ("malformed line", why), [1]
        self.doubtful.append(first)
        if not self._refuse_doubtful:
            return None, [len(lines)]
        why = f"lines {first} to {last} are one row with a quoted field, or a row each; {_REMEDY}"
        return ("malformed line", why), [1] * len(lines)

    def _learn(self, fields: Sequence[str], lines: Sequence[str], first: int) -> None:
        """Note what a good record says about the table."""
        self._rows += 1
        raw = "".join(lines)
        if '"' not in raw or not self._opening.search(raw):
            return
        self._quoted_rows += 1
        self._header_quoted |= self._rows == 1
        if not self.quotes_needed and self.doubtful[-1:] != [first]:
            self.quotes_needed = self._header_quoted or any(self._needs_quotes(field, raw) for field in fields)

    def _needs_quotes(self, field: str, raw: str) -> bool:
        if self._separator in field or "\n" in field or "\r" in field:
            return True
        return '"' in field and '"{}"'.format(field.replace('"', '""')) in raw

    @cached_property
    def _like_prose(self) -> bool:
        """Whether lines of prose may look like rows of the table: few columns, no tabs, and no column of numbers."""
        numbers = any(column.numbers for column in self._columns)
        return self._separator != "\t" and (self._width or 0) < _WIDE and not numbers

    def _are_rows(self, rows: Sequence[Sequence[str]]) -> bool:
        return len(rows) > 1 and len(rows[0]) == self._width and all(map(self._is_row, rows[1:]))

    def _is_row(self, row: Sequence[str]) -> bool:
        """Whether a line, cut at its separators, is like the rows that have no mark."""
        if self._width is None or self._width < 2 or len(row) != self._width or not self._columns:
            return False
        return all(
            (value or not column.filled)
            and (not value or not column.numbers or _NUMBER.fullmatch(value.strip('"')))
            and (not value or '"' in value or not column.words or len(value.split()) == 1)
            for value, column in zip(row, self._columns, strict=True)
        )

    @cached_property
    def _columns(self) -> list[_Column]:
        """What the columns hold, by the rows without a mark; [] where there is none."""
        with self._open() as content:
            lines = (line for line in itertools.islice(text_lines(content), 1, None) if '"' not in line)
            rows = (line.rstrip("\r\n").split(self._separator) for line in lines)
            sample = list(itertools.islice((row for row in rows if len(row) == self._width), _SAMPLE))
        known = [[value for value in column if value] for column in zip(*sample, strict=True)]
        return [
            _Column(
                filled=len(values) == len(sample),
                numbers=bool(values) and all(map(_NUMBER.fullmatch, values)),
                words=bool(values) and all(len(value.split()) == 1 for value in values),
            )
            for values in known
        ]


class _Column(NamedTuple):
    """Whether a column is never empty, and what all its values are: numbers, single words."""

    filled: bool
    numbers: bool
    words: bool
