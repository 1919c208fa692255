"""Which items a newcomer is asked about: those whose answers say most about the others. Pure.

Facility location (Krause and Golovin, 2014, "Submodular function maximization"): the set that comes closest to everything
people take, each item of the catalogue weighed by its popularity. The greedy choice is within 1 - 1/e of the best one. The
most popular items alone are often of one kind, and say the same thing several times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pick(
    vectors: np.ndarray, popularity: np.ndarray, known: Sequence[int], k: int, *, candidates: int, demand: int
) -> list[tuple[int, float]]:
    """Greedy facility location.

    Args:
      vectors: float [N, D], unit embeddings.
      popularity: float [N], training events; items without any are neither asked about nor weighed.
      known: rows that the user has said something about already: they cover what is near them.
      k: how many to pick.
      candidates: only that many of the most popular may be picked: who does not know an item cannot tell.
      demand: only that many of the most popular are to be covered, which bounds the work.

    Returns:
      (row, gain) in the order picked; the gain is the share of all popularity-weighted likeness that the item adds.
    """
    by_popularity = np.argsort(-popularity, kind="stable")
    by_popularity = by_popularity[popularity[by_popularity] > 0]
    rows = np.setdiff1d(by_popularity[:candidates], np.array(known, np.int64), assume_unique=True)
    covered = by_popularity[:demand]
    if not len(rows):
        return []
    weight = popularity[covered] / popularity[covered].sum()
    likeness = np.maximum(vectors[rows] @ vectors[covered].T, 0.0)
    there = np.zeros(len(covered), likeness.dtype)
    if known:
        there = np.maximum(vectors[list(known)] @ vectors[covered].T, 0.0).max(axis=0)
    picked: list[tuple[int, float]] = []
    left = np.ones(len(rows), bool)
    for _ in range(min(k, len(rows))):
        gain = np.where(left, np.maximum(likeness - there, 0.0) @ weight, -1.0)
        best = int(np.argmax(gain))
        picked.append((int(rows[best]), float(gain[best])))
        left[best] = False
        there = np.maximum(there, likeness[best])
    return picked
