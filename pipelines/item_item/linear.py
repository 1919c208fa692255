"""The linear item-item model of a log: EASE, or for a large catalogue regressions on nearest neighbours."""

from __future__ import annotations

import copy

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.item_item.ease import Ease, EaseSettings
from pipelines.item_item.neighbour_regression import neighbour_regression
from pipelines.item_item.neighbours import item_similarities
from pipelines.item_item.sparse_top import Links, top_links
from pipelines.runs.progress import progress, say

__all__ = ["LinearModel"]


class LinearModel:
    """What several settings of the model share is computed once.

    Args:
      train: float32 [users, N], see `pipelines.item_item.model.training_matrix`.
      settings: section `hybrid`.
      content_similarity: see `Ease`; of no use above `linear_items` items.
    """

    def __init__(self, train: sp.csr_matrix, settings: HybridConfig, content_similarity: np.ndarray | None = None):
        self.train, self.settings = train, settings
        self.kept = settings.kept_links(train.shape[1])
        self.is_small = train.shape[1] <= settings.linear_items
        if self.is_small:
            self.ease = Ease(train, content_similarity)
        else:
            if self.kept < settings.neighbours:
                say(
                    f"hybrid.neighbours, hybrid.cold_links: {self.kept} links of each of {train.shape[1]:,} items at most, so "
                    "that a table of them takes at most 400 MB"
                )
            self.neighbours = item_similarities(train, shrinkage=settings.shrinkage, neighbours=self.kept)

    def with_content(self, content_similarity: np.ndarray | None, factors: sp.csr_matrix | None) -> LinearModel:
        """Return the model with other content of the same items; what it has counted in the log is shared.

        Args:
          content_similarity, factors: see `Ease.with_content`.
        """
        result = copy.copy(self)
        if self.is_small:
            result.ease = self.ease.with_content(content_similarity, factors)
        return result

    def links(self, ease: EaseSettings, items: np.ndarray | None = None, rows: np.ndarray | None = None) -> Links:
        """Fit, and keep the largest weights of each item: of EASE, above `linear_items` items of `neighbour_regression`.

        Args:
          ease: the content weight is of no use above `linear_items` items.
          items: int64, where it is enough to know the links to these, which may save time; None: all.
          rows: int64 [R], the items whose links are returned; None: all.
        """
        if not self.is_small:
            weights = neighbour_regression(self.train, self.neighbours, ease.regularization, items)
            return top_links(weights if rows is None else weights[rows], self.kept)
        with progress("linear item-item model", "steps") as advance:
            advance(0, 2)
            dense = self.ease.weights(ease)
            advance(1, 2)
            return top_links(sp.csr_matrix(dense if rows is None else dense[rows]), self.kept)
