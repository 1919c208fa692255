"""Finds what is new in a data folder compared with existing records: items, events, and the windows for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfrecs.build.event_weights import PAIR, merge_repeated
from tfrecs.build.events import group_users
from tfrecs.build.feature_table import Entities, logged_items, read_entities
from tfrecs.build.splits import TEST, TRAIN, VALID
from tfrecs.build.windows import Window, plan_windows
from tfrecs.errors import DataError
from tfrecs.events.arranged import arrange
from tfrecs.events.frames import frame_of, log_of
from tfrecs.events.log import read_log
from tfrecs.events.spool import Scratch
from tfrecs.rejects import Rejects
from tfrecs.schema import SPLITS, Manifest
from tfrecs.spec.models import ColumnSplit, DatasetSpec, LeaveLastSplit
from tfrecs.tables.table import is_there


def new_items(
    spec: DatasetSpec, data: Path, manifest: Manifest, old_ids: Sequence[str], rejects: Rejects, known: Counter[str]
) -> Entities | None:
    """Read the items that the records do not hold.

    Args:
      spec, data: of the data set.
      manifest: of the records.
      old_ids: item ids of the records.
      rejects: takes rows and values that cannot be used.
      known: counts, per file, the rows that the records hold already.

    Returns:
      None where there are none, or no table of items.

    Raises:
      DataError: `data` has neither items nor interactions, or its table cannot be read.
    """
    source, log, old = spec.items, spec.interactions, set(old_ids)
    tables = [log.file] if source is None else [source.file, log.file]
    if not any(is_there(data, file) for file in tables):
        raise DataError(f"{data}: no {' and no '.join(tables)} there; name a data folder")
    if source is None:
        entities = logged_items(data, log, old_ids)
    elif is_there(data, source.file):
        entities = read_entities(data, "item", source, source.title, {}, rejects, manifest.schema_.items, old_ids)
        known.update(str(file) for file, item in zip(entities.table.files, entities.ids, strict=True) if item in old)
    else:
        return None
    new = [position for position, item in enumerate(entities.ids) if item not in old]
    return entities.part(new) if new else None


def new_events(
    spec: DatasetSpec,
    data: Path,
    manifest: Manifest,
    old: pd.DataFrame,
    ids: Sequence[str],
    rejects: Rejects,
    known: Counter[str],
    user_ids: Collection[str],
    scratch: Scratch,
) -> pd.DataFrame:
    """Return the events that the records do not hold, oldest first; with their split where the table gives it.

    Arguments as of `new_items`; `old`: events of the records, `ids`: all item ids, old and new, `user_ids`: of users that
    have features, `scratch`: where events go while they are read.

    Raises:
      DataError: the events have no times.
    """
    if not is_there(data, spec.interactions.file):
        return old.iloc[:0]
    kinds = {context.name: context.kind for context in manifest.schema_.context if context.source == "column"}
    log = read_log(data, spec, ids, user_ids, rejects, scratch, kinds=kinds, with_files=True, may_be_empty=True)
    frame = frame_of(log.batches(), log.user_ids, ids, log.texts)
    log.spool.close()
    is_known = _contained(frame, old) | _merged_away(frame, old, spec.interactions.keep)
    if len(frame):
        known.update(log.files[code] for code in frame.pop("file")[is_known])
    frame = frame[~is_known]
    if not len(frame):
        return old.iloc[:0]
    if not manifest.schema_.has_time:
        raise DataError(
            f"{_describe(spec, frame)} without times: their place in a history is unknown; build anew, or append items alone"
        )
    return merge_repeated(frame.sort_values(["time", "fraction"], kind="stable"), spec.interactions).reset_index(
        drop=True
    )


def refuse_repeats(new: pd.DataFrame, old: pd.DataFrame, spec: DatasetSpec, *, resplit: bool) -> None:
    """Refuse new events for which an event of the records would have to go. Raises DataError."""
    keep = spec.interactions.keep
    if keep is None or (keep == "last" and resplit) or not len(new):
        return
    repeated = int((~np.isnan(_stored_times(new, old))).sum())
    if repeated:
        remedy = "add --resplit or build anew" if keep == "last" else "build anew"
        raise DataError(
            f"{spec.interactions.file}: {repeated:,} new interactions repeat the user and item of one in the records, which "
            f"keep: {keep} would change; {remedy}"
        )


def with_splits(new: pd.DataFrame, spec: DatasetSpec, manifest: Manifest) -> pd.DataFrame:
    """Assign new events to splits by the split times of the records, unless a column of the table says the split.

    Raises:
      DataError: the split is leave-last-out.
    """
    if not len(new) or isinstance(spec.effective_split, ColumnSplit):
        return new
    if isinstance(spec.effective_split, LeaveLastSplit):
        raise DataError(
            f"{_describe(spec, new)}, but the records' split is leave-last-out: a user's new last event would make the former "
            "one a training event, in a shard that must not change; add --resplit, build anew, or append items alone"
        )
    return new.assign(split=_by_split_times(new["time"].to_numpy(), manifest))


def _describe(spec: DatasetSpec, new: pd.DataFrame) -> str:
    return f"{spec.interactions.file}: {len(new):,} new interactions"


def _contained(frame: pd.DataFrame, old: pd.DataFrame) -> np.ndarray:
    """Mark the events that `old` holds, bool [n]. An event that occurs twice is known only if `old` has it twice."""
    keys = ["user", "item", "time"]
    left, right = (part[keys].assign(n=part.groupby(keys, sort=False).cumcount()) for part in (frame, old))
    return pd.MultiIndex.from_frame(left.astype({"user": object, "item": object})).isin(
        pd.MultiIndex.from_frame(right.astype({"user": object, "item": object}))
    )


def _stored_times(frame: pd.DataFrame, old: pd.DataFrame) -> np.ndarray:
    """Return the time of the newest event of `old` with the user and item of each event, float64 [n], NaN for none."""
    newest = old.astype(dict.fromkeys(PAIR, object)).groupby(PAIR, sort=False)["time"].max()
    times = newest.reindex(pd.MultiIndex.from_frame(frame[PAIR].astype(object)))
    return times.to_numpy(np.float64, na_value=np.nan)


def _merged_away(frame: pd.DataFrame, old: pd.DataFrame, keep: str | None) -> np.ndarray:
    """Mark the events for which another one of the same user and item already stands in `old`, bool [n]."""
    if keep is None:
        return np.zeros(len(frame), bool)
    stored = _stored_times(frame, old)
    return ~np.isnan(stored) if keep == "first" else frame["time"].to_numpy() <= stored


def _by_split_times(times: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Return splits, int8 [n], by the first times of valid and test in the records."""
    splits = np.full(len(times), TRAIN, np.int8)
    for code in (VALID, TEST):
        first = manifest.splits[SPLITS[code]].first_time
        if first is not None:
            splits[times >= first] = code
    return splits


