"""Turns the raw interaction table into clean events, labels and context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tfrecs.build.event_weights import event_weights, is_positive, named_numbers
from tfrecs.build.splits import split_by_column
from tfrecs.build.typed_queries import query_texts
from tfrecs.errors import shorten
from tfrecs.events.spool import Columns, taken
from tfrecs.rejects import Rejects
from tfrecs.schema import LabelSchema
from tfrecs.spec.models import ColumnSplit, DatasetSpec, InteractionsSpec
from tfrecs.tables.ids import IdColumn, KnownIds
from tfrecs.tables.table import Table, as_numbers, is_null
from tfrecs.tables.times import advice, read_times
from tfrecs.unix_time import IMPLAUSIBLE

UNKNOWN_ITEM = "interaction with an unknown item"


def interaction_columns(spec: DatasetSpec) -> list[str]:
    """List the columns of the interaction table that the spec names, each once."""
    events = spec.interactions
    names = [events.user, events.item, events.time, events.order, events.value_column, events.query]
    names += [label.column for label in events.labels.values()]
    names += [name for name in events.context if not events.from_time(name)]
    names += [events.positive.column if events.positive else None]
    names += [spec.effective_split.column if isinstance(spec.effective_split, ColumnSplit) else None]
    return list(dict.fromkeys(name for name in names if name is not None))


class NotNumbersError(Exception):
    """A column of the context has a value that is no number, or not one that is; it is a column of categories."""

    def __init__(self, column: str):
        super().__init__(column)
        self.column = column


class EventCleaner:
    """Turns the interaction table, part by part, into clean events.

    Columns of the clean events: `user` (int32, code of the text), `item` (int32, position in the catalogue), where the spec names
    their columns `time` (int64 unix seconds) and `fraction` (int32, nanoseconds beyond it, which count for the order
    alone), `order` (float64), `value` (float64, the weight where the spec has weights, NaN where this event has none),
    `positive` (bool), `labels/<name>` (float64, NaN = unknown), `context/<name>` (float64, or int32 code of the text, -1
    for none), `query` (string, "" = none), and where the table gives the split `split` (int8).

    Args:
      spec: of the data set.
      catalogue: the items.
      kinds: context column -> "number" or "categories", where existing records decide it; otherwise the values do.

    Attributes:
      users, items: ids of the log.
      categories: context column -> its texts.
      faults, queries: rejected events, and queries that cannot be used.
      usable: number of clean events so far.
    """

    def __init__(self, spec: DatasetSpec, catalogue: KnownIds, kinds: Mapping[str, str]):
        self._spec, self._catalogue, self._kinds = spec, catalogue, kinds
        source = spec.interactions
        self.users, self.items = IdColumn(source.user), IdColumn(source.item)
        self._positions = np.zeros(0, np.int32)  # Code of an item's text -> position in the catalogue.
        names = [name for name in source.context if not source.from_time(name)]
        self.categories = {name: IdColumn(name) for name in names if kinds.get(name) == "categories"}
        self._unseen = {name for name in names if name not in kinds}  # Columns without a number so far.
        self.faults, self.queries = Rejects(), Rejects()
        self.usable = 0

    def clean(self, table: Table) -> Columns:
        """Return the usable events in the order of the file; the others go to `faults`, each with its first fault.

        Raises:
          NotNumbersError: a column that seemed to be of numbers is not; begin again with it among the categories.
        """
        source, split = self._spec.interactions, self._spec.effective_split
        users, texts = self.users.codes(table), self.items.codes(table)
        more = [self._catalogue.find(text) for text in self.items.texts[len(self._positions) :]]
        self._positions = np.append(self._positions, np.array(more, np.int32))
        items = np.where(texts < 0, -1, np.append(self._positions, np.int32(-1))[texts])
        columns: Columns = {"user": users, "item": items}
        faults = _Faults(table)
        faults.flag(users < 0, "interaction without a user id", source.user)
        faults.flag(texts < 0, "interaction without an item id", source.item)
        faults.flag(items < 0, UNKNOWN_ITEM, source.item)
        if source.time:
            notation = source.time_notation
            times = read_times(table.column(source.time), notation)
            columns |= {"time": times.seconds, "fraction": times.fraction.astype(np.int32)}
            hint = partial(advice, notation=notation)
            faults.flag(times.unreadable, notation.mismatch, source.time, hint)
            faults.flag(times.implausible, IMPLAUSIBLE, source.time, hint)
        if source.order:
            columns["order"], bad = as_numbers(table.column(source.order))
            faults.flag(bad | np.isnan(columns["order"]), "order is not a number", source.order)
        columns |= _outcomes(table, source, faults)
        for name in source.context:
            if not source.from_time(name):
                columns[f"context/{name}"] = self._context(table, name, faults)
        if isinstance(split, ColumnSplit):
            columns["split"] = split_by_column(table.column(split.column))
            faults.flag(columns["split"] < 0, "split is none of train, valid, test", split.column)
        before = len(self.faults)
        usable = faults.report(self.faults)
        table.check_rows(len(usable), len(self.faults) - before)
        if source.query:
            columns["query"] = query_texts(table, source.query, usable, self.queries)
        self.usable += len(usable)
        return taken(columns, usable) if len(usable) < len(table) else columns

    def _context(self, table: Table, name: str, faults: _Faults) -> np.ndarray:
        if name in self.categories:
            return self.categories[name].codes(table)
        numbers, bad = as_numbers(table.column(name))
        if self._kinds.get(name) == "number":
            faults.flag(bad, f"context {name} is not a number, as it is in the records", name)
        elif bad.any():
            raise NotNumbersError(name)
        elif not np.isnan(numbers).all():
            self._unseen.discard(name)
        return numbers

    def finish(self, table: str, known_users: KnownIds, rejects: Rejects) -> dict[str, str]:
        """Note which ids were read in another way than they stand, and return user text -> user id.

        Args:
          table: name of the interactions.
          known_users: users that have features; other users are users too.
          rejects: takes the notes.

        Raises:
          NotNumbersError: as `clean`.
        """
        if self._unseen:
            raise NotNumbersError(min(self._unseen))
        names = known_users.one_form(self.users.texts)
        self.users.note(table, rejects, names)
        ids = self._catalogue.ids
        found = {text: ids[at] for text, at in zip(self.items.texts, self._positions.tolist(), strict=True) if at >= 0}
        self.items.note(table, rejects, found)
        return names

    def nothing_usable(self) -> str:
        """Say why no event is usable."""
        ids, texts = self._catalogue.ids, self.items.texts
        if texts and (self._positions < 0).all():
            return (
                f"no event names an item of the catalogue (column {self.items.name} has {shorten(texts[0])}, the items are "
                f"ids such as {shorten(ids[0])})"
            )
        return "no usable interaction"


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


def _outcomes(table: Table, source: InteractionsSpec, faults: _Faults) -> Columns:
    columns: Columns = {}
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


def label_schemas(source: InteractionsSpec) -> tuple[LabelSchema, ...]:
    """Return the tasks of the ranking head, in the order of the spec."""
    return tuple(
        LabelSchema(name=name, task="regression" if label.range else "binary", range=label.range)
        for name, label in source.labels.items()
    )
