"""Items or users: their table -> features ready to be encoded, and the encoding on several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrecs.errors import DataError, SpecError
from tfrecs.features import feature_for
from tfrecs.kinds.base import Feature
from tfrecs.modalities import resolve, row
from tfrecs.rejects import Rejects
from tfrecs.schema import FeatureSchema
from tfrecs.spec_models import FeatureSpec
from tfrecs.tables import Table, as_ids, as_numbers, is_null, read_table

# Rows handed to a thread at a time, and batches per thread that may wait for their turn to be written: together the
# bound on how many encoded pictures are in memory at one time.
_BATCH = 16
_WAITING = 4


@dataclass(frozen=True)
class Entities:
    """Items or users in the order of their table.

    Attributes:
      table: their rows, for the places in messages.
      ids: one each, all different.
      titles: what people see, "" where there is none.
      features: in the order of the spec.
      values: feature -> raw value of each entity, None where missing; media are paths, never bytes.
    """

    table: Table
    ids: list[str]
    titles: list[str]
    features: tuple[Feature, ...]
    values: Mapping[str, Sequence[Any]]

    @property
    def schemas(self) -> tuple[FeatureSchema, ...]:
        return tuple(feature.schema for feature in self.features)


def read_entities(
    data: Path,
    role: str,
    file: str,
    id_column: str,
    title: str | None,
    specs: Mapping[str, FeatureSpec],
    kind_options: Mapping[str, Mapping[str, Any]],
    rejects: Rejects,
    *,
    schemas: Mapping[str, FeatureSchema] | None = None,
) -> Entities:
    """Reads a table of items or users.

    Rows without an id, and second and later rows of an id, are rejected; a value that cannot be used (a path that
    is not there, a row number outside the matrix) is rejected and its entity kept without it.

    Args:
      data: the data folder.
      role: "item" or "user", for messages.
      file: the table, relative to `data`.
      id_column: column of the ids.
      title: column of what people see, or none.
      specs: feature -> where its values are and the options that the user gave.
      kind_options: kind -> options where the user gave none.
      rejects: takes what cannot be used.
      schemas: feature -> its schema where there are records with it already, whose form new values must have;
        None: they are made from these values and options.

    Raises:
      DataError: the table, a column or a matrix is not there, or no row is left.
      SpecError: an option of a kind is not understood.
    """
    wanted = [id_column, *([title] if title else []), *(name for spec in specs.values() for name in spec.table_columns)]
    table = read_table(data, file, wanted, rejects)
    table, ids = _with_unique_ids(table, id_column, role, rejects)
    titles = [""] * len(ids)
    if title:
        titles = as_ids(table.column(title)).fillna("").tolist()
    features: list[Feature] = []
    values: dict[str, Sequence[Any]] = {}
    for name, spec in specs.items():
        values[name] = _raw_values(data, table, ids, name, spec, rejects)
        if schemas is not None:
            features.append(feature_for(schemas[name]))
            continue
        options = {**kind_options.get(spec.kind, {}), **spec.options}
        try:
            params = resolve(row(spec.kind).feature).params_from(options, values[name])
        except SpecError as error:
            raise SpecError(f"{role}s.features.{name}: {error}") from error
        features.append(feature_for(FeatureSchema(name=name, kind=spec.kind, params=params)))
    return Entities(table, ids, titles, tuple(features), values)


def _with_unique_ids(table: Table, id_column: str, role: str, rejects: Rejects) -> tuple[Table, list[str]]:
    ids = as_ids(table.column(id_column))
    missing, doubled = ids.isna().to_numpy(bool), ids.duplicated().to_numpy(bool)
    for position in np.flatnonzero(missing | doubled):
        if missing[position]:
            rejects.add(table.rejected(position, f"{role} without an id", detail=f"{id_column} is empty"))
        else:
            rejects.add(table.rejected(position, f"duplicate {role} id", id=ids.iloc[position]))
    kept = np.flatnonzero(~(missing | doubled))
    if not len(kept):
        raise DataError(f"{table.name}: no {role} with an id in column {id_column!r}; name the id column in the spec")
    return table.take(kept), ids.iloc[kept].tolist()


def _raw_values(
    data: Path, table: Table, ids: list[str], name: str, spec: FeatureSpec, rejects: Rejects
) -> Sequence[Any]:
    def refuse(position: int, reason: str, detail: str) -> None:
        rejects.seen(f"{table.files[position]} {name}", 1)
        rejects.add(table.rejected(position, f"{name}: {reason}", id=ids[position], feature=name, detail=detail))

    if spec.file is not None and spec.row is not None:
        return _matrix_rows(_matrix(data, spec.file), table.column(spec.row), refuse)
    if spec.columns is not None:
        cells = zip(*(table.column(column) for column in spec.columns), strict=True)
        return [[cell for cell in several if not is_null(cell)] or None for several in cells]
    values = [None if is_null(value) else value for value in table.column(str(spec.column))]
    if not resolve(row(spec.kind).feature).from_file:
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
    """The file of that path relative to the data folder; a DataError `reason: path` where it is none or not inside.

    Links are followed: what lies behind a link in the data folder was put there by the folder's owner.
    """
    normal = os.path.normpath(relative)
    if os.path.isabs(normal) or normal.split(os.sep, 1)[0] == os.pardir:
        raise DataError(f"path leads out of the data folder: {relative}")
    if "\0" in normal or not (data / normal).is_file():
        raise DataError(f"no such file: {relative}")
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
        refuse(int(position), "no such row", f"{column.name} is {column.iloc[position]!r} of {len(matrix)} rows")
    usable = ~missing & ~outside
    return [matrix[int(number)] if ok else None for number, ok in zip(numbers, usable, strict=True)]


def encode_all(
    entities: Entities, *, workers: int, rejects: Rejects
) -> Iterator[tuple[int, dict[str, tf.train.Feature]]]:
    """Encodes every entity on `workers` threads; yields (position, payload of each feature) in order.

    Threads, because the costly encoders (Pillow, TensorFlow) release the interpreter's lock. A value that its kind
    refuses is rejected, and its payload is that of a missing one. Equal values in, equal bytes out, for any `workers`.
    """
    missing = {feature.name: feature.encode(None) for feature in entities.features}

    def encode(positions: range) -> list[dict[str, _Encoded]]:
        return [{f.name: _encode(f, entities.values[f.name][at]) for f in entities.features} for at in positions]

    batches = [range(at, min(at + _BATCH, len(entities.ids))) for at in range(0, len(entities.ids), _BATCH)]
    for positions, encoded in _in_order(encode, batches, workers):
        for position, several in zip(positions, encoded, strict=True):
            _tell(entities, position, several, rejects)
            yield (
                position,
                {name: missing[name] if one.payload is None else one.payload for name, one in several.items()},
            )


@dataclass(frozen=True)
class _Encoded:
    """`payload` None: the value is missing, or was refused for the reason in `fault`; `notes`: it was used in part."""

    payload: tf.train.Feature | None
    fault: str | None = None
    notes: tuple[str, ...] = ()


def _encode(feature: Feature, value: Any) -> _Encoded:
    if value is None:
        return _Encoded(None)
    notes: list[str] = []
    try:
        return _Encoded(feature.encode(value, notes.append), notes=tuple(notes))
    except DataError as error:
        return _Encoded(None, fault=" ".join(str(error).split()))


def _tell(entities: Entities, position: int, several: Mapping[str, _Encoded], rejects: Rejects) -> None:
    for name, one in several.items():
        place: dict[str, Any] = {"id": entities.ids[position], "feature": name}
        if one.payload is not None or one.fault is not None:
            rejects.seen(f"{entities.table.files[position]} {name}", 1)
        if one.fault is not None:
            reason = f"{name}: cannot be encoded"
            rejects.add(entities.table.rejected(position, reason, detail=one.fault, **place))
        for note in one.notes:
            reason = f"{name}: used in part"
            rejects.add(entities.table.rejected(position, reason, detail=note, kept=True, **place))


def _in_order(function: Callable[[range], Any], batches: Sequence[range], workers: int) -> Iterator[tuple[range, Any]]:
    """`(batch, function(batch))` in the order of the batches, with a bounded number of results waiting."""
    if workers <= 1:
        yield from ((batch, function(batch)) for batch in batches)
        return
    waiting: deque[tuple[range, Future[Any]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(function, batch)))
                if len(waiting) >= workers * _WAITING:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
