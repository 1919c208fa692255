"""Reads tables (csv, tsv, jsonl, parquet, also gzipped) into frames, with ids unchanged and the line of each row."""

from __future__ import annotations

import difflib
import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrecs.errors import DataError, TooManyRejectsError, shorten
from tfrecs.rejects import Reject, Rejects
from tfrecs.tables.delimited import STRINGS
from tfrecs.tables.files import SUFFIXES, TableFile, suffix_of
from tfrecs.tables.quoting import DEFAULT_QUOTING, Quoting
from tfrecs.tables.streams import Report

NULL_WORDS = ("", "nan", "null", "none", "na")  # of number columns, in lower case
_VALUE = re.compile(r"[+-]?\d+(\.\d+)?$|\d+[/:.-]\d+[/:.-]\d|\w+://|[\[{]")
_LONG_NAME = 60


@dataclass(frozen=True)
class Table:
    """Rows of one table, possibly from several files.

    Attributes:
      name: as in the spec, for messages.
      frame: text tables have string columns (empty = null); jsonl has `object` columns of the JSON values; parquet has
        pandas' nullable types. No column was widened to float for its nulls.
      files: the file [rows] each row came from.
      lines: the line [rows] it begins on, from 1 (header included); in parquet the number of the row.
      types: column -> RecBole type, where the header says them (`user_id:token`).
    """

    name: str
    frame: pd.DataFrame
    files: np.ndarray
    lines: np.ndarray
    types: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, name: str) -> pd.Series:
        """Return a column. Raises DataError that names the existing columns and the nearest one."""
        if name not in self.frame.columns:
            raise _missing(name, [str(column) for column in self.frame.columns], self.name)
        return self.frame[name]

    def rejected(self, row: int, reason: str, **more: Any) -> Reject:
        """Make a reject with the file and line of a row."""
        return Reject(file=str(self.files[row]), line=int(self.lines[row]), reason=reason, **more)

    def check_rows(self, used: int, rejected: int) -> None:
        """Raise RuntimeError, an error of ours, unless every row is used or rejected."""
        if len(self) != used + rejected:
            raise RuntimeError(
                f"internal error: {self.name} has {len(self):,} rows, {used:,} used, {rejected:,} rejected"
            )

    def take(self, rows: np.ndarray) -> Table:
        """Return the rows at these positions, in this order."""
        frame = self.frame.take(rows).reset_index(drop=True)
        return Table(self.name, frame, self.files[rows], self.lines[rows], self.types)


def read_table(
    data: Path,
    file: str,
    columns: Iterable[str],
    rejects: Rejects,
    encoding: str | None,
    quoting: Quoting = DEFAULT_QUOTING,
) -> Table:
    """Read `data/file` whole; arguments and errors as of `read_parts`."""
    parts = list(read_parts(data, file, columns, rejects, encoding, quoting, whole=True))
    frames = [part.frame for part in parts if len(part)] or [parts[0].frame]
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    files, lines = (np.concatenate([getattr(part, key) for part in parts]) for key in ("files", "lines"))
    return Table(file, frame, files, lines, {column: kind for part in parts for column, kind in part.types.items()})


def read_parts(
    data: Path,
    file: str,
    columns: Iterable[str],
    rejects: Rejects,
    encoding: str | None,
    quoting: Quoting = DEFAULT_QUOTING,
    *,
    whole: bool = False,
    report: Report = lambda done, total: None,
) -> Iterator[Table]:
    """Read `data/file` as tables of consecutive rows; `file` may be a glob pattern, whose files are read in the order of
    their names.

    Args:
      data: the data folder.
      file: path relative to it. The suffix decides the format; gzip is recognised by content. A csv or tsv whose header
        lacks the separator of its suffix but has another usual one is read with that.
      columns: required columns.
      rejects: takes malformed lines, and notes of what is read in another way than it stands.
      encoding: of delimited text; None: as its byte order mark says, else UTF-8.
      quoting: of delimited text, see `tfrecs.tables.quoting`.
      whole: whether all columns are wanted, and the tables may be large; else only the required columns are read.
      report: called with the bytes read so far, and those of all files.

    Raises:
      DataError: no such file, unknown suffix, unreadable, no rows, or a missing column.
    """
    matching, columns = _matching(data, file), list(columns)
    sizes = [path.stat().st_size for path, _ in matching]
    rows, found = 0, dict[str, None]()
    for number, (path, name) in enumerate(matching):
        before, label = sum(sizes[:number]), name if len(matching) > 1 else file
        source = TableFile(
            path,
            encoding,
            quoting,
            None if whole else columns,
            note=lambda line, name=name: rejects.note(f"{name}: {line}"),  # type: ignore[misc]
            report=lambda done, size, before=before: report(before + done, sum(sizes)),  # type: ignore[misc]
        )
        for part in source.parts():
            frame = part.frame
            found |= dict.fromkeys(map(str, frame.columns))
            if source.names is not None and len(frame):
                _check_names(source.names, columns, label)
            elif source.names is None and not whole:  # In JSON a key may be absent in any row.
                absent = pd.Series([None] * len(frame), dtype=object)
                frame = pd.DataFrame({name: frame.get(name, absent) for name in columns})
            rejects.seen(name, len(frame) + len(part.bad))
            for problem in part.bad:
                rejects.add(Reject(file=name, line=problem.line, reason=problem.reason, detail=problem.detail))
            rows += len(frame)
            yield Table(file, frame, np.full(len(frame), name, object), part.lines, source.types)
    if not rows:
        first = next((reject for reject in rejects if reject.file in {name for _, name in matching}), None)
        if first is None:
            raise DataError(f"{file}: no rows to use; the table is empty")
        why = f"line {first.line}: {first.reason}, {first.detail}"
        raise TooManyRejectsError(f"{file}: no rows to use; {why}", rejects.listing())
    _check_names(list(found), columns, file)


