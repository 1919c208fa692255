"""Sorts and splits clean events, and derives from them what Examples and manifest hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tfrecs.build.event_weights import count_negatives, merge_repeated
from tfrecs.build.splits import TRAIN, choose_cold_items, chronological, split_by_time, split_leave_last
from tfrecs.build.windows import Window
from tfrecs.errors import DataError
from tfrecs.schema import SPLITS, Schema
from tfrecs.spec.models import ColumnSplit, DatasetSpec, TimeSplit

_KEPT = {"first": "first", "last": "last", "sum": "last with the sum of their values"}


@dataclass(frozen=True)
class SplitEvents:
    """Sorted events with their splits.

    Attributes:
      frame: the columns of `clean_events` and `split` (int8): users in the order of their ids, splits ascending within
        a user, events of a split oldest first.
      user_ids: user code -> user id, ascending.
      users: user code of each event, int [n].
      cold_items: number of items whose training events were removed.
      dropped: number of training events removed with them.
      merged: number of events that others of the same user and item stand for (`interactions.keep`).
    """

    frame: pd.DataFrame
    user_ids: tuple[str, ...]
    users: np.ndarray
    cold_items: int
    dropped: int
    merged: int

    @property
    def train(self) -> pd.DataFrame:
        """The training events."""
        return self.frame[self.frame["split"] == TRAIN]


def arrange(frame: pd.DataFrame, spec: DatasetSpec, item_ids: Sequence[str], seed: int) -> SplitEvents:
    """Sort, merge and split clean events, and remove the training events of the cold items.

    Args:
      frame: of `clean_events`, in the order of the file.
      spec: of the data set, with its split.
      item_ids: the catalogue, from which the cold items are drawn.
      seed: of that draw.

    Raises:
      DataError: no training event is left.
    """
    split = spec.effective_split
    users = group_users(frame["user"])[1]
    frame = frame.take(chronological(users, *(frame[key].to_numpy() for key in ("time", "fraction", "order"))))
    count = len(frame)
    frame = merge_repeated(frame, spec.interactions)
    merged = count - len(frame)
    if isinstance(split, TimeSplit):
        frame = frame.assign(split=split_by_time(frame["time"].to_numpy(), split.fractions))
    elif not isinstance(split, ColumnSplit):
        frame = frame.assign(split=split_leave_last(group_users(frame["user"])[1]))
    cold = choose_cold_items(item_ids, split.cold_items, seed)
    dropped = (frame["split"] == TRAIN).to_numpy() & frame["item"].isin(cold).to_numpy()
    frame = frame[~dropped]
    if not (frame["split"] == TRAIN).any():
        raise DataError(f"{spec.interactions.file}: the split leaves no training event; change `split` in the spec")
    user_ids, users = group_users(frame["user"])
    order = np.lexsort((frame["split"].to_numpy(), users))  # Stable: time order stays within a split.
    return SplitEvents(
        frame.take(order).reset_index(drop=True), tuple(user_ids), users[order], len(cold), int(dropped.sum()), merged
    )


def group_users(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids, ascending, and the position of each row's id among them."""
    codes, ids = pd.factorize(column.to_numpy(object), sort=True)
    return ids, codes


def example_columns(frame: pd.DataFrame, schema: Schema) -> dict[str, np.ndarray]:
    """Arrange the events as arrays by Example key, each over all events.

    Unknown event values and unknown numbers of the context become the means in the schema, which are neutral.
    """
    means = {f"context/{row.name}": row.mean for row in schema.context}
    columns = {
        "item_ids": _bytes(frame["item"]),
        "values": frame["value"].fillna(schema.value_mean).to_numpy(np.float32),
        "times": frame["time"].to_numpy(np.int64),
        "is_positive": frame["positive"].to_numpy(np.int64),
    }
    columns |= {name: frame[name].to_numpy(np.float32) for name in frame.columns if name.startswith("labels/")}
    for name in (name for name in frame.columns if name.startswith("context/")):
        if pd.api.types.is_float_dtype(frame[name].dtype):
            columns[name] = frame[name].fillna(means[name]).to_numpy(np.float32)
        else:
            columns[name] = _bytes(frame[name])
    if "query" in frame.columns:
        columns["queries"] = _bytes(frame["query"])
    return columns


def _bytes(column: pd.Series) -> np.ndarray:
    array = np.empty(len(column), object)
    array[:] = [value.encode() for value in column]
    return array


def train_counts(train: pd.DataFrame) -> dict[str, int]:
    """Count the positive training events of each item that has any, whatever their weights; ids ascending."""
    counts = train.loc[train["positive"].to_numpy(bool), "item"].value_counts()
    return {item: int(counts[item]) for item in sorted(counts.index)}


def count_queries(frame: pd.DataFrame) -> int:
    """Count the events with a text query."""
    return int((frame["query"] != "").sum()) if "query" in frame.columns else 0


def split_facts(events: SplitEvents, split: str, windows: Sequence[Window], schema: Schema) -> dict[str, Any]:
    """Return the fields of `SplitInfo` other than its shards. Events and times are those of the targets."""
    chosen = (events.frame["split"] == SPLITS.index(split)).to_numpy()
    times = events.frame["time"].to_numpy()[chosen]
    known = schema.has_time and len(times) > 0
    return {
        "examples": len(windows),
        "events": int(chosen.sum()),
        "users": len({window.user for window in windows}),
        "queries": count_queries(events.frame[chosen]),
        "negatives": count_negatives(events.frame[chosen], has_weights=schema.has_weights),
        "first_time": int(times.min()) if known else None,
        "last_time": int(times.max()) if known else None,
    }


def protocol(events: SplitEvents, spec: DatasetSpec) -> str:
    """Describe in one line how train and test were made."""
    line = protocol_of(spec)
    if events.cold_items:
        line += f", {events.cold_items:,} items made cold ({events.dropped:,} training interactions taken out)"
    return line


def protocol_of(spec: DatasetSpec) -> str:
    """Describe the split and the positives as far as the spec alone says."""
    split, source = spec.effective_split, spec.interactions
    if isinstance(split, TimeSplit):
        how_split = f"global time split {'/'.join(f'{share * 100:g}' for share in split.fractions)}"
    elif isinstance(split, ColumnSplit):
        how_split = f"split by column {split.column}"
    else:
        how_split = "leave-last-out split"
    if source.weight:
        positives = source.weight.describe()
    elif source.positive:
        positives = f"positives with {source.positive.column} >= {source.positive.at_least:g}"
    else:
        positives = "every interaction a positive"
    merged = f", of the events of a user with an item the {_KEPT[source.keep]}" if source.keep else ""
    return f"{how_split}, {positives}{merged}"
