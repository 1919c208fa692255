"""Reads delimited text (csv, tsv, RecBole's atomic files) into columns of strings, with the line of every row.

A regular file (no quotes, the same number of fields in every line, UTF-8) is read by pandas' C parser. Any other is read
record by record with the csv module, because pandas cannot tell on which line a record begins or why it is malformed.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

# One string type for pandas 2 and 3, whose own defaults differ; nulls are pandas.NA.
STRINGS = pd.StringDtype("pyarrow")
# Longer than any honest text field; the csv module's own limit (128 KiB) is shorter than some descriptions.
_FIELD_LIMIT = 1 << 24
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


def read_delimited(data: bytes, separator: str, on_bad: Callable[[Malformed], None]) -> tuple[pd.DataFrame, np.ndarray]:
    """Parse a whole file with a header line.

    Args:
      data: the file's bytes; UTF-8, with or without a byte order mark.
      separator: one character.
      on_bad: called for every malformed record (wrong number of fields, not UTF-8); such records are left out.

    Returns:
      The rows, every column `STRINGS` with empty fields as nulls, and the line [rows] on which each row begins, from 1.

    Raises:
      ValueError: the header line cannot be read.
    """
    if _is_regular(data, separator):
        try:
            return _read_regular(data, separator)
        except UnicodeDecodeError:
            pass  # The careful way below names the lines.
    return _read_irregular(data, separator, on_bad)


def _is_regular(data: bytes, separator: str) -> bool:
    if not data.strip() or b'"' in data or b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
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


def _read_irregular(
    data: bytes, separator: str, on_bad: Callable[[Malformed], None]
) -> tuple[pd.DataFrame, np.ndarray]:
    records = _records(data, separator, on_bad)
    _, header = next(records, (0, []))
    frames, lines = [_strings([], header)], []
    while chunk := list(itertools.islice(records, _CHUNK)):
        frames.append(_strings([fields for _, fields in chunk], header))
        lines.append(np.array([line for line, _ in chunk], np.int64))
    frame = pd.concat(frames, ignore_index=True)
    return frame, np.concatenate(lines) if lines else np.zeros([0], np.int64)


def _strings(rows: list[list[str]], header: list[str]) -> pd.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    series = [pd.Series([field or None for field in column], dtype=STRINGS) for column in columns]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(header, dtype="object")
    return frame


def _records(data: bytes, separator: str, on_bad: Callable[[Malformed], None]) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of each record.

    A stray quote swallows lines until the next quote, and the resulting record has the wrong shape. Then only its first
    line is reported, and the following lines are read again.
    """
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="surrogateescape", newline="")
    again: deque[str] = deque()
    consumed: list[str] = []

    def feed() -> Iterator[str]:
        while True:
            line = again.popleft() if again else next(stream, None)
            if line is None:
                return
            consumed.append(line)
            yield line

    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        reader = csv.reader(feed(), delimiter=separator)
        first, width = 1, None
        while True:
            consumed.clear()
            problem = fields = None
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = ("malformed line", str(error))
            if fields is not None and width is not None and fields and len(fields) != width:
                problem = ("malformed line", f"{len(fields)} fields where the header has {width}")
            if len(consumed) > 1 and "".join(consumed).count('"') % 2:
                problem = ("malformed line", "a quote is opened and never closed")
            if problem is None and not all(map(_is_unicode, consumed)):
                problem = (
                    "line is not UTF-8 (name its encoding in the spec)",
                    repr(consumed[0].strip().encode("utf-8", "surrogateescape"))[:80],
                )
            if problem is not None and width is None:
                raise ValueError(f"the header line cannot be read: {problem[0]} ({problem[1]})")
            if problem is not None:
                on_bad(Malformed(first, *problem))
                again.extendleft(reversed(consumed[1:]))
                reader = csv.reader(feed(), delimiter=separator)
                first += 1
                continue
            if fields:
                width = width or len(fields)
                yield first, fields
            first += len(consumed)
    finally:
        csv.field_size_limit(before)


def _is_unicode(line: str) -> bool:
    if line.isascii():
        return True
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
