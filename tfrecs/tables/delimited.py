"""Reads delimited text (csv, tsv, RecBole's atomic files) into columns of strings, with the line of every row.

Text is read in blocks of lines. A regular block (nothing quoted, the same number of fields in every line, UTF-8) is parsed by
Arrow. Any other is read record by record with the csv module, because a fast parser cannot tell on which line a record
begins or why it is malformed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from tfrecs.tables.quoting import DEFAULT_QUOTING, PIECE, OpenText, QuotedRecords, Quoting
from tfrecs.tables.records import Record, check_lines, count_lines, from_line, plain_records
from tfrecs.tables.streams import BLOCK, blocks

# One string type for pandas 2 and 3, whose own defaults differ; nulls are pandas.NA.
STRINGS = pd.StringDtype("pyarrow")
# Rows held as Python lists at a time; as columns they take a fraction of the memory.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Malformed:
    """A record that is not a row: the line on which it begins, from 1, and why."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Part:
    """Some consecutive rows of a file.

    Attributes:
      frame: the rows; of delimited text every column is `STRINGS` with empty fields as nulls.
      lines: the line on which each row begins, from 1, int64 [rows].
      bad: records among them that are no rows, which `frame` leaves out.
    """

    frame: pd.DataFrame
    lines: np.ndarray
    bad: Sequence[Malformed] = ()


Select = Callable[[Sequence[str]], "Sequence[int] | None"]
"""Called once with the names in the header; returns the positions of the columns to read, None for all."""


@dataclass
class _Header:
    select: Select
    names: list[str] | None = None
    chosen: Sequence[int] = field(default_factory=list)

    def take(self, names: list[str]) -> None:
        """Set the header of the file."""
        chosen = self.select(names)
        self.names, self.chosen = names, range(len(names)) if chosen is None else chosen

    def frame(self, columns: Sequence[pd.Series]) -> pd.DataFrame:
        """Join the chosen columns."""
        frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
        names = self.names or []
        frame.columns = pd.Index([names[at] for at in self.chosen], dtype="object")
        return frame

    def strings(self, rows: Sequence[Sequence[str]]) -> pd.DataFrame:
        """Turn rows of fields into columns, empty fields into nulls."""
        return self.frame([pd.Series([row[at] or None for row in rows], dtype=STRINGS) for at in self.chosen])


def read_delimited(
    open_text: OpenText,
    separator: str,
    quoting: Quoting = DEFAULT_QUOTING,
    note: Callable[[str], None] = lambda line: None,
    *,
    select: Select = lambda names: None,
    block: int = BLOCK,
) -> Iterator[Part]:
    """Parse a file with a header line, part by part.

    Malformed records (wrong number of fields, a quote that is not closed properly, not UTF-8) are left out and listed.

    Args:
      open_text: opens the file's UTF-8 text at its beginning.
      separator: one character.
      quoting: whether a quotation mark at the beginning of a field quotes it, see `tfrecs.tables.quoting`.
      note: called with one line where "auto" has found that the table is not quoted.
      select: which columns to read.
      block: bytes parsed at a time.

    Yields:
      At least one part, which has the header.

    Raises:
      ValueError: the header line cannot be read.
    """
    header, line = _Header(select), 1
    with open_text() as content:
        for data in blocks(content, block):
            if quoting != "none" and b'"' in data:
                quoted = _quoted(open_text, separator, quoting, note)
                if quoted is not None:
                    yield from _of_records(from_line(quoted, line), separator, header)
                    break
                quoting = "none"
            yield from _read_unquoted(data, separator, header, line)
            line += count_lines(data)
    if header.names is None:
        yield Part(pd.DataFrame(), np.zeros([0], np.int64))


def _quoted(
    open_text: OpenText, separator: str, quoting: Quoting, note: Callable[[str], None]
) -> Iterable[Record] | None:
    """Return the records of a table with quotation marks, None if it looks unquoted."""
    records = QuotedRecords(open_text, separator, guess=quoting == "auto", refuse_doubtful=False)
    kept: list[Record] = []
    lines = 0
    for record in records:
        lines += record.span
        if lines <= _CHUNK:
            kept.append(record)
    if records.looks_unquoted:
        note(
            f"quotation marks open fields that they do not close, first on line {records.first_mark}; the table is read as "
            "not quoted, marks as they stand (`quoting` in the spec)"
        )
        return None
    if records.doubtful and not records.quotes_needed:
        return QuotedRecords(open_text, separator, guess=True, refuse_doubtful=True)
    if records.doubtful:
        note(
            f"lines that look like rows are inside quoted fields, first on line {records.doubtful[0]}; they are read as part of "
            "the field (`quoting` in the spec)"
        )
    if lines <= _CHUNK:  # A small table need not be read again.
        return kept
    return QuotedRecords(open_text, separator, guess=quoting == "auto", refuse_doubtful=False)


