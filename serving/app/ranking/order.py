"""The order of what a model found: taste, less of a kind, diversity. Pure."""

from __future__ import annotations

import numpy as np


def adjusted(
    scores: np.ndarray,
    vectors: np.ndarray,
    taste: np.ndarray | None,
    taste_weight: float,
    unwanted: np.ndarray,
    unwanted_weight: float,
) -> np.ndarray:
    """Scores [n] with what the long-term taste adds and what nearness to unwanted items takes away.

    Args:
      scores: float [n], the model's logits.
      vectors: float [n, D], unit embeddings of the items.
      taste: float [D], unit length; None: nothing is known.
      taste_weight: logits for a cosine of 1.
      unwanted: float [u, D], unit embeddings of items of which less is wanted.
      unwanted_weight: logits for a cosine of 1 with the nearest of them; a negative cosine takes nothing away.
    """
    result = scores.astype(np.float64)
    if taste is not None:
        result = result + taste_weight * (vectors @ taste)
    if len(unwanted):
        result = result - unwanted_weight * np.maximum((vectors @ unwanted.T).max(axis=1), 0.0)
    return result


def diverse(scores: np.ndarray, vectors: np.ndarray, diversity: float, k: int) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998), as the model's own `diversity` has it; here because
    it must come after taste and rules.

    Args:
      scores: float [n].
      vectors: float [n, D], unit embeddings.
      diversity: 0 (best scores first) to 1.
      k: how many to take.

    Returns:
      int64 [min(k, n)], positions in the order taken; equal gains in the order given.
    """
    if diversity <= 0 or len(scores) < 2:
        return np.argsort(-scores, kind="stable")[:k]
    span = scores.max() - scores.min()
    relevance = (scores - scores.min()) / span if span > 0 else np.zeros(len(scores))
    nearest, left, taken = np.zeros(len(scores)), np.ones(len(scores), bool), []
    for _ in range(min(k, len(scores))):
        gain = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        taken.append(best)
        left[best] = False
        similarity = vectors @ vectors[best]
        nearest = similarity if len(taken) == 1 else np.maximum(nearest, similarity)
    return np.array(taken, np.int64)
