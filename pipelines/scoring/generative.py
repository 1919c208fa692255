"""The generative head as a scorer of held-out requests: the same search that the signature `generate` does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries
from towers.semantic.decoder import BeamSearch, CodeTree
from towers.two_tower import TwoTower

__all__ = ["GenerativeScorer", "beam_search"]


def beam_search(model: TwoTower, codes: np.ndarray | None, width: int) -> BeamSearch | None:
    """Make the beam search over the items with these codes, int32 [N, T]; None for a model without a generative head."""
    if model.decoder is None or codes is None:
        return None
    return BeamSearch(model.decoder, CodeTree.of(codes, model.decoder.num_codes), width)


class GenerativeScorer:
    """Log-probabilities of the items that the beam search finds.

    Args:
      scorer: of the same requests over the same items; only its query embeddings are used.
      search: query embeddings float [B, D] -> items int32 [B, W], -1 = none, and their scores float [B, W].
    """

    def __init__(self, scorer: ModelScorer, search: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]):
        self.scorer = scorer
        self._search = tf.function(lambda queries: search(queries), autograph=False, reduce_retracing=True)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores float32 [q, N] of a slice of the requests, -inf for items that were not found."""
        items, scores = (value.numpy() for value in self._search(self.scorer.query_embeddings(queries)))
        result = np.full([len(queries), len(self.scorer.item_embeddings)], -np.inf, np.float32)
        row, place = np.nonzero(items >= 0)
        result[row, items[row, place]] = scores[row, place]
        return result
