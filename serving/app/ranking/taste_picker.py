"""Preference elicitation: choose the items that a new user is asked about.

Facility location (Krause and Golovin, 2014, "Submodular function maximization"): the chosen set should be close to
everything that people choose, weighted by popularity. The greedy choice reaches at least 1 - 1/e of the optimum. The most
popular items alone are often of one kind and tell little more than one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pick_items(
    embeddings: np.ndarray, popularity: np.ndarray, known: Sequence[int], k: int, *, candidates: int, demand: int
) -> list[tuple[int, float]]:
    """Pick items by greedy facility location.

    Args:
      embeddings: float [N, D], unit length.
      popularity: float [N], training events; items without any are ignored.
      known: rows that the user already has events with; they cover the items near them.
      k: how many to pick.
      candidates: only this many of the most popular items can be picked, since users can only judge items they know.
      demand: only this many of the most popular items are to be covered, which bounds the work.

    Returns:
      (row, gain) in the order picked; the gain is the share of the popularity-weighted similarity that the item adds.
    """
    by_popularity = np.argsort(-popularity, kind="stable")
    by_popularity = by_popularity[popularity[by_popularity] > 0]
    rows = np.setdiff1d(by_popularity[:candidates], np.array(known, np.int64), assume_unique=True)
    demand_rows = by_popularity[:demand]
    if not len(rows):
        return []
    weight = popularity[demand_rows] / popularity[demand_rows].sum()
    similarity = np.maximum(embeddings[rows] @ embeddings[demand_rows].T, 0.0)
    coverage = np.zeros(len(demand_rows), similarity.dtype)
    if known:
        coverage = np.maximum(embeddings[list(known)] @ embeddings[demand_rows].T, 0.0).max(axis=0)
    picked: list[tuple[int, float]] = []
    available = np.ones(len(rows), bool)
    for _ in range(min(k, len(rows))):
        gain = np.where(available, np.maximum(similarity - coverage, 0.0) @ weight, -1.0)
        best = int(np.argmax(gain))
        picked.append((int(rows[best]), float(gain[best])))
        available[best] = False
        coverage = np.maximum(coverage, similarity[best])
    return picked
