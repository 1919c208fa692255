"""Reranking of candidates: long-term taste, unwanted kinds and diversity. Pure functions of NumPy arrays."""

from __future__ import annotations

import numpy as np


def adjust_scores(
    scores: np.ndarray,
    embeddings: np.ndarray,
    taste: np.ndarray | None,
    taste_weight: float,
    unwanted: np.ndarray,
    unwanted_weight: float,
) -> np.ndarray:
    """Raise scores by closeness to the long-term taste and lower them by closeness to unwanted items.

    Args:
      scores: float [n], the model's logits.
      embeddings: float [n, D], unit length.
      taste: float [D], unit length; None if unknown.
      taste_weight: logits per unit of cosine with the taste.
      unwanted: float [u, D], unit embeddings of unwanted items.
      unwanted_weight: logits per unit of cosine with the nearest unwanted item; negative cosines count as 0.

    Returns:
      float64 [n].
    """
    adjusted = scores.astype(np.float64)
    if taste is not None:
        adjusted = adjusted + taste_weight * (embeddings @ taste)
    if len(unwanted):
        adjusted = adjusted - unwanted_weight * np.maximum((embeddings @ unwanted.T).max(axis=1), 0.0)
    return adjusted


def maximal_marginal_relevance(scores: np.ndarray, embeddings: np.ndarray, diversity: float, k: int) -> np.ndarray:
    """Select k candidates by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Greedily takes the candidate with the largest `(1 - diversity) * relevance - diversity * similarity`, where
    relevance is the score scaled to [0, 1] and similarity the largest cosine with the candidates already taken. It is
    the NumPy counterpart of `serving.graph.selection.diversify`.

    Args:
      scores: float [n].
      embeddings: float [n, D], unit length.
      diversity: from 0, which sorts by score, to 1.
      k: how many to select.

    Returns:
      int64 [min(k, n)], positions in the order of selection; ties go to the earlier position.
    """
    if diversity <= 0 or len(scores) < 2:
        return np.argsort(-scores, kind="stable")[:k]
    span = scores.max() - scores.min()
    relevance = (scores - scores.min()) / span if span > 0 else np.zeros(len(scores))
    similarity = np.zeros(len(scores))
    available = np.ones(len(scores), bool)
    selected: list[int] = []
    for _ in range(min(k, len(scores))):
        gain = np.where(available, (1 - diversity) * relevance - diversity * similarity, -np.inf)
        best = int(np.argmax(gain))
        cosines = embeddings @ embeddings[best]
        similarity = np.maximum(similarity, cosines) if selected else cosines
        selected.append(best)
        available[best] = False
    return np.array(selected, np.int64)
