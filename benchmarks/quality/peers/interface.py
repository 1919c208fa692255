"""Input and output of a peer, and their files. NumPy and SciPy only, so that it runs in any interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from pipelines.scoring.requests import Queries, Scorer

__all__ = [
    "FitFunction",
    "ScorerFactory",
    "TrainingData",
    "history_matrix",
    "item_item_factory",
    "load_queries",
    "load_training",
    "save_queries",
]
__all__ += ["save_training", "user_rows"]


@dataclass(frozen=True)
class TrainingData:
    """The positive training events of U users on N items, and item content.

    Attributes:
      user_ids: str [U], ascending.
      users, items: int32 [E], positions among users and items; the events of a user are contiguous, and oldest first if
        events have an order.
      num_items: N.
      content: name of an item feature -> float32 csr [N, d], rows of length 1 or 0 (the item lacks it).
      validation: the requests that a peer may decide on when to stop training; None where nobody gave them.
    """

    user_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    num_items: int
    content: Mapping[str, sp.csr_matrix]
    validation: Queries | None = None

    @property
    def matrix(self) -> sp.csr_matrix:
        """float32 csr [U, N], 1 where a user has an event with an item."""
        shape = (len(self.user_ids), self.num_items)
        counts = sp.csr_matrix((np.ones(len(self.items), np.float32), (self.users, self.items)), shape=shape)
        counts.data[:] = 1.0  # repeated pairs were summed
        return counts

    @property
    def warm(self) -> np.ndarray:
        """bool [N], items with a training event."""
        return np.bincount(self.items, minlength=self.num_items) > 0


ScorerFactory = Callable[[Mapping[str, Any]], Scorer]
"""A fitted peer: scoring options (such as the length of the history, or the epoch) -> scorer."""

FitFunction = Callable[[TrainingData, Mapping[str, Any], int], ScorerFactory]
"""Fits a peer to training events with parameters and a seed."""


def save_training(path: Path, training: TrainingData) -> None:
    """Write training data, without the validation requests, as .npz."""
    arrays: dict[str, Any] = {"user_ids": training.user_ids, "users": training.users, "items": training.items}
    for name, rows in training.content.items():
        arrays |= {f"content/{name}/{part}": getattr(rows, part) for part in ("data", "indices", "indptr", "shape")}
    np.savez(path, num_items=training.num_items, names=np.array(list(training.content), np.str_), **arrays)


def load_training(path: Path) -> TrainingData:
    """Read a file of `save_training`."""
    with np.load(path) as file:
        content = {}
        for name in file["names"].tolist():
            data, indices, indptr, shape = (
                file[f"content/{name}/{part}"] for part in ("data", "indices", "indptr", "shape")
            )
            content[name] = sp.csr_matrix((data, indices, indptr), shape=tuple(shape))
        return TrainingData(file["user_ids"], file["users"], file["items"], int(file["num_items"]), content)


def save_queries(path: Path, queries: Queries) -> None:
    """Write requests as .npz."""
    arrays = {}
    for name in ("histories", "targets"):
        lists = getattr(queries, name)
        arrays[f"{name}/ends"] = np.cumsum([len(part) for part in lists], dtype=np.int64)
        arrays[name] = np.concatenate([*lists, np.zeros(0, np.int32)]).astype(np.int32)
    np.savez(path, user_ids=queries.user_ids, times=queries.times, rows=queries.rows, **arrays)


def load_queries(path: Path) -> Queries:
    """Read a file of `save_queries`."""
    with np.load(path) as file:
        lists = {}
        for name in ("histories", "targets"):
            parts = np.split(file[name], file[f"{name}/ends"])
            lists[name] = parts[:-1]  # the part after the last end is empty
        return Queries(file["user_ids"], file["times"], lists["histories"], lists["targets"], file["rows"])


def history_matrix(histories: Sequence[np.ndarray], num_items: int, last: int | None) -> sp.csr_matrix:
    """Return float32 csr [q, N], 1 for the items of the newest `last` events of each history (None for all events)."""
    recent = [np.unique(history if last is None else history[-last:]) for history in histories]
    pointers = np.cumsum([0, *(len(items) for items in recent)])
    items = np.concatenate([*recent, np.zeros(0, np.int32)]).astype(np.int32)
    return sp.csr_matrix((np.ones(len(items), np.float32), items, pointers), shape=(len(recent), num_items))


def user_rows(training: TrainingData, queries: Queries) -> np.ndarray:
    """Return int64 [q], the position of each query's user among the training users, -1 if unknown."""
    if not len(training.user_ids):
        return np.full(len(queries), -1)
    rows = np.minimum(np.searchsorted(training.user_ids, queries.user_ids), len(training.user_ids) - 1)
    return np.where(training.user_ids[rows] == queries.user_ids, rows, -1)


def item_item_factory(similarities: np.ndarray) -> ScorerFactory:
    """Return scorers that sum the rows of an item-item matrix, float [N, N], over the history.

    Scoring options: last (newest events that count; None for all).
    """

    def make_scorer(options: Mapping[str, Any]) -> Scorer:
        def score(queries: Queries) -> np.ndarray:
            return np.asarray(history_matrix(queries.histories, len(similarities), options["last"]) @ similarities)

        return score

    return make_scorer
