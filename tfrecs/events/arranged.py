"""Sorts the events of a log by user and time, merges and splits them: bucket by bucket, each with all events of some users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from tfrecs.build.event_weights import merge_repeated
from tfrecs.build.splits import (
    TRAIN,
    choose_cold_items,
    chronological,
    split_at,
    split_leave_last,
    split_ranks,
)
from tfrecs.errors import DataError
from tfrecs.events.facts import EventFacts
from tfrecs.events.log import EventLog
from tfrecs.events.spool import Columns, Scratch, Spool, row_count, taken
from tfrecs.spec.models import ColumnSplit, DatasetSpec, TimeSplit

Progress = Callable[[str, int, int], None]

_COARSE = 12  # Bits of a time that are disregarded at first when the times are found at which the splits begin.


@dataclass(frozen=True)
class ArrangedEvents:
    """Sorted events with their splits.

    Attributes:
      user_ids: ids of the users, ascending; of some all events may have been taken out.
      item_ids: the catalogue.
      texts: context column -> its texts, where it has categories.
      facts: counts of the events.
      cold_items: number of items whose training events were removed.
      dropped: number of training events removed with them.
      merged: number of events that others of the same user and item stand for (`interactions.keep`).
    """

    user_ids: Sequence[str]
    item_ids: Sequence[str]
    texts: Mapping[str, Sequence[str]]
    facts: EventFacts
    cold_items: int
    dropped: int
    merged: int
    _buckets: Callable[[], Iterator[Columns]]

    def buckets(self) -> Iterator[Columns]:
        """Yield the events, columns as of `EventCleaner` and `split` (int8).

        `user` is a position in `user_ids`. Users come in the order of their ids and each is whole, splits ascending within a
        user, events of a split oldest first.
        """
        return self._buckets()


def arrange(
    log: EventLog,
    spec: DatasetSpec,
    scratch: Scratch,
    *,
    seed: int,
    window: int,
    overlap: int,
    report: Progress = lambda stage, done, total: None,
) -> ArrangedEvents:
    """Sort, merge and split clean events, and remove the training events of the cold items.

    The log is distributed to buckets of users, each of which fits into the memory, and these are sorted one by one. A single
    bucket never leaves the memory. The spool of the log is closed.

    Args:
      log: the events.
      spec: of the data set, with its split.
      scratch: where buckets go, and how large they are. All events of a user are in one bucket.
      seed: of the draw of the cold items.
      window, overlap: of the windows, which are counted.
      report: called with (stage, events done, all).

    Raises:
      DataError: no training event is left, or the disk is full.
    """
    total = len(log)
    buckets = _distribute(log, scratch, report)
    done, merged, coarse = 0, 0, Counter[int]()
    by_time = spec.effective_split if isinstance(spec.effective_split, TimeSplit) else None
    for number, bucket in enumerate(buckets):
        columns = bucket.whole()
        bucket.close()
        count = row_count(columns)
        columns = sorted_events(columns, spec)
        merged += count - row_count(columns)
        if by_time is not None:
            coarse.update(_counts(columns["time"] >> _COARSE))
        buckets[number] = Spool(scratch, on_disk=len(buckets) > 1)
        buckets[number].append(columns)
        done += count
        report("sort", done, total)
    first: dict[int, int] = {}
    if by_time is not None:
        first = _first_times(buckets, coarse, split_ranks(total - merged, by_time.fractions))
    cold = choose_cold_items(log.item_ids, spec.effective_split.cold_items, seed)
    is_cold = np.array([item in cold for item in log.item_ids], bool) if cold else None

    def finished() -> Iterator[Columns]:
        for bucket in buckets:
            columns = _split(dict(bucket.whole()), spec, first, is_cold)
            if row_count(columns):
                yield columns

    categories = {name: len(texts) for name, texts in log.texts.items()}
    facts = EventFacts(
        spec.interactions, len(log.user_ids), len(log.item_ids), categories, window=window, overlap=overlap
    )
    for columns in finished():
        facts.add(columns)
        report("count", facts.events, total - merged)
    if not facts.splits["train"].events:
        raise DataError(f"{spec.interactions.file}: the split leaves no training event; change `split` in the spec")
    return ArrangedEvents(
        log.user_ids,
        log.item_ids,
        log.texts,
        facts,
        len(cold),
        total - merged - facts.events,
        merged,
        finished,
    )


def _distribute(log: EventLog, scratch: Scratch, report: Progress) -> list[Spool]:
    """Put the events of the same users into the same bucket, in the order of the file."""
    before = np.cumsum(log.user_rows) - log.user_rows
    _, bucket_of_user = np.unique(before // scratch.limit, return_inverse=True)
    buckets = [Spool(scratch, on_disk=True) for _ in range(int(bucket_of_user.max(initial=0)) + 1)]
    if len(buckets) == 1:
        buckets = [Spool(replace(scratch, limit=len(log)))]
    done = 0
    for columns in log.batches():
        if len(buckets) == 1:
            buckets[0].append(columns)
            continue
        bucket = bucket_of_user[columns["user"]]
        order = np.argsort(bucket, kind="stable")
        starts = np.searchsorted(bucket[order], np.arange(len(buckets) + 1))
        for number, (start, stop) in enumerate(pairwise(starts.tolist())):
            buckets[number].append(taken(columns, order[start:stop]))
        done += row_count(columns)
        report("distribute", done, len(log))
    log.spool.close()
    return buckets


def sorted_events(columns: Columns, spec: DatasetSpec) -> Columns:
    """Sort the events of some users, and merge those of the same user and item where the spec says so."""
    keys = [columns[name] for name in ("time", "fraction", "order") if name in columns and columns[name].any()]
    kept = {name: values for name, values in columns.items() if name not in ("fraction", "order")}
    columns = taken(kept, chronological(columns["user"], *keys))
    keep = spec.interactions.keep
    if keep is None:
        return columns
    if keep == "sum" and "value" not in columns:
        columns["value"] = np.ones(row_count(columns))
    frame = merge_repeated(pd.DataFrame(columns), spec.interactions)
    return {name: frame[name].to_numpy(values.dtype) for name, values in columns.items()}


def _counts(values: np.ndarray) -> dict[int, int]:
    different, counts = np.unique(values, return_counts=True)
    return dict(zip(different.tolist(), counts.tolist(), strict=True))


def _first_times(
    buckets: Sequence[Spool], coarse: Mapping[int, int], ranks: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """Return the times of given ranks among all: name of the rank -> time.

    Args:
      buckets: the events.
      coarse: number of events whose times are equal but for their last bits.
      ranks: (name, rank from 0).
    """
    bins = sorted(coarse)
    below = np.cumsum([coarse[number] for number in bins])
    wanted = {name: bins[int(np.searchsorted(below, rank, side="right"))] for name, rank in ranks}
    fine = Counter[int]()
    for bucket in buckets if wanted else ():
        for columns in bucket:
            times = columns["time"]
            fine.update(_counts(times[np.isin(times >> _COARSE, [*wanted.values()])]))
    found = {}
    for name, rank in ranks:
        own = sorted(time for time in fine if time >> _COARSE == wanted[name])
        left = rank - sum(count for number, count in coarse.items() if number < wanted[name])
        found[name] = own[int(np.searchsorted(np.cumsum([fine[time] for time in own]), left, side="right"))]
    return found


def _split(columns: Columns, spec: DatasetSpec, first: Mapping[int, int], is_cold: np.ndarray | None) -> Columns:
    """Give the events of some users their splits, and take out training events of cold items."""
    split = spec.effective_split
    if isinstance(split, TimeSplit):
        columns["split"] = split_at(columns["time"], first)
    elif not isinstance(split, ColumnSplit):
        columns["split"] = split_leave_last(columns["user"])
    if is_cold is not None:
        columns = taken(columns, (columns["split"] != TRAIN) | ~is_cold[columns["item"]])
    if isinstance(split, ColumnSplit):  # Elsewhere splits follow each other in time.
        columns = taken(columns, np.lexsort((columns["split"], columns["user"])))
    return columns
