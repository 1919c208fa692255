"""Plans which events of a user go into which Example, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfrecs.build.splits import TRAIN
from tfrecs.schema import SPLITS

_PART = 1 << 16  # Users whose windows are Python objects at a time.


class Window(NamedTuple):
    """One Example: events [start, stop) of the sorted events, of which [targets, stop) are prediction targets."""

    user: int
    start: int
    targets: int
    stop: int


def plan_windows(users: np.ndarray, splits: np.ndarray, *, window: int, overlap: int) -> dict[str, list[Window]]:
    """Plan the windows of all users: split name -> its windows, as `split_windows` does."""
    return {
        name: [*split_windows(users, splits, split, window=window, overlap=overlap)]
        for split, name in enumerate(SPLITS)
    }


def split_windows(users: np.ndarray, splits: np.ndarray, split: int, *, window: int, overlap: int) -> Iterator[Window]:
    """Plan the windows of one split.

    Args:
      users: user codes [n], equal ones together.
      splits: splits [n], ascending within a user; events of a split oldest first.
      split: the one whose windows are wanted.
      window: largest number of events in a train window.
      overlap: number of events at the start of a further window of the same user that are history, not targets.

    Returns:
      Windows in the order of the users. A train window holds train events only; a valid or test window holds all earlier
      events of the user, then the events of the split.
    """
    _check(window, overlap)
    groups = np.stack(_groups(users, splits, split), axis=1)
    return (
        planned
        for part in range(0, len(groups), _PART)
        for start, stop, first in groups[part : part + _PART].tolist()
        for planned in (
            _train_windows(int(users[start]), start, stop, window, overlap)
            if split == TRAIN
            else (Window(int(users[start]), first, start, stop),)
        )
    )


def count_windows(users: np.ndarray, splits: np.ndarray, split: int, *, window: int, overlap: int) -> int:
    """Count what `split_windows` plans."""
    _check(window, overlap)
    starts, stops, _ = _groups(users, splits, split)
    further = np.maximum(0, stops - starts - window) if split == TRAIN else np.zeros(0, np.int64)
    return len(starts) + int((-(-further // (window - overlap))).sum())


def _check(window: int, overlap: int) -> None:
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must be at least 0 and below window, not {overlap} of {window}")


def _groups(users: np.ndarray, splits: np.ndarray, split: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each user with events of a split where these begin and end, and where the user's events begin."""
    if not len(users):
        return (np.zeros(0, np.int64),) * 3
    key = users.astype(np.int64) * len(SPLITS) + splits
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    stops = np.append(starts[1:], len(key))
    own = starts[np.flatnonzero(np.diff(users[starts], prepend=users[0] - 1))]  # The first group of each user.
    firsts = own[np.searchsorted(own, starts, side="right") - 1]
    chosen = splits[starts] == split
    return starts[chosen], stops[chosen], firsts[chosen]


def _train_windows(user: int, start: int, stop: int, window: int, overlap: int) -> Iterator[Window]:
    yield Window(user, start, start, min(start + window, stop))
    targets = start + window
    while targets < stop:
        yield Window(user, targets - overlap, targets, min(targets - overlap + window, stop))
        targets += window - overlap
