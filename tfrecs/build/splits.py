"""Assigns events to train, valid and test. Pure functions over arrays; an event is in one split only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrecs.schema import SPLITS
from tfrecs.spec.models import SPLIT_VALUES

TRAIN, VALID, TEST = range(len(SPLITS))


def chronological(users: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Return the order [n] that puts each user's events together, oldest first.

    Args:
      users: integer user codes [n].
      *keys: [n] each, the most significant first (time, then an order column). Events with equal keys stay in the
        order of the file.
    """
    return np.lexsort((*reversed(keys), users))


def split_ranks(count: int, fractions: Sequence[float]) -> list[tuple[int, int]]:
    """Return of valid and test the code and the rank in time, from 0, of the first event; below `count` where it has one."""
    shares = ((VALID, fractions[0]), (TEST, fractions[0] + fractions[1]))
    # 0.8 + 0.1 is slightly below 0.9.
    return [(split, first) for split, share in shares if (first := int(np.floor(share * count + 1e-9))) < count]


def split_at(times: np.ndarray, first: Mapping[int, int]) -> np.ndarray:
    """Return splits, int8 [n], of events whose split begins at the times `first`: code -> unix seconds."""
    splits = np.full(len(times), TRAIN, np.int8)
    for split in sorted(first):
        splits[times >= first[split]] = split
    return splits


def split_by_time(times: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Split globally in time: train events are earlier than all valid events, and these than all test events.

    Args:
      times: unix seconds [n], in any order.
      fractions: shares of train, valid and test, of sum 1. Where a boundary falls inside equal times, all of those
        events go to the later split, so that nothing from the second of a held-out event is learned from.

    Returns:
      Splits, int8 [n].
    """
    ordered = np.sort(times)
    return split_at(times, {split: int(ordered[rank]) for split, rank in split_ranks(len(times), fractions)})


def split_leave_last(users: np.ndarray) -> np.ndarray:
    """Split events in `chronological` order: each user's last event is test, the one before it valid.

    Users with fewer than three events are entirely train, since nothing would be left to learn from.

    Args:
      users: user codes [n], equal ones together.

    Returns:
      Splits, int8 [n].
    """
    splits = np.full(len(users), TRAIN, np.int8)
    if len(users):
        starts = np.flatnonzero(np.diff(users, prepend=users[0] - 1))
        counts = np.diff(starts, append=len(users))
        lasts = (starts + counts - 1)[counts >= 3]
        splits[lasts] = TEST
        splits[lasts - 1] = VALID
    return splits


def split_by_column(values: Iterable[Any]) -> np.ndarray:
    """Return splits, int8 [n], from the words train, valid (val, validation) and test in any case; -1 for any other."""
    codes = {word: SPLITS.index(split) for word, split in SPLIT_VALUES.items()}
    return np.fromiter((codes.get(str(value).strip().lower(), -1) for value in values), np.int8)


def choose_cold_items(item_ids: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Draw the items whose training interactions are left out. The draw does not depend on the order of the ids."""
    ordered = sorted(set(item_ids))
    chosen = np.random.default_rng(seed).choice(len(ordered), size=round(fraction * len(ordered)), replace=False)
    return frozenset(ordered[index] for index in chosen)
