"""The linear item-item model of a log: EASE, or for a large catalogue item-kNN."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.item_item.ease import Ease, EaseSettings
from pipelines.item_item.neighbours import item_similarities
from pipelines.item_item.sparse_top import Links, top_links
from pipelines.runs.progress import progress

__all__ = ["LinearModel"]


class LinearModel:
    """What several settings of the model share is computed once.

    Args:
      train: float32 [users, N], see `pipelines.item_item.model.training_matrix`.
      settings: section `hybrid`.
      content_similarity: see `Ease`; of no use above `linear_items` items.
    """

    def __init__(self, train: sp.csr_matrix, settings: HybridConfig, content_similarity: np.ndarray | None = None):
        self.settings, self.is_small = settings, train.shape[1] <= settings.linear_items
        self.ease = Ease(train, content_similarity) if self.is_small else None
        self.neighbours = None if self.is_small else _neighbours(train, settings)

    def links(self, ease: EaseSettings) -> Links:
        """Fit, and keep the largest weights of each item; above `linear_items` items its item-kNN similarities."""
        if self.ease is None:
            return top_links(self.neighbours, self.settings.neighbours)
        with progress("linear item-item model", "steps") as advance:
            advance(0, 2)
            weights = self.ease.weights(ease)
            advance(1, 2)
            return top_links(sp.csr_matrix(weights), self.settings.neighbours)


def _neighbours(train: sp.csr_matrix, settings: HybridConfig) -> sp.csr_matrix:
    return item_similarities(train, shrinkage=settings.shrinkage, neighbours=settings.neighbours)
