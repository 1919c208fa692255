"""Baselines that every report carries: random, popularity and item-based nearest neighbours.

A number without these beside it says nothing (Ferrari Dacrema et al., RecSys 2019).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.item_item.neighbours import item_similarities
from pipelines.scoring.requests import Queries

__all__ = ["Baseline", "fit_baselines", "item_knn_scorer", "popularity_scorer", "random_scorer"]


@dataclass(frozen=True)
class Baseline:
    """A scorer in blocks of items.

    Attributes:
      scores: (queries, size) -> scores of consecutive blocks, see `pipelines.scoring.requests.BlockScorer`.
      num_items: N.
    """

    scores: Callable[[Queries, int], Iterator[NDArray[np.float32]]]
    num_items: int

    def __call__(self, queries: Queries) -> NDArray[np.float32]:
        """All scores, float32 [q, N]."""
        return next(self.scores(queries, self.num_items))

    def blocks(self, queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
        """The same, `size` items after the other."""
        return self.scores(queries, size)


def random_scorer(num_items: int, *, seed: int) -> Baseline:
    """Return a scorer of uniform scores, which depend on the seed and the query only, not on its slice."""

    def blocks(queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
        generators = []
        for user, time, history in zip(queries.user_ids, queries.times, queries.histories, strict=True):
            moment = int(time) & 0xFFFFFFFFFFFFFFFF  # a seed has to be non-negative, a time before 1970 is not
            generators.append(np.random.default_rng([seed, zlib.crc32(str(user).encode()), moment, len(history)]))
        for start in range(0, num_items, size):
            count = min(size, num_items - start)
            yield np.stack([generator.random(count, np.float32) for generator in generators])

    return Baseline(blocks, num_items)


def popularity_scorer(train: sp.csr_matrix) -> Baseline:
    """Return a scorer that gives every query the training counts of the items, or the sums of their weights."""
    counts = np.asarray(train.sum(axis=0), np.float32).ravel()

    def blocks(queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(counts), size):
            part = counts[start : start + size]
            yield np.broadcast_to(part, (len(queries), len(part)))

    return Baseline(blocks, len(counts))


def item_knn_scorer(similarities: sp.csr_matrix, *, last: int | None) -> Baseline:
    """Return a scorer that sums the similarities of an item to the different items of the history.

    Args:
      similarities: float32 [N, N] from `item_similarities`.
      last: how many of the newest events of the history count; None: all. An empty history scores 0 everywhere.
    """
    num_items = similarities.shape[0]

    def blocks(queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
        recent = [np.unique(history if last is None else history[-last:]) for history in queries.histories]
        pointers = np.cumsum([0, *(len(items) for items in recent)])
        items = np.concatenate(recent) if recent else np.zeros(0, np.int32)
        ones = np.ones(len(items), np.float32)
        profiles = sp.csr_matrix((ones, items, pointers), shape=(len(queries), num_items))
        sums = profiles @ similarities
        if size >= num_items:
            yield sums.toarray()
            return
        for start in range(0, num_items, size):
            yield sums[:, start : start + size].toarray()

    return Baseline(blocks, num_items)


def fit_baselines(
    train: sp.csr_matrix, *, seed: int, shrinkage: float, neighbours: int, last: int
) -> dict[str, Baseline]:
    """Fit the baselines `random`, `popularity`, `item_knn` and `item_knn_last<last>` to the training events.

    Args:
      train: [users, items], ones, counts or sums of weights; see `interaction_matrix`.
      seed: of the random scores.
      shrinkage: added to the product of the norms in the cosine.
      neighbours: how many nearest items each item keeps.
      last: how many of the newest events of a history the second kNN takes.

    Raises:
      ValueError: `neighbours` or `last` is less than 1.
    """
    if neighbours < 1 or last < 1:
        raise ValueError(f"neighbours ({neighbours}) and last ({last}) must be at least 1")
    similarities = item_similarities(train, shrinkage=shrinkage, neighbours=neighbours)
    return {
        "random": random_scorer(train.shape[1], seed=seed),
        "popularity": popularity_scorer(train),
        "item_knn": item_knn_scorer(similarities, last=None),
        f"item_knn_last{last}": item_knn_scorer(similarities, last=last),
    }
