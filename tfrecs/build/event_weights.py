"""What each event counts, and which event stands for several of the same user and item."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from tfrecs.spec.models import InteractionsSpec
from tfrecs.tables.table import Table, as_ids, as_numbers

PAIR = ["user", "item"]


def named_numbers(column: pd.Series, values: Mapping[str, float]) -> np.ndarray:
    """Return the number of each event type, float64 [n]; NaN for a type that `values` lacks."""
    return as_ids(column).map(values).to_numpy(np.float64, na_value=np.nan)


def event_weights(
    table: Table, source: InteractionsSpec, flag: Callable[[pd.Series | np.ndarray, str, str], None]
) -> np.ndarray:
    """Return the weight of each event, float64 [n]; `flag` gets (rows, reason, column) of those without one."""
    weight = source.weight
    assert weight is not None
    if weight.values is not None:
        numbers = named_numbers(table.column(weight.column), weight.values)
        reason = f"event type is none of interactions.weight.values ({', '.join(weight.values)})"
    else:
        numbers, _ = as_numbers(table.column(weight.column))
        reason = "weight is not a number"
    flag(np.isnan(numbers), reason, weight.column)
    return numbers


def is_positive(values: pd.Series | np.ndarray, source: InteractionsSpec) -> np.ndarray:
    """Return which event values are those of positives, bool [n]; an unknown value, NaN, is none where there is a rule."""
    numbers = np.asarray(values, np.float64)
    if source.weight is not None:
        return numbers > 0
    return numbers >= source.positive.at_least if source.positive is not None else np.ones(len(numbers), bool)


def merge_repeated(frame: pd.DataFrame, source: InteractionsSpec) -> pd.DataFrame:
    """Keep one event of each user and item, as `interactions.keep` says; all where it says nothing.

    Args:
      frame: clean events, each user's oldest first.
      source: of the events. With `sum` the last event gets the sum of the known values, by which it is a positive or not
        where the value decides that; labels and context stay its own.
    """
    if source.keep is None:
        return frame
    kept = frame.drop_duplicates(PAIR, keep="first" if source.keep == "first" else "last")
    if source.keep != "sum":
        return kept
    totals = frame["value"].groupby([frame[name] for name in PAIR], sort=False).sum(min_count=1)
    kept = kept.assign(value=totals.loc[pd.MultiIndex.from_frame(kept[PAIR])].to_numpy())
    if source.weight is not None or (source.positive is not None and source.positive.column == source.value_column):
        kept = kept.assign(positive=is_positive(kept["value"], source))
    return kept


def count_negatives(frame: pd.DataFrame, *, has_weights: bool) -> int:
    """Count the explicit negatives, events with a weight below 0."""
    return int((frame["value"] < 0).sum()) if has_weights else 0
