"""Reads delimited text (csv, tsv, RecBole's atomic files) into columns of strings, with the line of every row.

A regular file (nothing quoted, the same number of fields in every line, UTF-8) is read by pandas' C parser. Any other is
read record by record with the csv module, because pandas cannot tell on which line a record begins or why it is malformed.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrecs.tables.quoting import DEFAULT_QUOTING, QuotedRecords, Quoting, Record, check_lines, plain_records

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


_BOMS = {
    # UTF-32's little-endian mark begins with that of UTF-16.
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def as_utf8(data: bytes, encoding: str | None) -> bytes:
    """Convert the bytes of a file to UTF-8.

    Args:
      data: content of the file.
      encoding: None: as its byte order mark says, else UTF-8. Undefined bytes of a single-byte encoding are kept, so that
        their line is reported later.

    Raises:
      ValueError: `data` is not in that encoding.
    """
    encoding = encoding or next((name for mark, name in _BOMS.items() if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig":
        return data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode(encoding, "surrogateescape").encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        raise ValueError(f"not {encoding} ({error}); correct `encoding` in the spec, or save it as UTF-8") from error


def separator_of(data: bytes, usual: str) -> str:
    """Return the separator of a delimited UTF-8 file: `usual`, unless the header lacks it and has another one.

    csv files of countries with a decimal comma have semicolons, exports of databases tabs or bars.
    """
    header = data.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8", "replace")
    bare = re.sub(r'"[^"]*"', "", header)
    return usual if usual in bare else max(f"{usual};\t,|", key=bare.count)


def read_delimited(
    data: bytes,
    separator: str,
    on_bad: Callable[[Malformed], None],
    quoting: Quoting = DEFAULT_QUOTING,
    note: Callable[[str], None] = lambda line: None,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Parse a whole file with a header line.

    Args:
      data: the file's bytes; UTF-8, with or without a byte order mark.
      separator: one character.
      on_bad: called for every malformed record (wrong number of fields, a quote that is not closed properly, not UTF-8);
        such records are left out.
      quoting: whether a quotation mark at the beginning of a field quotes it, see `tfrecs.tables.quoting`.
      note: called with one line where "auto" has found that the table is not quoted.

    Returns:
      The rows, every column `STRINGS` with empty fields as nulls, and the line [rows] on which each row begins, from 1.

    Raises:
      ValueError: the header line cannot be read.
    """
    if quoting == "none" or b'"' not in data:
        return _read_unquoted(data, separator, on_bad)
    records = QuotedRecords(data, separator, guess=quoting == "auto", refuse_doubtful=False)
    frame, lines, bad = _collect(records)
    if records.looks_unquoted:
        note(
            f"quotation marks open fields that they do not close, first on line {records.first_mark}; the table is read as "
            "not quoted, marks as they stand (`quoting` in the spec)"
        )
        return _read_unquoted(data, separator, on_bad)
    if records.doubtful and not records.quotes_needed:
        frame, lines, bad = _collect(QuotedRecords(data, separator, guess=True, refuse_doubtful=True))
    elif records.doubtful:
        note(
            f"lines that look like rows are inside quoted fields, first on line {records.doubtful[0]}; they are read as part of "
            "the field (`quoting` in the spec)"
        )
    for problem in bad:
        on_bad(problem)
    return frame, lines


def _read_unquoted(data: bytes, separator: str, on_bad: Callable[[Malformed], None]) -> tuple[pd.DataFrame, np.ndarray]:
    """Every line is a row, and a quotation mark is a character like any other."""
    if _is_regular(data, separator):
        try:
            frame, lines = _read_regular(data, separator)
        except UnicodeDecodeError:
            pass  # The careful way below names the lines.
        else:
            check_lines(data, len(frame) + 1)
            return frame, lines
    frame, lines, bad = _collect(plain_records(data, separator))
    for problem in bad:
        on_bad(problem)
    return frame, lines


def _is_regular(data: bytes, separator: str) -> bool:
    if not data.strip() or b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return False
    octets = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    if not len(ends) or ends[-1] != len(octets) - 1:
        ends = np.append(ends, len(octets))
    before = np.searchsorted(np.flatnonzero(octets == ord(separator)), ends)
    fields = np.diff(before, prepend=0)
    # A line without a separator may be an empty one, and one column is where the two cannot be told apart.
    return bool(fields[0] > 0 and (fields == fields[0]).all())


def _read_regular(data: bytes, separator: str) -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.read_csv(
        io.BytesIO(data),
        sep=separator,
        dtype=STRINGS,
        encoding="utf-8-sig",
        keep_default_na=False,
        na_values=[""],
        quoting=csv.QUOTE_NONE,
        index_col=False,
        header=None,
        skip_blank_lines=False,
    )
    header = frame.iloc[0].fillna("")
    frame = frame.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index(list(header), dtype="object")
    return frame, np.arange(2, len(frame) + 2, dtype=np.int64)


def _collect(records: Iterable[Record]) -> tuple[pd.DataFrame, np.ndarray, list[Malformed]]:
    """Put records, of which the first good one is the header, into columns."""
    bad: list[Malformed] = []

    def good() -> Iterator[Record]:
        for record in records:
            if record.problem is not None:
                bad.append(Malformed(record.line, *record.problem))
            elif record.fields:
                yield record

    rows = good()
    first = next(rows, None)
    header = first.fields if first else []
    frames, lines = [_strings([], header)], []
    while chunk := list(itertools.islice(rows, _CHUNK)):
        frames.append(_strings([record.fields for record in chunk], header))
        lines.append(np.array([record.line for record in chunk], np.int64))
    frame = pd.concat(frames, ignore_index=True)
    return frame, np.concatenate(lines) if lines else np.zeros([0], np.int64), bad


def _strings(rows: list[list[str]], header: list[str]) -> pd.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    series = [pd.Series([field or None for field in column], dtype=STRINGS) for column in columns]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(header, dtype="object")
    return frame
