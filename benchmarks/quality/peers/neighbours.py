"""Peers that count events: popularity, item-based nearest neighbours, and transitions between items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.interface import ScorerFactory, TrainingData
from pipelines.evaluation.baselines import item_knn_scorer, popularity_scorer
from pipelines.item_item.neighbours import item_similarities, successor_similarities
from pipelines.scoring.requests import Queries, Scorer


def popularity(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Score items by their number of users."""
    scorer = popularity_scorer(training.matrix)
    return lambda options: scorer


def item_knn(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Score by the item-kNN of `pipelines.evaluation.baselines`.

    Parameters: shrinkage, neighbours. Scoring options: last.
    """
    similarities = item_similarities(training.matrix, shrinkage=params["shrinkage"], neighbours=params["neighbours"])
    return lambda options: item_knn_scorer(similarities, last=options["last"])


def transitions(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Sum the transition scores from the newest events; the d-th newest has the weight 1 / d.

    Parameters: window, shrinkage. Scoring options: last.
    """
    transition_scores = successor_similarities(
        training.users,
        training.items,
        training.num_items,
        window=params["window"],
        shrinkage=params["shrinkage"],
        neighbours=training.num_items,
    )

    def make_scorer(options: Mapping[str, Any]) -> Scorer:
        def score(queries: Queries) -> np.ndarray:
            newest = [history[::-1][: options["last"]] for history in queries.histories]
            rows = np.repeat(np.arange(len(newest)), [len(items) for items in newest])
            columns = np.concatenate([*newest, np.zeros(0, np.int32)]).astype(np.int32)
            weights = np.concatenate([*(1.0 / np.arange(1, len(items) + 1) for items in newest), np.zeros(0)])
            shape = (len(newest), training.num_items)
            weighted = sp.csr_matrix((weights.astype(np.float32), (rows, columns)), shape=shape)
            return (weighted @ transition_scores).toarray()

        return score

    return make_scorer
