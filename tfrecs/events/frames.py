"""Events as a frame with texts in place of codes, for what works on few events: an append to records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tfrecs.events.log import EventLog
from tfrecs.events.spool import Columns, Scratch, Spool, joined, row_count


def frame_of(
    batches: Iterable[Columns], user_ids: Sequence[str], item_ids: Sequence[str], texts: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return events as one frame: `user`, `item` and categories of the context as texts, and every column that may be left out.

    Columns: `user`, `item`, `time`, `fraction` (int64), `order`, `value` (float64), `positive` (bool) and those of
    `EventCleaner` that only some data sets have.
    """
    columns = joined(list(batches))
    count = row_count(columns)
    if not columns:
        columns = {"user": np.zeros(0, np.int64), "item": np.zeros(0, np.int64)}
    usual: Columns = {
        "user": np.array(user_ids, object)[columns.pop("user")],
        "item": np.array(item_ids, object)[columns.pop("item")],
        "time": np.zeros(count, np.int64),
        "fraction": np.zeros(count, np.int64),
        "order": np.zeros(count),
        "value": np.ones(count),
        "positive": np.ones(count, bool),
    }
    for name, words in texts.items():
        columns[f"context/{name}"] = np.array([*words, ""], object)[columns[f"context/{name}"]]
    return pd.DataFrame(usual | columns)


def coded(frame: pd.DataFrame) -> tuple[Columns, dict[str, list[str]]]:
    """Return the columns of a frame with codes in place of texts, and the texts, ascending, of `user`, `item` and context columns."""
    columns: Columns = {}
    texts: dict[str, list[str]] = {}
    for name in frame.columns:
        values = frame[name].to_numpy(object if _is_text(frame[name]) else None)
        if values.dtype.kind == "O" and name != "query":
            codes, different = pd.factorize(values, sort=True)
            values, texts[name.removeprefix("context/")] = codes.astype(np.int32), different.tolist()
        columns[name] = values
    return columns, texts


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype)


def log_of(frame: pd.DataFrame, item_ids: Sequence[str], scratch: Scratch) -> EventLog:
    """Return a frame of events, in the order of the file, as a log.

    Args:
      frame: of `frame_of`.
      item_ids: the catalogue, of which every item is.
      scratch: where events go that the memory does not hold.
    """
    columns, texts = coded(frame)
    users, items = texts.pop("user"), texts.pop("item")
    position = {item: at for at, item in enumerate(item_ids)}
    columns["item"] = np.array([position[item] for item in items], np.int32)[columns["item"]]
    spool = Spool(scratch)
    spool.append(columns)
    rows = np.bincount(columns["user"], minlength=len(users)).astype(np.int64)
    return EventLog(spool, users, np.arange(len(users), dtype=np.int32), rows, item_ids, texts)
