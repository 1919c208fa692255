"""The user's tables (csv, tsv, jsonl, parquet, gzipped too) as frames that keep ids and line numbers as they are."""

from __future__ import annotations

import difflib
import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrecs.delimited import STRINGS, Malformed, read_delimited
from tfrecs.errors import DataError
from tfrecs.rejects import Reject, Rejects

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
ATOMIC = (".inter", ".item", ".user")  # RecBole's: the header names a type after a colon
SUFFIXES = (*SEPARATORS, ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of one table, perhaps from several files.

    Attributes:
      name: what the spec calls it, for messages.
      frame: text tables have string columns (empty = null); jsonl has `object` columns of the JSON values; parquet has
        pandas' nullable types. No column was widened to float for its nulls.
      files: the file [rows] each row came from.
      lines: the line [rows] it begins on, from 1 (header included); in parquet the number of the row.
    """

    name: str
    frame: pd.DataFrame
    files: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, name: str) -> pd.Series:
        """Raises DataError naming the columns there are, the nearest first."""
        if name not in self.frame.columns:
            there = [str(column) for column in self.frame.columns]
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{self.name}: no column {name!r}; {hint}there are {', '.join(there)}")
        return self.frame[name]

    def rejected(self, row: int, reason: str, **more: Any) -> Reject:
        """The reject that names this row's file and line."""
        return Reject(file=str(self.files[row]), line=int(self.lines[row]), reason=reason, **more)

    def take(self, rows: np.ndarray) -> Table:
        """The rows at these positions, in this order."""
        frame = self.frame.take(rows).reset_index(drop=True)
        return Table(self.name, frame, self.files[rows], self.lines[rows])


def read_table(data: Path, file: str, columns: Iterable[str], rejects: Rejects) -> Table:
    """Reads `data/file`; `file` may be a glob pattern, whose files are read in the order of their names.

    Args:
      data: the data folder.
      file: path relative to it. The suffix says the format; `.gz` after it says that it is compressed.
      columns: columns that must be there.
      rejects: takes malformed lines.

    Raises:
      DataError: no such file, unknown suffix, unreadable, no rows, or a column is not there.
    """
    matching = _matching(data, file)
    parts = [_read_file(path, name, rejects) for path, name in matching]
    frame = parts[0].frame if len(parts) == 1 else pd.concat([part.frame for part in parts], ignore_index=True)
    files, lines = (np.concatenate([getattr(part, key) for part in parts]) for key in ("files", "lines"))
    table = Table(file, frame, files, lines)
    doubled = [str(name) for name in frame.columns[frame.columns.duplicated()]]
    if doubled:
        raise DataError(f"{file}: two columns are named {doubled[0]!r}; rename one")
    if not len(frame):
        first = next((reject for reject in rejects if reject.file in {name for _, name in matching}), None)
        why = f"line {first.line}: {first.reason}, {first.detail}" if first else "the table is empty"
        raise DataError(f"{file}: no rows to use; {why}")
    for column in columns:
        table.column(column)
    return table


def is_there(data: Path, file: str) -> bool:
    """Whether `data/file`, which may be a glob pattern, names a file."""
    return (data / file).is_file() or (glob.has_magic(file) and bool(glob.glob(file, root_dir=data)))


def suffix_of(file: str) -> str:
    """`items.csv.gz` -> `.csv`; "" where the suffix is none of `SUFFIXES`."""
    suffix = Path(file.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def is_null(value: Any) -> bool:
    """None, NaN, NaT, NA and blank strings are nulls; lists and arrays never are."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def as_ids(column: pd.Series) -> pd.Series:
    """Ids [rows] as strings without surrounding blanks, null where there is none. 7, 7.0 and "7" are the same id."""
    if column.dtype != STRINGS:
        column = pd.Series([_as_id(value) for value in column], index=column.index, dtype=STRINGS)
    stripped = column.str.strip()
    return stripped.mask((stripped == "").fillna(False).astype(bool))


def _as_id(value: Any) -> str | None:
    if is_null(value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return _text(value)


def _text(value: Any) -> str:
    """What UTF-8 can hold of it: JSON may hold halves of surrogate pairs."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8")


def as_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A column -> float64 values [rows], NaN where there is none, and whether it is neither number nor null [rows].

    "true" and "false" are 1 and 0; "nan", "null", "none" and "na" are nulls, as many programs write them.
    """
    if column.dtype == object:
        column = pd.Series(
            [None if is_null(value) else _text(value) for value in column], index=column.index, dtype=STRINGS
        )
    try:
        numbers = column.to_numpy(np.float64, na_value=np.nan, copy=True)  # A quarter of the time of `to_numeric`.
    except (ValueError, TypeError):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    bad = ~np.isfinite(numbers) & column.notna().to_numpy(bool)
    if bad.any() and column.dtype == STRINGS:  # Only the odd ones pay for a look at their words.
        words = column[bad].str.strip().str.lower()
        numbers[bad] = words.map({"true": 1.0, "false": 0.0}).to_numpy(np.float64, na_value=np.nan)
        bad[bad] = ~words.isin(("", "nan", "null", "none", "na", "true", "false")).to_numpy(bool)
    return np.where(np.isfinite(numbers), numbers, np.nan), bad


def _matching(data: Path, file: str) -> Sequence[tuple[Path, str]]:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    if not suffix_of(file):
        raise DataError(f"{file}: unknown kind of table; there are {', '.join(SUFFIXES)}, each also with .gz")
    if glob.has_magic(file) and not (data / file).exists():
        found = sorted(glob.glob(file, root_dir=data))
        if not found:
            raise DataError(f"{data}: no file matches {file!r}")
        return [(data / name, name) for name in found]
    path = data / file
    if not path.is_file():
        tables = sorted(entry.name for entry in data.iterdir() if suffix_of(entry.name))
        raise DataError(f"{data}: no file {file!r}; tables there: {', '.join(tables) or 'none'}")
    return [(path, file)]


def _read_file(path: Path, name: str, rejects: Rejects) -> Table:
    suffix = suffix_of(name)
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    bad: list[Malformed] = []
    if suffix == ".parquet":
        frame = _read_parquet(raw, path)
        lines = np.arange(1, len(frame) + 1, dtype=np.int64)
    elif suffix == ".jsonl":
        frame, lines = _read_jsonl(raw, bad)
    else:
        try:
            frame, lines = read_delimited(raw, SEPARATORS[suffix], bad.append)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        if suffix in ATOMIC:
            frame.columns = pd.Index([str(column).partition(":")[0] for column in frame.columns], dtype="object")
    rejects.seen(name, len(frame) + len(bad))
    for problem in bad:
        rejects.add(Reject(file=name, line=problem.line, reason=problem.reason, detail=problem.detail))
    return Table(name, frame, np.full(len(frame), name, object), lines)


def _read_parquet(raw: bytes, path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(raw), dtype_backend="numpy_nullable")
        return frame.astype({n: STRINGS for n, t in frame.dtypes.items() if isinstance(t, pd.StringDtype)})
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from error


def _read_jsonl(raw: bytes, bad: list[Malformed]) -> tuple[pd.DataFrame, np.ndarray]:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, text in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            bad.append(Malformed(line, "malformed line", f"not JSON: {error}"))
            continue
        if not isinstance(row, dict):
            bad.append(Malformed(line, "malformed line", f"not a JSON object but {type(row).__name__}"))
            continue
        rows.append(row)
        lines.append(line)
    names = list(dict.fromkeys(key for row in rows for key in row))
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    return frame, np.asarray(lines, np.int64)
