"""A file of histories: a row for each user, whose columns are inputs of the `recommend` signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.runs.progress import say
from serving.wire.ids import as_id
from tfrecs.errors import DataError, shorten
from tfrecs.reading.known_events import KnownEvents
from tfrecs.rejects import Rejects
from tfrecs.schema import request_fault
from tfrecs.tables.lists import list_in
from tfrecs.tables.table import Table, as_ids, as_numbers, is_null, read_table

USER, HISTORY, VALUES, TIMES = "user_id", "history", "history_values", "history_times"
_NOT_GIVEN = frozenset({"history_ids", VALUES, TIMES, "k"})  # inputs that are no columns, or read apart


def of_file(path: Path, specs: Mapping[str, Any]) -> KnownEvents:
    """Read `user_id` and `history` (item ids, oldest first), where they are there `history_values` and `history_times`, and any
    other input of the signature by its name.

    A list is one of the format, or text: JSON, Python, or separated by commas. Other columns are left out, which is told.

    Args:
      path: a table (csv, tsv, jsonl, parquet).
      specs: input -> TensorInfo of the signature.

    Raises:
      DataError: the file cannot be read, or a row of it; it names the line.
    """
    rejects = Rejects()
    table = read_table(path.parent, path.name, [USER, HISTORY], rejects, None)
    for note in rejects.notes:
        say(f"  {note}")
    if len(rejects):
        say(f"  {path}: {rejects.summary()}; first {next(iter(rejects)).location()}")
    users = _user_ids(table)
    ids = [_each(table, row, HISTORY, _text, cell) for row, cell in enumerate(table.frame[HISTORY])]
    lengths = [len(row) for row in ids]
    columns: dict[str, list[Any]] = {}
    for name, convert, unknown in ((VALUES, _number, float("nan")), (TIMES, _time, 0)):
        columns[name] = [unknown] * sum(lengths)
        if name in table.frame:
            rows = [_each(table, row, name, convert, cell) for row, cell in enumerate(table.frame[name])]
            for row, (got, length) in enumerate(zip(rows, lengths, strict=True)):
                if len(got) not in (0, length):
                    _refuse(table, row, f"{name} has {len(got)} entries for {length} items; give one each, or none")
            columns[name] = [
                value for got, length in zip(rows, lengths, strict=True) for value in (got or [unknown] * length)
            ]
    names = {name for name in specs if name in table.frame and name not in _NOT_GIVEN}
    left_out = sorted(set(map(str, table.frame.columns)) - names - {USER, HISTORY, VALUES, TIMES})
    if left_out:
        say(f"  {path}: {', '.join(left_out)}: no inputs of this export; left out")
    items, texts = pd.factorize(np.array([item for row in ids for item in row], object))
    item_ids = np.empty(len(texts), object)
    item_ids[:] = [text.encode() for text in texts]
    return KnownEvents(
        user_ids=users,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items.astype(np.int32),
        values=np.array(columns[VALUES], np.float32),
        times=np.array(columns[TIMES], np.int64),
        item_ids=item_ids,
        inputs={name: _input(table, name, specs[name]) for name in sorted(names)},
    )


def _user_ids(table: Table) -> list[str]:
    ids = as_ids(table.column(USER))
    first: dict[str, int] = {}
    for row, user in enumerate(ids):
        if is_null(user):
            _refuse(table, row, f"no {USER}")
        if first.setdefault(user, row) != row:
            _refuse(table, row, f"{USER} {user!r} is in line {table.lines[first[user]]} too; join the histories")
    return ids.tolist()


def _input(table: Table, name: str, spec: Any) -> np.ndarray:
    """One further input of the signature: [U], or [U, width] padded with ""."""
    dtype, sizes = tf.as_dtype(spec.dtype), [dim.size for dim in spec.tensor_shape.dim[1:]]
    column = table.frame[name]
    if not sizes and dtype == tf.string:
        return _bytes(
            ["" if is_null(cell) else _each(table, row, name, _text, [cell])[0] for row, cell in enumerate(column)]
        )
    if not sizes:
        numbers, bad = as_numbers(column)
        if bad.any():
            _refuse(table, int(bad.argmax()), f"{name} is no number")
        if dtype.is_integer or name == "diversity":
            numbers = np.nan_to_num(numbers, nan=0.0)
        if dtype.is_integer:
            for row in np.flatnonzero([request_fault(value) is not None for value in numbers.tolist()])[:1]:
                _refuse(table, int(row), f"{name}: {request_fault(float(numbers[row]))}")
        return numbers.astype(dtype.as_numpy_dtype)
    convert = _text if dtype == tf.string else _number
    rows = [_each(table, row, name, convert, cell) for row, cell in enumerate(column)]
    width = sizes[0] if sizes[0] >= 0 else max(1, max(map(len, rows), default=1))
    for row, got in enumerate(rows):
        if sizes[0] >= 0 and len(got) not in (0, width):
            _refuse(table, row, f"{name} has {len(got)} numbers where the export takes {width}")
    if dtype == tf.string:
        return _bytes([part for got in rows for part in got + [""] * (width - len(got))]).reshape(len(rows), width)
    return np.array([got or [float("nan")] * width for got in rows], np.float32)


def _each(table: Table, row: int, name: str, convert: Callable[[Any], Any], cell: Any) -> list[Any]:
    """Convert each entry of a cell. Raises DataError that names the line."""
    if isinstance(cell, str):
        parts = list_in(cell)
        cell = [part.strip() for part in cell.split(",") if part.strip()] if parts is None else parts
    elif isinstance(cell, list | tuple | np.ndarray):
        cell = list(cell)
    else:
        cell = [] if is_null(cell) else [cell]
    try:
        return [convert(part) for part in cell]
    except (ValueError, TypeError) as error:
        _refuse(table, row, f"{name}: {error}")


def _text(value: Any) -> str:
    text = "" if is_null(value) else as_id(value)
    return text.decode() if isinstance(text, bytes) else str(text)


def _number(value: Any) -> float:
    if isinstance(value, str | bytes | int | float | np.number) and not isinstance(value, bool):
        return float(value)
    if is_null(value):
        return float("nan")
    raise ValueError(f"{shorten(value)} is no number")


def _time(value: Any) -> int:
    number = _number(value)
    if number != number:
        return 0
    fault = request_fault(number)
    if fault:
        raise ValueError(fault)
    return int(number)


def _bytes(texts: list[str]) -> np.ndarray:
    result = np.empty(len(texts), object)
    result[:] = [text.encode() for text in texts]
    return result


def _refuse(table: Table, row: int, problem: str) -> NoReturn:
    raise DataError(f"{table.files[row]} line {table.lines[row]}: {problem}")
