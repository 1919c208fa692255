"""Cold start: predicts what nothing could be counted of for an item from the items with similar content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from pipelines.config import HybridConfig
from pipelines.runs.progress import progress

__all__ = ["ColdStart", "nearest_coefficients", "ridge_coefficients"]

_BLOCK = 4096  # cold items between two notes of progress


@dataclass(frozen=True)
class ColdStart:
    """A linear map from values of warm items to values of cold ones.

    Attributes:
      warm: int64 [S], positions of the items with training events.
      cold: int64 [R], positions of the items without; together all items.
      coefficients: float32 [R, S], dense or csr; rows of zeros for items that nothing is known of.
    """

    warm: np.ndarray
    cold: np.ndarray
    coefficients: np.ndarray | sp.csr_matrix

    @classmethod
    def fit(
        cls,
        is_cold: np.ndarray,
        content_similarity: np.ndarray | None,
        content_embeddings: np.ndarray,
        settings: HybridConfig,
    ) -> ColdStart:
        """Fit a ridge regression on plain content, or the nearest embeddings where there is no similarity matrix.

        Args:
          is_cold: bool [N].
          content_similarity: float32 [N, N]; None where items have no plain content or are too many to compare.
          content_embeddings: float32 [N, D], embeddings by content alone.
          settings: `content_regularization` and `nearest`.
        """
        warm, cold = np.flatnonzero(~is_cold), np.flatnonzero(is_cold)
        if not len(cold) or not len(warm):
            return cls(warm, cold, np.zeros([len(cold), len(warm)], np.float32))
        if content_similarity is not None:
            return cls(warm, cold, ridge_coefficients(content_similarity, warm, cold, settings.content_regularization))
        nearest = min(settings.nearest, len(warm))
        return cls(warm, cold, nearest_coefficients(content_embeddings[warm], content_embeddings[cold], nearest))

    def complete_embeddings(self, item_embeddings: np.ndarray, content_embeddings: np.ndarray) -> np.ndarray:
        """Add predicted id embeddings to the embeddings of cold items.

        What the id adds to the embedding of a warm item is predicted like any other value (as factors are by Gantner et
        al., 2010, "Learning attribute-to-feature mappings for cold-start recommendations"). An item without events and
        without content is the mean of the warm ones.

        Args:
          item_embeddings: float32 [N, D], of cold items by content alone.
          content_embeddings: float32 [N, D], of all items by content alone.

        Returns:
          float32 [N, D].
        """
        result = item_embeddings.copy()
        of_ids = item_embeddings[self.warm]
        of_ids -= content_embeddings[self.warm]
        result[self.cold] += self.coefficients @ of_ids
        # The zero vector would be better or worse than all others, as the signs of their scores are.
        unknown = self.cold[~content_embeddings[self.cold].any(axis=1)]
        if len(unknown) and len(self.warm):
            result[unknown] = item_embeddings[self.warm].mean(axis=0)
        return result


def ridge_coefficients(similarity: np.ndarray, warm: np.ndarray, cold: np.ndarray, regularization: float) -> np.ndarray:
    """Coefficients of a kernel ridge regression: K[cold, warm] (K[warm, warm] + regularization I)^-1.

    The mean of a Gaussian process with covariance K (Rasmussen and Williams, 2006, "Gaussian processes for machine
    learning", section 2.2): an item that is similar to none gets 0, and what its neighbours agree on counts once.

    Args:
      similarity: [N, N], the kernel K.
      warm, cold: int64 [S], [R], positions of items.
      regularization: variance of what content cannot predict, in units of what it can.

    Returns:
      float32 [R, S].
    """
    # Not sklearn's KernelRidge: its coefficients are of targets known beforehand, and to get these it would have to
    # solve for S columns instead of R, the few cold items.
    kernel = similarity[np.ix_(warm, warm)].astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += regularization
    return np.linalg.solve(kernel, similarity[np.ix_(warm, cold)]).T.astype(np.float32)


def nearest_coefficients(warm_embeddings: np.ndarray, cold_embeddings: np.ndarray, nearest: int) -> sp.csr_matrix:
    """Cosines of each cold item to its `nearest` warm ones, over their sum.

    Args:
      warm_embeddings: float32 [S, D].
      cold_embeddings: float32 [R, D].
      nearest: at most S.

    Returns:
      float32 csr [R, S], rows that sum to 1, or to 0 for a cold item without content, which is near to none.
    """
    shape = (len(cold_embeddings), len(warm_embeddings))
    has_content = cold_embeddings.any(axis=1)
    if not has_content.any():
        return sp.csr_matrix(shape, dtype=np.float32)
    # The nearest by cosine are those by distance on the unit sphere, which scikit-learn finds without a dense [R, S].
    index = NearestNeighbors(n_neighbors=nearest, algorithm="brute").fit(normalize(warm_embeddings))
    distance, column = np.empty((shape[0], nearest)), np.empty((shape[0], nearest), np.int64)
    with progress("nearest items of cold ones", "items") as advance:
        for start in range(0, shape[0], _BLOCK):
            rows = slice(start, start + _BLOCK)
            distance[rows], column[rows] = index.kneighbors(normalize(cold_embeddings[rows]))
            advance(min(start + _BLOCK, shape[0]), shape[0])
    cosine = np.maximum(1.0 - distance**2 / 2, 0.0) + 1e-6
    cosine *= has_content[:, None] / cosine.sum(axis=1, keepdims=True)
    splits = np.arange(0, column.size + 1, nearest)
    return sp.csr_matrix((cosine.ravel(), column.ravel(), splits), shape=shape, dtype=np.float32)
