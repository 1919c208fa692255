"""What a new item borrows: how much of the figures of each known item is its own, by their content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig

__all__ = ["Loans", "loans", "nearest_shares", "ridge_shares"]


@dataclass(frozen=True)
class Loans:
    """Who borrows from whom.

    Attributes:
      known, new: int64 [S], [R], positions of the items that were, and were not, seen in training; together all items.
      shares: float32 [R, S], of each known item in each new one.
    """

    known: np.ndarray
    new: np.ndarray
    shares: np.ndarray | sp.csr_matrix

    def with_ids(self, table: np.ndarray, content_only: np.ndarray) -> np.ndarray:
        """float32 [N, D]: embeddings in which new items have the id embedding that content foretells.

        What the id adds to the embedding of the known items is a figure like any other. (A factor model's factors are
        foretold so by Gantner et al., 2010, "Learning attribute-to-feature mappings for cold-start recommendations".)

        Args:
          table: float32 [N, D], of new items by content alone.
          content_only: float32 [N, D], of all items by content alone.
        """
        result = table.copy()
        result[self.new] += self.shares @ (table[self.known] - content_only[self.known])
        return result


def loans(
    known: np.ndarray,
    new: np.ndarray,
    likeness: np.ndarray | None,
    embeddings: np.ndarray,
    settings: HybridConfig,
) -> Loans:
    """By ridge regression on plain content; by the nearest embeddings where there is none, or are too many known items.

    Args:
      known, new: int64 [S], [R], positions among N items.
      likeness: see `pipelines.item_item.content_similarity.likeness`; None where there is none.
      embeddings: float32 [N, D], by content alone.
    """
    if not len(new) or not len(known):
        return Loans(known, new, np.zeros([len(new), len(known)], np.float32))
    if likeness is not None:
        return Loans(known, new, ridge_shares(likeness, new, known, settings.content_regularization))
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return Loans(known, new, nearest_shares(unit[new], unit[known], min(settings.nearest, len(known))))


def ridge_shares(likeness: np.ndarray, new: np.ndarray, known: np.ndarray, regularization: float) -> np.ndarray:
    """Kernel ridge regression from content: what a figure of a new item is, from that of every known one.

    K[new, known] (K[known, known] + regularization I)^-1, with K the likeness. The best prediction of a
    Gaussian process with that covariance (Rasmussen and Williams, 2006, "Gaussian processes for machine learning",
    section 2.2): an item like no other gets nothing, and what its neighbours agree on counts once.

    Args:
      likeness: [N, N], see `pipelines.item_item.content_similarity.likeness`.
      new, known: int64 [R], [S], positions of items.
      regularization: variance of what content does not say, in units of what it says.

    Returns:
      float32 [R, S].
    """
    inner = likeness[np.ix_(known, known)].astype(np.float64)
    inner[np.diag_indices_from(inner)] += regularization
    return np.linalg.solve(inner, likeness[np.ix_(known, new)]).T.astype(np.float32)


def nearest_shares(new: np.ndarray, known: np.ndarray, nearest: int) -> sp.csr_matrix:
    """Of each new item the `nearest` known ones, by their cosine, with shares that sum to 1; for catalogues without
    content, or too large for `ridge_shares`.

    Args:
      new, known: float32 [R, D], [S, D], embeddings of length 1.

    Returns:
      float32 [R, S].
    """
    parts = []
    for start in range(0, len(new), 1024):
        cosine = np.maximum(new[start : start + 1024] @ known.T, 0.0) + 1e-6
        best = np.argpartition(-cosine, nearest - 1, axis=1)[:, :nearest]
        share = np.take_along_axis(cosine, best, axis=1)
        share /= share.sum(axis=1, keepdims=True)
        pointers = np.arange(0, best.size + 1, nearest)
        parts.append(sp.csr_matrix((share.ravel(), best.ravel(), pointers), shape=cosine.shape))
    return sp.vstack(parts, format="csr", dtype=np.float32)
