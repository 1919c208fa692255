"""Peers that count: popularity, item-based nearest neighbours, and what directly follows what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.base import Ask, Training
from pipelines.evaluation.baselines import item_knn_scorer, popularity_scorer
from pipelines.item_item.neighbours import item_similarities, successor_similarities
from pipelines.scoring.requests import Queries, Scorer


def popularity(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """Users of each item."""
    scorer = popularity_scorer(training.matrix)
    return lambda how: scorer


def item_knn(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """See `pipelines.evaluation.baselines`. `params`: shrinkage, neighbours; asked with last (events that count; None: all)."""
    similarities = item_similarities(training.matrix, shrinkage=params["shrinkage"], neighbours=params["neighbours"])
    return lambda how: item_knn_scorer(similarities, last=how["last"])


def transitions(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """Sum over the newest events, the d-th newest weighing 1 / d, of what comes after them.

    `params`: window, shrinkage; asked with last (events that count).
    """
    after = successor_similarities(
        training.users, training.items, training.num_items, window=params["window"], shrinkage=params["shrinkage"]
    )

    def ask(how: Mapping[str, Any]) -> Scorer:
        def score(queries: Queries) -> np.ndarray:
            newest = [history[::-1][: how["last"]] for history in queries.histories]
            rows = np.repeat(np.arange(len(newest)), [len(items) for items in newest])
            columns = np.concatenate([*newest, np.zeros(0, np.int32)]).astype(np.int32)
            weights = np.concatenate([*(1.0 / np.arange(1, len(items) + 1) for items in newest), np.zeros(0)])
            shape = (len(newest), training.num_items)
            asked = sp.csr_matrix((weights.astype(np.float32), (rows, columns)), shape=shape)
            return (asked @ after).toarray()

        return score

    return ask
