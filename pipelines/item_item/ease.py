"""EASE: the linear item-item model with a closed form, with the items' content as side information."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from tfrecs.errors import DataError

__all__ = ["Ease", "EaseSettings", "ease_weights"]


class EaseSettings(NamedTuple):
    """What the validation split chooses of an EASE model.

    Attributes:
      regularization: L2 regularization, in users.
      content_weight: how many common users a content similarity of 1 is worth; 0: content has no part.
    """

    regularization: float
    content_weight: float = 0.0


class Ease:
    """Ridge regression of every item's column on all others: what several settings share is computed once.

    Args:
      train: float32 [users, N] of ones.
      content_similarity: [N, N], positive semi-definite; only that of items with a training event counts. None: EASE
        without content.
    """

    def __init__(self, train: sp.csr_matrix, content_similarity: np.ndarray | None = None):
        self.gram = (train.T @ train).toarray().astype(np.float64)
        self.similarity = content_similarity
        self._factors: sp.csr_matrix | None = None
        self._inverses: dict[float, np.ndarray] = {}  # of the log alone, by regularization; shared with `with_content`

    def with_content(self, content_similarity: np.ndarray | None, factors: sp.csr_matrix | None) -> Ease:
        """Return the model with other content of the same items, which costs no inverse of its own where it can.

        Args:
          content_similarity: see `Ease`.
          factors: float [N, d] with F F^T = content_similarity; None: unknown.
        """
        result = copy.copy(self)
        result.similarity, result._factors = content_similarity, None
        if factors is not None:
            factors = factors[:, np.flatnonzero(factors.getnnz(axis=0))]  # a modality that is left out has none
            # An update costs 2 N^2 d multiply-adds, an inverse N^3.
            result._factors = factors if factors.shape[1] <= len(self.gram) // 4 else None
        return result

    def weights(self, ease: EaseSettings) -> np.ndarray:
        """Solve for one setting.

        With P = (X^T X + regularization I)^-1 it is B[i, j] = -P[i, j] / P[j, j] (Steck, 2019, "Embarrassingly shallow
        autoencoders for sparse data", arXiv:1905.03375). With the content similarity added to X^T X it must predict the
        items' content as well, as if each content term were one more user (Jeunen et al., 2020, "Closed-form models for
        collaborative filtering with side-information", RecSys).

        Args:
          ease: regularization and weight of the content.

        Returns:
          float32 [N, N] with a zero diagonal.

        Raises:
          DataError: the regularization is too small for a solution.
        """
        if self._factors is not None and ease.content_weight:
            inverse = self._updated_inverse(self._factors, ease)
        else:
            gram = self.gram.copy()
            if self.similarity is not None and ease.content_weight:
                warm = np.flatnonzero(self.gram.diagonal())
                gram[np.ix_(warm, warm)] += ease.content_weight * self.similarity[np.ix_(warm, warm)]
            inverse = _inverse(gram, ease.regularization)
        weights = np.triu(inverse, 1)
        weights += np.triu(inverse, 1).T
        weights /= -inverse.diagonal()
        return weights.astype(np.float32)

    def _updated_inverse(self, factors: sp.csr_matrix, ease: EaseSettings) -> np.ndarray:
        """The inverse with content, from that of the log alone, by the identity of Sherman, Morrison and Woodbury."""
        if ease.regularization not in self._inverses:
            half = _inverse(self.gram.copy(), ease.regularization)
            self._inverses[ease.regularization] = np.triu(half) + np.triu(half, 1).T
        inverse = self._inverses[ease.regularization]
        content = factors.toarray().astype(np.float64)
        content[self.gram.diagonal() == 0] = 0.0
        solved = inverse @ content
        small = content.T @ solved
        small[np.diag_indices_from(small)] += 1.0 / ease.content_weight
        return inverse - solved @ np.linalg.solve(small, solved.T)


def _inverse(gram: np.ndarray, regularization: float) -> np.ndarray:
    """Upper half of the inverse of `gram` float64 [N, N], which is overwritten, with the regularization on its diagonal."""
    gram[np.diag_indices_from(gram)] += regularization
    # By Cholesky, a half of the arithmetic of a general inverse. One eigendecomposition for all regularizations takes
    # as long as seven of these, and what each regularization then still takes is as long as one of these.
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise DataError(
            f"EASE has no solution with the regularization {regularization:g}: --set hybrid.regularizations to "
            "larger numbers"
        )
    # Symmetric, and half of it filled: in the order of C that is the upper half.
    return np.asarray(lapack.dpotri(factor, lower=1, overwrite_c=1)[0].T)


def ease_weights(train: sp.csr_matrix, ease: EaseSettings, content_similarity: np.ndarray | None = None) -> np.ndarray:
    """Return the weights of one setting, see `Ease`."""
    return Ease(train, content_similarity).weights(ease)
