"""Reads the table of items or users into features that are ready to be encoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrecs.errors import DataError, NoValueError, SpecError, shorten
from tfrecs.kinds.base import Feature
from tfrecs.modalities import resolve, row
from tfrecs.reading.features import feature_for
from tfrecs.rejects import Rejects
from tfrecs.schema import FeatureSchema
from tfrecs.spec.models import FeatureSpec, InteractionsSpec, ItemsSpec, UsersSpec
from tfrecs.tables.ids import IdColumn, KnownIds, own_ids
from tfrecs.tables.streams import Report
from tfrecs.tables.table import Table, as_ids, as_numbers, is_null, read_parts, read_table


@dataclass(frozen=True)
class Entities:
    """Items or users in the order of their table.

    Attributes:
      table: their rows, which give file and line in messages.
      ids: unique.
      titles: for people, "" where there is none.
      features: in the order of the spec.
      values: feature -> raw value of each entity, None where missing; of media the path.
    """

    table: Table
    ids: list[str]
    titles: list[str]
    features: tuple[Feature, ...]
    values: Mapping[str, Sequence[Any]]

    @property
    def schemas(self) -> tuple[FeatureSchema, ...]:
        return tuple(feature.schema for feature in self.features)

    def part(self, positions: Sequence[int] | range) -> Entities:
        """Return the entities at these positions, in this order."""
        rows = list(positions)
        return Entities(
            self.table.take(np.asarray(rows, np.int64)),
            [self.ids[row] for row in rows],
            [self.titles[row] for row in rows],
            self.features,
            {name: [several[row] for row in rows] for name, several in self.values.items()},
        )


def read_entities(
    data: Path,
    role: str,
    source: ItemsSpec | UsersSpec,
    title: str | None,
    kind_options: Mapping[str, Mapping[str, Any]],
    rejects: Rejects,
    schemas: Sequence[FeatureSchema] | None = None,
    known: Collection[str] = (),
) -> Entities:
    """Read a table of items or users.

    Rows without an id and repeated ids are rejected. A value that cannot be used (a file that does not exist, a row number
    outside the matrix) is rejected, and its entity kept without it.

    Args:
      data: the data folder.
      role: "item" or "user", for messages.
      source: table, column of the ids, and the features.
      title: column of the titles, or None.
      kind_options: kind -> default options.
      rejects: takes what cannot be used.
      schemas: features as existing records have them; None: their parameters are collected from the values.
      known: ids of existing records, which ids that differ in form only are taken for.

    Raises:
      DataError: the table, a column or a matrix does not exist, or no row is left.
      SpecError: an option of a kind is unknown or wrong.
    """
    specs = source.features
    wanted = [source.id, *([title] if title else []), *(name for spec in specs.values() for name in spec.table_columns)]
    table = read_table(data, source.file, wanted, rejects, source.encoding, source.quoting)
    table, ids = _with_unique_ids(table, source.id, role, rejects, known)
    titles = [""] * len(ids)
    if title:
        titles = as_ids(table.column(title)).fillna("").tolist()
    features: list[Feature] = []
    values: dict[str, Sequence[Any]] = {}
    settled = {schema.name: schema for schema in schemas or ()}
    for name, spec in specs.items():
        values[name] = _raw_values(data, table, ids, name, spec, rejects)
        if name in settled:
            features.append(feature_for(settled[name]))
            continue
        options = {**kind_options.get(spec.kind, {}), **spec.options}
        try:
            params = resolve(row(spec.kind).feature).params_from(options, values[name])
        except NoValueError as error:
            problem = f"{role}s.features.{name}: {error}"
            for position, fault in enumerate(error.faults):
                if fault is not None:
                    rejects.add(
                        table.rejected(
                            position, f"{name}: cannot be encoded", id=ids[position], feature=name, detail=fault
                        )
                    )
            raise rejects.none_usable(table.files, problem, name) from error
        except SpecError as error:
            raise SpecError(f"{role}s.features.{name}: {error}") from error
        features.append(feature_for(FeatureSchema(name=name, kind=spec.kind, params=params)))
    return Entities(table, ids, titles, tuple(features), values)


def logged_items(
    data: Path,
    source: InteractionsSpec,
    known: Collection[str] = (),
    report: Report = lambda done, total: None,
) -> Entities:
    """Return the items that the log names, in the order of their first event: ids alone, without features.

    Args:
      data: the data folder.
      source: of the events.
      known: ids of existing records, which ids that differ in form only are taken for.
      report: called with the bytes read so far, and those of all files.

    Raises:
      DataError: the table or the column does not exist, or the table is empty.
    """
    column = IdColumn(source.item)
    files: list[str] = []
    lines: list[int] = []
    # Malformed lines are collected where the events are read.
    for table in read_parts(
        data, source.file, [source.item], Rejects(), source.encoding, source.quoting, report=report
    ):
        codes, before = column.codes(table), len(lines)
        first = np.zeros(len(column.texts) - before, np.int64)
        fresh = np.flatnonzero(codes >= before)[::-1]
        first[codes[fresh] - before] = (
            fresh  # Of several rows the last one written stays, which is the first in the table.
        )
        files += table.files[first].tolist()
        lines += table.lines[first].tolist()
    names = KnownIds(known).one_form(column.texts)
    codes_of: dict[str, int] = {}
    for code, text in enumerate(column.texts):
        codes_of.setdefault(names.get(text, text), code)
    firsts = [*codes_of.values()]
    empty = pd.DataFrame(index=pd.RangeIndex(len(firsts)))
    table = Table(source.file, empty, np.array(files, object)[firsts], np.array(lines, np.int64)[firsts])
    return Entities(table, [*codes_of], [""] * len(firsts), (), {})


def _with_unique_ids(
    table: Table, id_column: str, role: str, rejects: Rejects, known: Collection[str]
) -> tuple[Table, list[str]]:
    ids = own_ids(table, id_column, rejects, known)
    missing, doubled = ids.isna().to_numpy(bool), ids.duplicated().to_numpy(bool)
    before = len(rejects)
    for position in np.flatnonzero(missing | doubled):
        if missing[position]:
            rejects.add(table.rejected(position, f"{role} without an id", detail=f"{id_column} is empty"))
        else:
            rejects.add(table.rejected(position, f"duplicate {role} id", id=ids.iloc[position]))
    kept = np.flatnonzero(~(missing | doubled))
    table.check_rows(len(kept), len(rejects) - before)
    if not len(kept):
        problem = f"{table.name}: no {role} with an id in column {id_column!r}; name the id column in the spec"
        raise rejects.none_usable(table.files, problem)
    return table.take(kept), ids.iloc[kept].tolist()


def _raw_values(
    data: Path, table: Table, ids: list[str], name: str, spec: FeatureSpec, rejects: Rejects
) -> Sequence[Any]:
    def refuse(position: int, reason: str, detail: str) -> None:
        rejects.seen(f"{table.files[position]} {name}", 1)
        rejects.add(table.rejected(position, f"{name}: {reason}", id=ids[position], feature=name, detail=detail))

    def read(cells: Iterable[Any], source: str) -> list[Any]:
        where = f"{table.name}: feature {name}" + ("" if source == name else f" ({source})")
        known = [None if is_null(cell) else cell for cell in cells]
        return list(kind.read_cells(known, lambda line: rejects.note(f"{where}: {line}")))

    kind = resolve(row(spec.kind).feature)
    if spec.file is not None and spec.row is not None:
        return read(_matrix_rows(_matrix(data, spec.file), table.column(spec.row), refuse), spec.file)
    columns = [read(table.column(column), column) for column in spec.columns or (str(spec.column),)]
    if spec.columns is not None:
        return [[cell for cell in cells if cell is not None] or None for cells in zip(*columns, strict=True)]
    values = columns[0]
    if not row(spec.kind).from_file:
        return values
    for position, value in enumerate(values):
        if value is not None:
            try:
                values[position] = media_path(data, str(value))
            except DataError as error:
                refuse(position, *str(error).split(": ", 1))
                values[position] = None
    return values


def media_path(data: Path, relative: str) -> Path:
    """Return the path of a file in the data folder. Links are followed: the owner of the folder has put them there.

    Raises:
      DataError: no such file, or a path that leads out of the folder; `reason: path`.
    """
    normal = os.path.normpath(relative)
    if os.path.isabs(normal) or normal.split(os.sep, 1)[0] == os.pardir:
        raise DataError(f"path leads out of the data folder: {shorten(relative)}")
    if not os.path.isfile(data / normal):  # Unlike pathlib's, it takes a text too long for a path as none.
        raise DataError(f"no such file: {shorten(relative)}")
    return data / normal


def _matrix(data: Path, file: str) -> np.ndarray:
    try:
        matrix = np.load(media_path(data, file), mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{data / file}: not a .npy matrix ({error})") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise DataError(f"{data / file}: not a numeric matrix of shape [rows, width]")
    return matrix


def _matrix_rows(
    matrix: np.ndarray, column: pd.Series, refuse: Callable[[int, str, str], None]
) -> Sequence[np.ndarray | None]:
    numbers, bad = as_numbers(column)
    missing = np.isnan(numbers) & ~bad
    outside = ~missing & ~((numbers >= 0) & (numbers < len(matrix)) & (numbers == np.floor(numbers)))
    for position in np.flatnonzero(outside):
        refuse(int(position), "no such row", f"{column.name} is {shorten(column.iloc[position])} of {len(matrix)} rows")
    usable = ~missing & ~outside
    return [matrix[int(number)] if ok else None for number, ok in zip(numbers, usable, strict=True)]
