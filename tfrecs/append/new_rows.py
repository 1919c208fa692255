"""What is new in a data folder beside records that are there: items, events, and the windows these come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfrecs.build.events import arrange, group_users
from tfrecs.build.feature_table import Entities, read_entities
from tfrecs.build.interactions import interaction_columns, usable_events
from tfrecs.build.splits import TEST, TRAIN, VALID
from tfrecs.build.windows import Window, plan_windows
from tfrecs.errors import DataError
from tfrecs.rejects import Rejects
from tfrecs.schema import SPLITS, Manifest
from tfrecs.spec.models import ColumnSplit, DatasetSpec, LeaveLastSplit
from tfrecs.tables.table import is_there, read_table


def new_items(
    spec: DatasetSpec, data: Path, manifest: Manifest, old_ids: Sequence[str], rejects: Rejects, known: Counter[str]
) -> Entities | None:
    source = spec.items
    if not is_there(data, source.file):
        if not is_there(data, spec.interactions.file):
            raise DataError(f"{data}: neither {source.file} nor {spec.interactions.file} is there; name a data folder")
        return None
    found = read_entities(data, "item", source, source.title, {}, rejects, manifest.schema_.items)
    there = set(old_ids)
    known.update(str(file) for file, item in zip(found.table.files, found.ids, strict=True) if item in there)
    new = [position for position, item in enumerate(found.ids) if item not in there]
    return found.part(new) if new else None


def new_events(
    spec: DatasetSpec,
    data: Path,
    manifest: Manifest,
    old: pd.DataFrame,
    ids: Sequence[str],
    rejects: Rejects,
    known: Counter[str],
) -> pd.DataFrame:
    """Those that the records do not hold, oldest first; with their split where the table gives it."""
    if not is_there(data, spec.interactions.file):
        return old.iloc[:0]
    table = read_table(data, spec.interactions.file, interaction_columns(spec), rejects, spec.interactions.encoding)
    kinds = {context.name: context.kind for context in manifest.schema_.context if context.source == "column"}
    frame = usable_events(table, spec, ids, rejects, kinds)
    is_known = _contained(frame, old)
    known.update(str(file) for file in table.files[frame.index[is_known].to_numpy()])
    frame = frame[~is_known]
    if not len(frame):
        return old.iloc[:0]
    if not manifest.schema_.has_time:
        raise DataError(
            f"{_told(spec, frame)} without times: their place in a history is unknown; build anew, or append items alone"
        )
    return frame.sort_values("time", kind="stable").reset_index(drop=True)


def with_splits(new: pd.DataFrame, spec: DatasetSpec, manifest: Manifest) -> pd.DataFrame:
    """New events with the split that the records' own split times give them, where no column of theirs says it."""
    if not len(new) or isinstance(spec.effective_split, ColumnSplit):
        return new
    if isinstance(spec.effective_split, LeaveLastSplit):
        raise DataError(
            f"{_told(spec, new)}, but the records' split is leave-last-out: a user's new last event would make the former "
            "one a training event, in a shard that must not change; add --resplit, build anew, or append items alone"
        )
    return new.assign(split=_by_split_times(new["time"].to_numpy(), manifest))


def _told(spec: DatasetSpec, new: pd.DataFrame) -> str:
    return f"{spec.interactions.file}: {len(new):,} new interactions"


def _contained(frame: pd.DataFrame, old: pd.DataFrame) -> np.ndarray:
    """bool [n]: an equal event is in `old`; an event that occurs twice is known only if it was there twice."""
    keys = ["user", "item", "time"]
    left, right = (part[keys].assign(n=part.groupby(keys, sort=False).cumcount()) for part in (frame, old))
    return pd.MultiIndex.from_frame(left.astype({"user": object, "item": object})).isin(
        pd.MultiIndex.from_frame(right.astype({"user": object, "item": object}))
    )


def _by_split_times(times: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Splits int8 [n] by the first moments of the records' valid and test."""
    splits = np.full(len(times), TRAIN, np.int8)
    for code in (VALID, TEST):
        first = manifest.splits[SPLITS[code]].first_time
        if first is not None:
            splits[times >= first] = code
    return splits


def count_late(old: pd.DataFrame, new: pd.DataFrame) -> int:
    last = old.groupby("user")["time"].max()
    return int((new["time"] < new["user"].map(last)).sum())


@dataclass(frozen=True)
class Merged:
    """Events sorted as in a build, all those of every user who has new ones; `new` bool [n] says which are new."""

    frame: pd.DataFrame
    user_ids: tuple[str, ...]
    users: np.ndarray
    new: np.ndarray

    def windows(self, window: int, overlap: int) -> dict[str, list[Window]]:
        """The windows that have a new target, cut behind the last one."""
        planned = plan_windows(self.users, self.frame["split"].to_numpy(), window=window, overlap=overlap)
        result: dict[str, list[Window]] = {}
        for split, windows in planned.items():
            result[split] = []
            for one in windows:
                targets = one.targets + np.flatnonzero(self.new[one.targets : one.stop])
                if len(targets):
                    result[split].append(Window(one.user, one.start, int(targets[0]), int(targets[-1]) + 1))
        return result


def split_anew(old: pd.DataFrame, new: pd.DataFrame, spec: DatasetSpec, ids: Sequence[str]) -> Merged:
    """All events, split as a build of all of them would; each of them is a new target.

    Raises:
      DataError: the split is a column of the table, so that there is nothing to split anew.
    """
    if isinstance(spec.effective_split, ColumnSplit):
        raise DataError(
            f"--resplit: the split is the column {spec.effective_split.column} of {spec.interactions.file}; build anew"
        )
    later = new.assign(order=len(old) + np.arange(len(new), dtype=np.float64))
    frame = pd.concat([old, later], ignore_index=True) if len(new) else old
    # Without a seed: it chooses cold items, and records that have some are not appended to.
    events = arrange(frame.drop(columns="split"), spec, ids, seed=0)
    return Merged(events.frame, events.user_ids, events.users, np.ones(len(events.frame), bool))


def merge(old: pd.DataFrame, new: pd.DataFrame) -> Merged:
    old = old[old["user"].isin(set(new["user"]))]
    frame = pd.concat([old, new], ignore_index=True) if len(new) else old
    is_new = np.arange(len(frame)) >= len(old)
    user_ids, users = group_users(frame["user"])
    order = np.lexsort((is_new, frame["time"].to_numpy(), frame["split"].to_numpy(), users))
    return Merged(frame.take(order).reset_index(drop=True), tuple(user_ids), users[order], is_new[order])
