"""Plans which events of a user go into which Example, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfrecs.build.splits import TRAIN
from tfrecs.schema import SPLITS


@dataclass(frozen=True)
class Window:
    """One Example: events [start, stop) of the sorted events, of which [targets, stop) are prediction targets."""

    user: int
    start: int
    targets: int
    stop: int


def plan_windows(users: np.ndarray, splits: np.ndarray, *, window: int, overlap: int) -> dict[str, list[Window]]:
    """Plan the windows of all users.

    Args:
      users: user codes [n], equal ones together.
      splits: splits [n], ascending within a user; events of a split oldest first.
      window: largest number of events in a train window.
      overlap: number of events at the start of a further window of the same user that are history, not targets.

    Returns:
      Split name -> its windows in the order of the users. A train window holds train events only; a valid or test
      window holds all earlier events of the user, then the events of the split.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must be at least 0 and below window, not {overlap} of {window}")
    planned: dict[str, list[Window]] = {name: [] for name in SPLITS}
    if not len(users):
        return planned
    key = users.astype(np.int64) * len(SPLITS) + splits
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    stops = np.append(starts[1:], len(key))
    first_of_user = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        user, split = int(users[start]), int(splits[start])
        if start and users[start - 1] != user:
            first_of_user = start
        if split == TRAIN:
            planned[SPLITS[split]].extend(_train_windows(user, start, stop, window, overlap))
        else:
            planned[SPLITS[split]].append(Window(user, first_of_user, start, stop))
    return planned


def _train_windows(user: int, start: int, stop: int, window: int, overlap: int) -> Iterator[Window]:
    yield Window(user, start, start, min(start + window, stop))
    targets = start + window
    while targets < stop:
        yield Window(user, targets - overlap, targets, min(targets - overlap + window, stop))
        targets += window - overlap
