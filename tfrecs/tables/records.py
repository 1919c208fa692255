"""Records of delimited text, and the lines that they take."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

Problem = tuple[str, str] | None  # Reason and detail.

# Longer than any honest text field; the csv module's own limit (128 KiB) is shorter than some descriptions.
_FIELD_LIMIT = 1 << 24


class Record(NamedTuple):
    """A record, or a line that is none.

    Attributes:
      line: on which it begins, from 1.
      span: number of lines that it takes.
      fields: none for an empty line.
      problem: reason and detail, or None.
      plain: several lines of a quoted table in which nothing is quoted, as they stand; None: a single record.
    """

    line: int
    span: int
    fields: list[str]
    problem: tuple[str, str] | None = None
    plain: bytes | None = None


def check_lines(given: int, accounted: int) -> None:
    """Raise RuntimeError, an error of ours, unless every line of a table is used, empty or rejected."""
    if given != accounted:
        raise RuntimeError(f"internal error: {given:,} lines in a table, {accounted:,} of them used, empty or rejected")


def count_lines(data: bytes) -> int:
    """Count lines, the last one too if it does not end."""
    returns = data.count(b"\r") - data.count(b"\r\n")
    return data.count(b"\n") + returns + (len(data) > 0 and not data.endswith((b"\n", b"\r")))


def plain_records(data: bytes, separator: str, width: int | None = None, first: int = 1) -> Iterator[Record]:
    """Yield each line of an unquoted table.

    Args:
      data: some of its lines, whole ones.
      separator: of the fields.
      width: number of fields; None: that of the first good line, the header.
      first: number of the first of the lines.

    Raises:
      ValueError: the header line cannot be read.
    """
    number = first - 1
    with field_limit():
        for number, line in enumerate(text_lines(io.BytesIO(data)), start=first):
            problem, fields = None, []
            try:
                fields = next(csv.reader([line], delimiter=separator, quoting=csv.QUOTE_NONE))
            except csv.Error as error:
                problem = ("malformed line", str(error))
            problem = problem or shape_problem(fields, width) or text_problem([line])
            width = width or checked_header(fields, problem)
            yield Record(number, 1, fields, problem)
    check_lines(count_lines(data), number - first + 1)


def from_line(records: Iterable[Record], line: int) -> Iterator[Record]:
    """Leave out what lies before a line, on which a record begins."""
    for record in records:
        if record.line >= line:
            yield record
        elif record.plain is not None and record.line + record.span > line:
            lines = [*text_lines(io.BytesIO(record.plain))][line - record.line :]
            plain = "".join(lines).encode("utf-8", "surrogateescape")
            yield Record(line, len(lines), [], plain=plain)


@contextmanager
def field_limit() -> Iterator[None]:
    """Let the csv module read long fields."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def text_lines(content: BinaryIO) -> Iterator[str]:
    """Yield lines with their ends (LF, CR LF or CR); bytes that are not UTF-8 as halves of surrogate pairs."""
    return iter(io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline=""))


def checked_header(fields: Sequence[str], problem: Problem) -> int | None:
    """Return the number of columns, None for an empty line. Raises ValueError where the header line has a problem."""
    if problem is not None:
        raise ValueError(f"the header line cannot be read: {problem[0]} ({problem[1]})")
    return len(fields) or None


def shape_problem(fields: Sequence[str], width: int | None) -> Problem:
    """Return what is wrong with a record that has more or fewer fields than the header, which has `width`."""
    if width is None or not fields or len(fields) == width:
        return None
    return "malformed line", f"{len(fields)} fields where the header has {width}"


def text_problem(lines: Sequence[str]) -> Problem:
    """Return what is wrong with a record whose lines are not all UTF-8."""
    if all(map(_is_unicode, lines)):
        return None
    shown = repr(lines[0].strip().encode("utf-8", "surrogateescape"))[:80]
    return "line is not UTF-8 (name its encoding in the spec)", shown


def _is_unicode(line: str) -> bool:
    if line.isascii():
        return True
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
