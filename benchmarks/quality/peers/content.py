"""Peers that look at the items alone, and so know cold items as well as others: content kNN and content ridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.peers.base import Ask, Training, linear
from pipelines.item_item.content_similarity import content_similarity

ALL = "all"


def chosen(training: Training, features: str) -> list[str]:
    """The names of the features that a parameter means: one of them, several joined by "+", or "all"."""
    return list(training.content) if features == ALL else features.split("+")


def kernel(training: Training, features: Sequence[str]) -> np.ndarray:
    """float32 [N, N]: mean over the features of the cosine of two items; 0 for an item that lacks one."""
    return content_similarity({name: training.content[name] for name in features})


def ridge(similarity: np.ndarray, known: np.ndarray, targets: np.ndarray, regularization: float) -> np.ndarray:
    """Kernel ridge regression: what items are, from what items with the same looks are.

    Args:
      similarity: [N, N] from `kernel`.
      known: bool [N], items whose targets are known.
      targets: [known, d], their targets.
      regularization: added to the diagonal.

    Returns:
      float32 [N, d], K[:, known] (K[known, known] + regularization I)^-1 targets.
    """
    inner = similarity[np.ix_(known, known)].astype(np.float64)
    inner[np.diag_indices_from(inner)] += regularization
    return (similarity[:, known] @ np.linalg.solve(inner, targets)).astype(np.float32)


def knn(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """Sum of the content cosines to the items of the history. `params`: features; asked with last."""
    return linear(kernel(training, chosen(training, params["features"])))


def user_ridge(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """A ridge regression for each request: whether an item is in the history, on the content of the warm items.

    The items of a request's history are 1, the other warm ones 0, cold ones unknown. `params`: features, regularization;
    asked with last.
    """
    similarity = kernel(training, chosen(training, params["features"]))
    warm = training.warm
    smoother = np.zeros((training.num_items, training.num_items), np.float32)
    smoother[warm] = ridge(similarity, warm, np.eye(int(warm.sum())), params["regularization"]).T
    return linear(smoother)
