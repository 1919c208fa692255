"""What every peer is given, as arrays in one file, and what it gives back. numpy and scipy only: it runs anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from pipelines.scoring.requests import Queries, Scorer

__all__ = ["Ask", "Fit", "Training", "linear", "load_queries", "load_training", "profiles", "save_queries"]
__all__ += ["save_training", "user_rows"]


@dataclass(frozen=True)
class Training:
    """The positive training events of U users on N items, and what is known of the items.

    Attributes:
      user_ids: str [U], ascending.
      users, items: int32 [E], positions among users and items; a user's events stand together, oldest first where events
        have an order.
      num_items: N.
      content: name of an item feature -> float32 csr [N, d], rows of length 1 or 0 (the item lacks it).
    """

    user_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    num_items: int
    content: Mapping[str, sp.csr_matrix]

    @property
    def matrix(self) -> sp.csr_matrix:
        """float32 [U, N] of ones: who met what at all."""
        shape = (len(self.user_ids), self.num_items)
        counts = sp.csr_matrix((np.ones(len(self.items), np.float32), (self.users, self.items)), shape=shape)
        counts.data[:] = 1.0  # equal pairs were summed
        return counts

    @property
    def warm(self) -> np.ndarray:
        """bool [N]: items with a training event."""
        return np.bincount(self.items, minlength=self.num_items) > 0


Ask = Callable[[Mapping[str, Any]], Scorer]
"""A fitted peer: parameters of asking alone (how much of the history counts, after how many epochs) -> what scores."""

Fit = Callable[[Training, Mapping[str, Any], int], Ask]
"""Learns from the training events, under parameters and a seed."""


def save_training(path: Path, training: Training) -> None:
    arrays: dict[str, Any] = {"user_ids": training.user_ids, "users": training.users, "items": training.items}
    for name, rows in training.content.items():
        arrays |= {f"content/{name}/{part}": getattr(rows, part) for part in ("data", "indices", "indptr", "shape")}
    np.savez(path, num_items=training.num_items, names=np.array(list(training.content), np.str_), **arrays)


def load_training(path: Path) -> Training:
    with np.load(path) as file:
        content = {}
        for name in file["names"].tolist():
            data, indices, indptr, shape = (
                file[f"content/{name}/{part}"] for part in ("data", "indices", "indptr", "shape")
            )
            content[name] = sp.csr_matrix((data, indices, indptr), shape=tuple(shape))
        return Training(file["user_ids"], file["users"], file["items"], int(file["num_items"]), content)


def save_queries(path: Path, queries: Queries) -> None:
    arrays = {}
    for name in ("histories", "targets"):
        lists = getattr(queries, name)
        arrays[f"{name}/ends"] = np.cumsum([len(part) for part in lists], dtype=np.int64)
        arrays[name] = np.concatenate([*lists, np.zeros(0, np.int32)]).astype(np.int32)
    np.savez(path, user_ids=queries.user_ids, times=queries.times, rows=queries.rows, **arrays)


def load_queries(path: Path) -> Queries:
    with np.load(path) as file:
        lists = {}
        for name in ("histories", "targets"):
            parts = np.split(file[name], file[f"{name}/ends"])
            lists[name] = parts[:-1]  # behind the last end there is nothing
        return Queries(file["user_ids"], file["times"], lists["histories"], lists["targets"], file["rows"])


def profiles(histories: Sequence[np.ndarray], num_items: int, last: int | None) -> sp.csr_matrix:
    """float32 csr [q, N]: 1 where an item is among the newest `last` events of a history (None: among all)."""
    recent = [np.unique(history if last is None else history[-last:]) for history in histories]
    pointers = np.cumsum([0, *(len(items) for items in recent)])
    items = np.concatenate([*recent, np.zeros(0, np.int32)]).astype(np.int32)
    return sp.csr_matrix((np.ones(len(items), np.float32), items, pointers), shape=(len(recent), num_items))


def user_rows(training: Training, queries: Queries) -> np.ndarray:
    """int64 [q]: each query's user among the training users, -1 for one that is not there."""
    if not len(training.user_ids):
        return np.full(len(queries), -1)
    at = np.minimum(np.searchsorted(training.user_ids, queries.user_ids), len(training.user_ids) - 1)
    return np.where(training.user_ids[at] == queries.user_ids, at, -1)


def linear(similarities: np.ndarray) -> Ask:
    """Scores that are sums of the rows of a matrix [N, N] over a history. Asked with last (events that count; None: all)."""

    def ask(how: Mapping[str, Any]) -> Scorer:
        def score(queries: Queries) -> np.ndarray:
            return np.asarray(profiles(queries.histories, len(similarities), how["last"]) @ similarities)

        return score

    return ask
