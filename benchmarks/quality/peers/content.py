"""Peers on item content alone, which can recommend cold items: content kNN and content ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.peers.interface import ScorerFactory, TrainingData, item_item_factory
from pipelines.item_item.content_similarity import content_similarity

ALL = "all"


def feature_names(training: TrainingData, features: str) -> list[str]:
    """Parse a `features` parameter: a name, several names joined by "+", or "all"."""
    return list(training.content) if features == ALL else features.split("+")


def kernel(training: TrainingData, features: Sequence[str]) -> np.ndarray:
    """Return float32 [N, N], the cosine of two items averaged over the features; 0 if an item lacks a feature."""
    return content_similarity({name: training.content[name] for name in features})


def ridge(similarity: np.ndarray, known: np.ndarray, targets: np.ndarray, regularization: float) -> np.ndarray:
    """Predict targets of all items by kernel ridge regression on their content.

    Args:
      similarity: [N, N] from `kernel`.
      known: bool [N], items with known targets.
      targets: float [known, d].
      regularization: added to the diagonal.

    Returns:
      float32 [N, d], K[:, known] (K[known, known] + regularization I)^-1 targets.
    """
    inner = similarity[np.ix_(known, known)].astype(np.float64)
    inner[np.diag_indices_from(inner)] += regularization
    return (similarity[:, known] @ np.linalg.solve(inner, targets)).astype(np.float32)


def knn(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Sum the content cosines with the items of the history.

    Parameters: features. Scoring options: last.
    """
    return item_item_factory(kernel(training, feature_names(training, params["features"])))


def user_ridge(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit a ridge regression per request on the content of the warm items.

    The target of an item is 1 if it is in the history and 0 otherwise; cold items have none. Parameters: features,
    regularization. Scoring options: last.
    """
    similarity = kernel(training, feature_names(training, params["features"]))
    warm = training.warm
    smoother = np.zeros((training.num_items, training.num_items), np.float32)
    smoother[warm] = ridge(similarity, warm, np.eye(int(warm.sum())), params["regularization"]).T
    return item_item_factory(smoother)
