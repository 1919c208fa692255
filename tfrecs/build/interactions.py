"""Turns the raw interaction table into clean events, labels and context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tfrecs.build.event_weights import event_weights, is_positive, named_numbers
from tfrecs.build.splits import split_by_column
from tfrecs.build.typed_queries import query_texts
from tfrecs.errors import shorten
from tfrecs.rejects import Rejects
from tfrecs.schema import ContextSchema, LabelSchema
from tfrecs.spec.models import ColumnSplit, DatasetSpec, InteractionsSpec
from tfrecs.tables.ids import look, referred_ids
from tfrecs.tables.table import Table, as_ids, as_numbers, is_null
from tfrecs.tables.times import advice, read_times
from tfrecs.unix_time import IMPLAUSIBLE

_UNKNOWN_ITEM = "interaction with an unknown item"
_TIME_VOCABULARY = {"hour": tuple(map(str, range(24))), "weekday": tuple(map(str, range(7)))}


def interaction_columns(spec: DatasetSpec) -> list[str]:
    """List the columns of the interaction table that the spec names, each once."""
    events = spec.interactions
    names = [events.user, events.item, events.time, events.order, events.value_column, events.query]
    names += [label.column for label in events.labels.values()]
    names += [name for name in events.context if not events.from_time(name)]
    names += [events.positive.column if events.positive else None]
    names += [spec.effective_split.column if isinstance(spec.effective_split, ColumnSplit) else None]
    return list(dict.fromkeys(name for name in names if name is not None))


def clean_events(
    table: Table, spec: DatasetSpec, item_ids: Collection[str], rejects: Rejects, user_ids: Collection[str] = ()
) -> pd.DataFrame:
    """Return the usable events in the order of the file; the others go to `rejects`, each with its first fault.

    Args:
      table: the interactions.
      spec: of the data set.
      item_ids: the catalogue; ids that differ in form only are taken for these.
      rejects: takes events that cannot be used.
      user_ids: of users that have features; other users are users too.

    Returns:
      Columns `user`, `item` (strings), `time` (int64 unix seconds, 0 = unknown), `fraction` (int64, nanoseconds beyond
      `time`, which count for the order alone), `order` (float64), `value` (float64, the weight where the spec has
      weights, 1.0 where it names none, NaN where this event has none), `positive` (bool), `labels/<name>` (float64,
      NaN = unknown), `context/<name>` (float64 or string) and, where the spec names its column, `query` (string, "" =
      none), where the table gives the split, `split` (int8).

    Raises:
      TooManyRejectsError: not one usable event.
    """
    frame = usable_events(table, spec, item_ids, rejects, {}, user_ids)
    if not len(frame):
        named = referred_ids(table, spec.interactions.item, rejects, item_ids, others=False).dropna()
        problem = "no usable interaction"
        if len(named) and not named.isin(set(item_ids)).any():
            problem = (
                f"no event names an item of the catalogue (column {spec.interactions.item} has {shorten(named.iloc[0])}, "
                f"the items are ids such as {shorten(next(iter(item_ids)))})"
            )
        raise rejects.none_usable(table.files, f"{table.name}: {problem}")
    return frame.reset_index(drop=True)


def usable_events(
    table: Table,
    spec: DatasetSpec,
    item_ids: Collection[str],
    rejects: Rejects,
    kinds: Mapping[str, str],
    user_ids: Collection[str],
) -> pd.DataFrame:
    """Return the events as `clean_events` does, possibly none, with the position in `table` as index.

    Args:
      table, spec, item_ids, rejects, user_ids: as of `clean_events`.
      kinds: context column -> "number" or "categories", where existing records decide it; otherwise the values do.
    """
    source = spec.interactions
    users = referred_ids(table, source.user, rejects, user_ids, others=True)
    items = referred_ids(table, source.item, rejects, item_ids, others=False)
    columns: dict[str, Any] = {
        "user": users,
        "item": items,
        "time": np.zeros(len(table), np.int64),
        "fraction": np.zeros(len(table), np.int64),
        "order": np.zeros(len(table)),
    }
    faults = _Faults(table)
    faults.flag(users.isna(), "interaction without a user id", source.user)
    faults.flag(items.isna(), "interaction without an item id", source.item)
    faults.flag(~items.isin(set(item_ids)), _UNKNOWN_ITEM, source.item)
    rejects.explain(_UNKNOWN_ITEM, lambda: look(item_ids))
    if source.time:
        notation = source.time_notation
        times = read_times(table.column(source.time), notation)
        columns |= {"time": times.seconds, "fraction": times.fraction}
        hint = partial(advice, notation=notation)
        faults.flag(times.unreadable, notation.mismatch, source.time, hint)
        faults.flag(times.implausible, IMPLAUSIBLE, source.time, hint)
    if source.order:
        columns["order"], bad = as_numbers(table.column(source.order))
        faults.flag(bad | np.isnan(columns["order"]), "order is not a number", source.order)
    columns |= _outcomes(table, source, faults)
    for name in source.context:
        if not source.from_time(name):
            columns[f"context/{name}"] = _context_column(table.column(name), name, kinds.get(name), faults)
    if isinstance(spec.effective_split, ColumnSplit):
        columns["split"] = split_by_column(table.column(spec.effective_split.column))
        faults.flag(columns["split"] < 0, "split is none of train, valid, test", spec.effective_split.column)
    before = len(rejects)
    usable = faults.report(rejects)
    table.check_rows(len(usable), len(rejects) - before)
    if source.query:
        columns["query"] = query_texts(table, source.query, usable, rejects)
    return pd.DataFrame(columns).take(usable)


class _Faults:
    """Collects the first fault of each row."""

    def __init__(self, table: Table):
        self._table = table
        self._reasons: list[tuple[str, str, Callable[[Any], str | None] | None]] = []
        self._code = np.full(len(table), -1, np.int32)

    def flag(
        self, rows: pd.Series | np.ndarray, reason: str, column: str, hint: Callable[[Any], str | None] | None = None
    ) -> None:
        """Mark rows; `hint` turns the value of one into what may be done about it."""
        mask = np.asarray(rows, bool) & (self._code < 0)
        self._code[mask] = len(self._reasons)
        self._reasons.append((reason, column, hint))

    def report(self, rejects: Rejects) -> np.ndarray:
        """Adds one reject per faulty row and returns the positions of the others."""
        for row in np.flatnonzero(self._code >= 0):
            reason, column, hint = self._reasons[self._code[row]]
            value = self._table.frame[column].iloc[row]
            detail = f"{column} is empty" if is_null(value) else f"{column} is {shorten(value)}"
            remedy = hint(value) if hint else None
            rejects.add(self._table.rejected(row, reason, detail=detail, remedy=remedy))
        return np.flatnonzero(self._code < 0)


def _outcomes(table: Table, source: InteractionsSpec, faults: _Faults) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {"value": np.ones(len(table)), "positive": np.ones(len(table), bool)}
    if source.weight:
        columns["value"] = event_weights(table, source, faults.flag)
        columns["positive"] = is_positive(columns["value"], source)
    elif source.value_column:
        columns["value"], bad = as_numbers(table.column(source.value_column))
        faults.flag(bad, "event value is not a number", source.value_column)
    if source.positive:
        numbers, bad = as_numbers(table.column(source.positive.column))
        faults.flag(bad, "the column of `positive` is not a number", source.positive.column)
        columns["positive"] = is_positive(numbers, source)
    for name, label in source.labels.items():
        if label.values is not None:
            numbers = named_numbers(table.column(label.column), label.values)
        else:
            numbers, bad = as_numbers(table.column(label.column))
            faults.flag(bad, f"label {name} is not a number", label.column)
        if label.at_least is not None:
            numbers = np.where(np.isnan(numbers), np.nan, (numbers >= label.at_least).astype(np.float64))
        elif label.range is not None:
            low, high = label.range
            faults.flag((numbers < low) | (numbers > high), f"label {name} is outside its range", label.column)
        columns[f"labels/{name}"] = numbers
    return columns


def _context_column(column: pd.Series, name: str, kind: str | None, faults: _Faults) -> pd.Series | np.ndarray:
    numbers, bad = as_numbers(column)
    if kind == "number":
        faults.flag(bad, f"context {name} is not a number, as it is in the records", name)
        return numbers
    if kind == "categories" or bad.any() or np.isnan(numbers).all():
        return as_ids(column).fillna("")
    return numbers


def label_schemas(source: InteractionsSpec) -> tuple[LabelSchema, ...]:
    """Return the tasks of the ranking head, in the order of the spec."""
    return tuple(
        LabelSchema(name=name, task="regression" if label.range else "binary", range=label.range)
        for name, label in source.labels.items()
    )


def context_schemas(events: pd.DataFrame, source: InteractionsSpec) -> tuple[ContextSchema, ...]:
    """Return the context of a request, with vocabularies and scales from `events`, which must be training events only."""
    return tuple(_context_schema(name, events, source) for name in source.context)


def _context_schema(name: str, events: pd.DataFrame, source: InteractionsSpec) -> ContextSchema:
    if source.from_time(name):
        return ContextSchema(name=name, kind="categories", source="time", vocabulary=_TIME_VOCABULARY[name])
    column = events[f"context/{name}"]
    if pd.api.types.is_float_dtype(column.dtype):
        mean, std = mean_and_std(column.to_numpy())
        return ContextSchema(name=name, kind="number", source="column", mean=mean, std=std)
    counts = Counter(value for value in column if value)
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return ContextSchema(name=name, kind="categories", source="column", vocabulary=tuple(ordered))


def mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the values that are not NaN; (0, 1) if there are none, and 1 for a constant."""
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0, 1.0
    std = float(known.std())
    return float(known.mean()), std if std > 0 else 1.0
