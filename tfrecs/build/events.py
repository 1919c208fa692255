"""What Examples and manifest say of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tfrecs.schema import Schema
from tfrecs.spec.models import ColumnSplit, DatasetSpec, TimeSplit

_KEPT = {"first": "first", "last": "last", "sum": "last with the sum of their values"}


def group_users(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids, ascending, and the position of each row's id among them."""
    codes, ids = pd.factorize(column.to_numpy(object), sort=True)
    return ids, codes


class ToExamples:
    """Turns sorted events into arrays by Example key, each over all events.

    Unknown event values and unknown numbers of the context become the means in the schema, which are neutral.

    Args:
      schema: of the records.
      item_ids: the catalogue.
      texts: context column -> its texts, where it has categories.
    """

    def __init__(self, schema: Schema, item_ids: Sequence[str], texts: Mapping[str, Sequence[str]]):
        self._value_mean = schema.value_mean
        self._means = {f"context/{row.name}": row.mean for row in schema.context}
        self._items = _bytes(item_ids)
        # The code of no text is -1, the last one.
        self._texts = {f"context/{name}": _bytes([*words, ""]) for name, words in texts.items()}

    def __call__(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(columns["item"])
        values = columns.get("value", np.ones(count))
        arrays = {
            "item_ids": self._items[columns["item"]],
            "values": _filled(values, self._value_mean),
            "times": columns.get("time", np.zeros(count, np.int64)),
            "is_positive": columns.get("positive", np.ones(count, bool)).astype(np.int64),
        }
        for name, values in columns.items():
            if name in self._texts:
                arrays[name] = self._texts[name][values]
            elif name.startswith("labels/"):
                arrays[name] = values.astype(np.float32)
            elif name.startswith("context/"):
                arrays[name] = _filled(values, self._means[name])
        if "query" in columns:
            arrays["queries"] = _bytes(columns["query"])
        return arrays


def _filled(values: np.ndarray, mean: float) -> np.ndarray:
    return np.where(np.isnan(values), mean, values).astype(np.float32)


def _bytes(words: Iterable[str]) -> np.ndarray:
    encoded = [word.encode() for word in words]
    array = np.empty(len(encoded), object)
    array[:] = encoded
    return array


def train_counts(train: pd.DataFrame) -> dict[str, int]:
    """Count the positive training events of each item that has any, whatever their weights; ids ascending."""
    counts = train.loc[train["positive"].to_numpy(bool), "item"].value_counts()
    return {item: int(counts[item]) for item in sorted(counts.index)}


def count_queries(frame: pd.DataFrame) -> int:
    """Count the events with a text query."""
    return int((frame["query"] != "").sum()) if "query" in frame.columns else 0


def protocol(spec: DatasetSpec, cold_items: int = 0, dropped: int = 0) -> str:
    """Describe in one line how train and test were made.

    Args:
      spec: of the data set.
      cold_items: number of items whose training events were removed.
      dropped: number of training events removed with them.
    """
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
    cold = f", {cold_items:,} items made cold ({dropped:,} training interactions taken out)" if cold_items else ""
    return f"{how_split}, {positives}{merged}{cold}"