def _of_records(records: Iterable[Record], separator: str, header: _Header) -> Iterator[Part]:
    """Put the records of a quoted table into columns; stretches without a mark need no careful reading."""
    for is_plain, several in itertools.groupby(records, lambda record: record.plain is not None):
        if not is_plain:
            yield from _collect(several, header)
            continue
        while pieces := list(itertools.islice(several, 1 + BLOCK // PIECE)):
            yield from _read_unquoted(
                b"".join(piece.plain or b"" for piece in pieces), separator, header, pieces[0].line
            )


def _read_unquoted(data: bytes, separator: str, header: _Header, line: int) -> Iterator[Part]:
    """Every line is a row, and a quotation mark is a character like any other."""
    if _is_regular(data, separator, header):
        try:
            if header.names is None:
                start = data.find(b"\n") + 1 or len(data)
                header.take(data[:start].decode("utf-8").rstrip("\r\n").split(separator))
                data, line = data[start:], line + 1
            yield _read_regular(data, separator, header, line)
            return
        except (UnicodeDecodeError, pa.ArrowInvalid):
            pass  # Not UTF-8: the careful way below names the lines.
    width = len(header.names) if header.names is not None else None
    yield from _collect(plain_records(data, separator, width, line), header)


def _is_regular(data: bytes, separator: str, header: _Header) -> bool:
    if not data.strip() or b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return False
    octets = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    if not len(ends) or ends[-1] != len(octets) - 1:
        ends = np.append(ends, len(octets))
    before = np.searchsorted(np.flatnonzero(octets == ord(separator)), ends)
    fields = np.diff(before, prepend=0)
    if header.names is not None and fields[0] != len(header.names) - 1:
        return False
    # A line without a separator may be an empty one, and one column is where the two cannot be told apart.
    return bool(fields[0] > 0 and (fields == fields[0]).all())


def _read_regular(data: bytes, separator: str, header: _Header, line: int) -> Part:
    if not data:
        return Part(header.strings([]), np.zeros([0], np.int64))
    assert header.names is not None
    names = [str(at) for at in range(len(header.names))]
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        pa.csv.ReadOptions(column_names=names),
        pa.csv.ParseOptions(delimiter=separator, quote_char=False, escape_char=False, ignore_empty_lines=False),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            include_columns=[names[at] for at in header.chosen],
        ),
    )
    check_lines(count_lines(data), len(table))
    frame = table.to_pandas(types_mapper=lambda kind: STRINGS)
    return Part(header.frame([frame[name] for name in frame.columns]), line + np.arange(len(table), dtype=np.int64))


def _collect(records: Iterable[Record], header: _Header) -> Iterator[Part]:
    """Put records, of which the first good one is the header if there was none, into columns."""
    bad: list[Malformed] = []

    def good() -> Iterator[Record]:
        for record in records:
            if record.problem is not None:
                bad.append(Malformed(record.line, *record.problem))
            elif record.fields:
                yield record

    rows = good()
    if header.names is None:
        first = next(rows, None)
        if first is None:
            yield Part(pd.DataFrame(), np.zeros([0], np.int64), bad)
            return
        header.take(first.fields)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        lines = np.array([record.line for record in chunk], np.int64)
        yield Part(header.strings([record.fields for record in chunk]), lines, bad)
        bad = []
    yield Part(header.strings([]), np.zeros([0], np.int64), bad)


def joined(parts: Iterable[Part], rows: int) -> Iterator[Part]:
    """Join consecutive parts to ones of at least so many rows, but for the last."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one.frame) for one in waiting) >= rows:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    frames = [part.frame for part in parts if len(part.frame)] or [parts[-1].frame]
    return Part(
        frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True),
        np.concatenate([part.lines for part in parts]),
        [problem for part in parts for problem in part.bad],
    )
