"""Reads one file of a table (csv, tsv, jsonl, parquet, also gzipped) part by part, as frames with the line of each row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from tfrecs.errors import DataError
from tfrecs.tables.delimited import STRINGS, Malformed, Part, joined, read_delimited
from tfrecs.tables.quoting import Quoting
from tfrecs.tables.streams import BLOCK, Report, Stream, separator_of

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}
ATOMIC = (".inter", ".item", ".user")  # RecBole's: the header names a type after a colon.
JSON_LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*SEPARATORS, *JSON_LINES, ".parquet")
ROWS = 1 << 19  # Rows of a part of a parquet file; of JSON an eighth, which is held as Python objects.
_TYPED = re.compile(r".+:(token|token_seq|float|float_seq)")
_HEADER = 1 << 20  # Bytes in which the header of delimited text is looked for.
_NULLABLE = {
    **{getattr(pa, kind)(): getattr(pd, f"{kind.capitalize()}Dtype")() for kind in ("int8", "int16", "int32", "int64")},
    **{getattr(pa, f"u{kind}")(): getattr(pd, f"UI{kind[1:]}Dtype")() for kind in ("int8", "int16", "int32", "int64")},
    pa.bool_(): pd.BooleanDtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): STRINGS,
    pa.large_string(): STRINGS,
}


def suffix_of(file: str) -> str:
    """`items.csv.gz` -> `.csv`; "" where the suffix is none of `SUFFIXES`."""
    suffix = Path(file.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


class TableFile:
    """A file of a table.

    Args:
      path: of the file.
      encoding, quoting: as of `tfrecs.tables.table.read_table`.
      wanted: columns to read, where the format can leave others out, in parts of a bounded size; None: all columns, in
        parts of any size.
      note: called with one line for what is read in another way than it stands.
      report: called with the bytes that are read, and the size of the file.

    Attributes (from the first part on):
      names: of all columns; None in JSON, whose rows have keys each.
      types: column -> RecBole type, where the header says them (`user_id:token`).
    """

    def __init__(
        self,
        path: Path,
        encoding: str | None,
        quoting: Quoting,
        wanted: Collection[str] | None,
        note: Callable[[str], None],
        report: Report,
    ):
        self._path, self._encoding, self._quoting, self._wanted, self._note = path, encoding, quoting, wanted, note
        self._stream = Stream(path, report)
        self.names: list[str] | None = None
        self.types: dict[str, str] = {}

    def parts(self) -> Iterator[Part]:
        """Yield the rows, in order.

        Raises:
          DataError: the file cannot be read.
        """
        suffix = suffix_of(self._path.name)
        if suffix == ".parquet":
            return self._parquet()
        return self._jsonl() if suffix in JSON_LINES else self._delimited(suffix)

    def _chosen(self, names: Sequence[str]) -> list[int] | None:
        if self._wanted is None:
            return None
        return [at for at, name in enumerate(names) if name in self._wanted]

    def _delimited(self, suffix: str) -> Iterator[Part]:
        names: list[str] = []

        def select(header: Sequence[str]) -> list[int] | None:
            nonlocal names
            self.names, self.types = _header(header, typed=suffix in ATOMIC)
            chosen = self._chosen(self.names)
            names = self.names if chosen is None else [self.names[at] for at in chosen]
            return chosen

        def open_text() -> Any:
            return self._stream.text(self._encoding)

        try:
            with open_text() as content:
                separator = separator_of(content.read(_HEADER), SEPARATORS[suffix])
            parts = read_delimited(open_text, separator, self._quoting, self._note, select=select, block=BLOCK)
            for part in joined(parts, ROWS // 4):
                if self.names is not None:
                    part.frame.columns = pd.Index(names, dtype="object")
                yield part
        except ValueError as error:
            raise DataError(f"{self._path}: {error}") from error

    def _parquet(self) -> Iterator[Part]:
        with self._stream.seekable() as file:
            try:
                table = pa.parquet.ParquetFile(file)
                # A named index is a column of its own; one without a name holds nothing.
                self.names = [name for name in table.schema_arrow.names if not name.startswith("__index_level_")]
                chosen = self._chosen(self.names)
                read = self.names if chosen is None else [self.names[at] for at in chosen]
                first = 1
                for batch in table.iter_batches(ROWS, columns=read):
                    frame = _frame(pa.Table.from_batches([batch]))
                    yield Part(frame, np.arange(first, first + len(frame), dtype=np.int64))
                    first += len(frame)
                if first == 1:
                    yield Part(_frame(table.schema_arrow.empty_table().select(read)), np.zeros(0, np.int64))
            except (ValueError, OSError) as error:
                raise DataError(f"{self._path}: not a parquet file ({str(error).splitlines()[0]})") from error

    def _jsonl(self) -> Iterator[Part]:
        limit = ROWS // 8 if self._wanted is not None else None
        rows: list[dict[str, Any]] = []
        lines: list[int] = []
        bad: list[Malformed] = []
        with self._stream.text("utf-8-sig") as content:
            for line, text in enumerate(content, start=1):
                if not text.strip():
                    continue
                try:
                    row = json.loads(text)
                except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply.
                    bad.append(Malformed(line, "malformed line", f"not JSON: {error}"))
                    continue
                if not isinstance(row, dict):
                    why = f"one JSON object a line is read; this is a {type(row).__name__}"
                    bad.append(Malformed(line, "malformed line", why))
                    continue
                rows.append(row)
                lines.append(line)
                if len(rows) == limit:
                    yield Part(_of_rows(rows), np.asarray(lines, np.int64), bad)
                    rows, lines, bad = [], [], []
        yield Part(_of_rows(rows), np.asarray(lines, np.int64), bad)


def _of_rows(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    names = list(dict.fromkeys(key for row in rows for key in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _frame(table: pa.Table) -> pd.DataFrame:
    # Without pandas' own metadata, which would make an index of a column.
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(types_mapper=_NULLABLE.get)
    return frame


def _header(columns: Sequence[str], *, typed: bool) -> tuple[list[str], dict[str, str]]:
    """Split column names into names and RecBole types; `typed`: the format requires types."""
    names = [column.strip() for column in columns]
    if not typed and not all(map(_TYPED.fullmatch, names)):
        return names, {}
    parts = [name.partition(":") for name in names]
    return [name for name, _, _ in parts], {name: kind for name, _, kind in parts if kind}
