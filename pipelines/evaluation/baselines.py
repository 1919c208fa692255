"""Baselines that every report carries: random, popularity and item-based nearest neighbours.

A number without these beside it says nothing (Ferrari Dacrema et al., RecSys 2019).
"""

from __future__ import annotations

import zlib

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.item_item.neighbours import item_similarities
from pipelines.scoring.requests import Queries, Scorer

__all__ = ["fit_baselines", "item_knn_scorer", "popularity_scorer", "random_scorer"]


def random_scorer(num_items: int, *, seed: int) -> Scorer:
    """Return a scorer of uniform scores, which depend on the seed and the query only, not on its slice."""

    def score(queries: Queries) -> NDArray[np.float32]:
        scores = np.empty((len(queries), num_items), np.float32)
        for row, (user, time, history) in enumerate(
            zip(queries.user_ids, queries.times, queries.histories, strict=True)
        ):
            moment = int(time) & 0xFFFFFFFFFFFFFFFF  # a seed has to be non-negative, a time before 1970 is not
            entropy = [seed, zlib.crc32(str(user).encode()), moment, len(history)]
            scores[row] = np.random.default_rng(entropy).random(num_items, np.float32)
        return scores

    return score


def popularity_scorer(train: sp.csr_matrix) -> Scorer:
    """Return a scorer that gives every query the training counts of the items, or the sums of their weights."""
    counts = np.asarray(train.sum(axis=0), np.float32).ravel()

    def score(queries: Queries) -> NDArray[np.float32]:
        return np.broadcast_to(counts, (len(queries), len(counts)))

    return score


def item_knn_scorer(similarities: sp.csr_matrix, *, last: int | None) -> Scorer:
    """Return a scorer that sums the similarities of an item to the different items of the history.

    Args:
      similarities: float32 [N, N] from `item_similarities`.
      last: how many of the newest events of the history count; None: all. An empty history scores 0 everywhere.
    """

    def score(queries: Queries) -> NDArray[np.float32]:
        recent = [np.unique(history if last is None else history[-last:]) for history in queries.histories]
        pointers = np.cumsum([0, *(len(items) for items in recent)])
        items = np.concatenate(recent) if recent else np.zeros(0, np.int32)
        ones = np.ones(len(items), np.float32)
        profiles = sp.csr_matrix((ones, items, pointers), shape=(len(queries), similarities.shape[0]))
        return (profiles @ similarities).toarray()

    return score


def fit_baselines(
    train: sp.csr_matrix, *, seed: int, shrinkage: float, neighbours: int, last: int
) -> dict[str, Scorer]:
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