def count_late(old: pd.DataFrame, new: pd.DataFrame) -> int:
    """Count the new events that are older than the last old event of their user."""
    last = old.groupby("user")["time"].max()
    return int((new["time"] < new["user"].map(last)).sum())


@dataclass(frozen=True)
class Merged:
    """Old and new events of every user who has new ones, sorted as in a build; `new` bool [n] marks the new ones."""

    frame: pd.DataFrame
    user_ids: tuple[str, ...]
    users: np.ndarray
    new: np.ndarray

    def windows(self, window: int, overlap: int) -> dict[str, list[Window]]:
        """Plan the windows that have a new target, each cut after its last one."""
        planned = plan_windows(self.users, self.frame["split"].to_numpy(), window=window, overlap=overlap)
        result: dict[str, list[Window]] = {}
        for split, windows in planned.items():
            result[split] = []
            for planned_window in windows:
                first, stop = planned_window.targets, planned_window.stop
                targets = first + np.flatnonzero(self.new[first:stop])
                if len(targets):
                    new_window = (planned_window.start, int(targets[0]), int(targets[-1]) + 1)
                    result[split].append(Window(planned_window.user, *new_window))
        return result


def split_anew(
    old: pd.DataFrame,
    new: pd.DataFrame,
    spec: DatasetSpec,
    ids: Sequence[str],
    window: int,
    overlap: int,
    scratch: Scratch,
) -> Merged:
    """Split all events as a build of all of them would; every event counts as new.

    Raises:
      DataError: the split is a column of the table, so that there is nothing to split anew.
    """
    if isinstance(spec.effective_split, ColumnSplit):
        raise DataError(
            f"--resplit: the split is the column {spec.effective_split.column} of {spec.interactions.file}; build anew"
        )
    # What is stored is at whole seconds: in one second, new events come after it, in their own order.
    later = new.assign(fraction=np.int64(0), order=len(old) + np.arange(len(new), dtype=np.float64))
    frame = pd.concat([old, later], ignore_index=True) if len(new) else old
    # Without a seed: it chooses cold items, and records that have some are not appended to.
    log = log_of(frame.drop(columns="split"), ids, scratch)
    events = arrange(log, spec, scratch, seed=0, window=window, overlap=overlap)
    sorted_frame = frame_of(events.buckets(), events.user_ids, ids, events.texts)
    users = group_users(sorted_frame["user"])[1]
    return Merged(sorted_frame, tuple(events.user_ids), users, np.ones(len(sorted_frame), bool))


def merge(old: pd.DataFrame, new: pd.DataFrame) -> Merged:
    """Join new events with the old events of the same users."""
    old = old[old["user"].isin(set(new["user"]))]
    frame = pd.concat([old, new], ignore_index=True) if len(new) else old
    is_new = np.arange(len(frame)) >= len(old)
    user_ids, users = group_users(frame["user"])
    order = np.lexsort((is_new, frame["time"].to_numpy(), frame["split"].to_numpy(), users))
    return Merged(frame.take(order).reset_index(drop=True), tuple(user_ids), users[order], is_new[order])