def _check_names(names: Sequence[str], columns: Iterable[str], table: str) -> None:
    """Raise DataError where a name occurs twice or a required column is missing."""
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise DataError(f"{table}: two columns are named {doubled[0]!r}; rename one{_header_hint(doubled)}")
    for name in columns:
        if name not in names:
            raise _missing(name, names, table)


def _missing(name: str, names: Sequence[str], table: str) -> DataError:
    same = [column for column in names if column.lower() == name.lower()]
    near = same or difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return DataError(f"{table}: no column {name!r}; {hint}there are {listed_columns(names)}")


def listed_columns(columns: Iterable[str]) -> str:
    """List the columns of a table for a message, with a hint where they look like the values of a row."""
    names = list(columns)
    return ", ".join(name if len(name) <= _LONG_NAME else shorten(name) for name in names) + _header_hint(names)


def _header_hint(names: Iterable[str]) -> str:
    like_values = any(_VALUE.match(name) or len(name) > _LONG_NAME for name in names)
    return " (is the first line a row? a table needs a header line)" if like_values else ""


def is_there(data: Path, file: str) -> bool:
    """Whether `data/file`, which may be a glob pattern, exists."""
    return (data / file).is_file() or (glob.has_magic(file) and bool(glob.glob(file, root_dir=data)))


def is_null(value: Any) -> bool:
    """None, NaN, NaT, NA and blank strings are nulls; lists and arrays never are."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def as_ids(column: pd.Series) -> pd.Series:
    """Ids [rows] as strings without surrounding blanks, null where there is none. Numbers 7, 7.0 and the text "7" are equal.

    Texts in other forms are compared by `tfrecs.tables.ids`.
    """
    if column.dtype != STRINGS:
        column = pd.Series([_as_id(value) for value in column], index=column.index, dtype=STRINGS)
    stripped = column.str.strip()
    return stripped.mask((stripped == "").fillna(False).astype(bool))


def _as_id(value: Any) -> str | None:
    if is_null(value):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")
    if isinstance(value, bytes):  # UUIDs and the like are not text; replaced characters would make ids equal.
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.hex()
    return _text(value)


def _text(value: Any) -> str:
    """Convert to text that UTF-8 can hold; JSON may hold halves of surrogate pairs."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def as_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Convert a column to numbers.

    "true" and "false" are 1 and 0; "nan", "null", "none" and "na" count as nulls, as many programs write them.

    Returns:
      float64 [rows], NaN for nulls; and bool [rows], whether a cell is neither a number nor null.
    """
    if column.dtype == object:
        column = pd.Series(
            [None if is_null(value) else _text(value) for value in column], index=column.index, dtype=STRINGS
        )
    if column.dtype == STRINGS and (parsed := _plain_numbers(column)) is not None:
        return parsed, np.zeros(len(parsed), bool)
    try:
        numbers = column.to_numpy(np.float64, na_value=np.nan, copy=True)  # A quarter of the time of `to_numeric`.
    except (ValueError, TypeError):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    bad = ~np.isfinite(numbers) & column.notna().to_numpy(bool)
    if bad.any() and column.dtype == STRINGS:  # Only the cells that are left are compared with words.
        words = column[bad].str.strip().str.lower()
        numbers[bad] = words.map({"true": 1.0, "false": 0.0}).to_numpy(np.float64, na_value=np.nan)
        bad[bad] = ~words.isin((*NULL_WORDS, "true", "false")).to_numpy(bool)
    return np.where(np.isfinite(numbers), numbers, np.nan), bad


def _plain_numbers(column: pd.Series) -> np.ndarray | None:
    """Parse a column of strings in Arrow, NaN for nulls; None where a string is not just a finite number."""
    try:
        numbers = pc.cast(pa.array(column), pa.float64())
    except pa.ArrowInvalid:
        return None
    parsed = numbers.to_numpy(zero_copy_only=False) if isinstance(numbers, pa.Array) else numbers.to_numpy()
    unknown = column.isna().to_numpy(bool)
    return np.array(parsed) if np.isfinite(parsed[~unknown]).all() else None


def _known_kind(file: str) -> None:
    if not suffix_of(file):
        raise DataError(f"{file}: unknown kind of table; there are {', '.join(SUFFIXES)}, each also with .gz")


def _matching(data: Path, file: str) -> Sequence[tuple[Path, str]]:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    if glob.has_magic(file) and not (data / file).exists():
        names = sorted(name for name in glob.glob(file, root_dir=data) if (data / name).is_file())
        if not names:
            raise DataError(f"{data}: no file matches {file!r}")
        for name in names:
            _known_kind(name)
        return [(data / name, name) for name in names]
    _known_kind(file)
    path = data / file
    if not path.is_file():
        tables = sorted(entry.name for entry in data.iterdir() if suffix_of(entry.name) and entry.is_file())
        why = "is a folder" if path.is_dir() else "is a link to nothing" if path.is_symlink() else ""
        problem = f"{file!r} {why}" if why else f"no file {file!r}"
        raise DataError(f"{data}: {problem}; tables there: {', '.join(tables) or 'none'}")
    return [(path, file)]
