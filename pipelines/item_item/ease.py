"""EASE: the linear item-item model with a closed form, with the items' content as side information."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = ["EaseSettings", "ease_weights"]


class EaseSettings(NamedTuple):
    """What the validation split chooses of an EASE model.

    Attributes:
      regularization: L2 regularization, in users.
      content_weight: how many common users a content similarity of 1 is worth; 0: content has no part.
    """

    regularization: float
    content_weight: float = 0.0


def ease_weights(train: sp.csr_matrix, ease: EaseSettings, content_similarity: np.ndarray | None = None) -> np.ndarray:
    """Ridge regression of every column of `train` on all others.

    With P = (X^T X + regularization I)^-1 it is B[i, j] = -P[i, j] / P[j, j] (Steck, 2019, "Embarrassingly shallow
    autoencoders for sparse data", arXiv:1905.03375). With the content similarity added to X^T X it must predict the
    items' content as well, as if each content term were one more user (Jeunen et al., 2020, "Closed-form models for
    collaborative filtering with side-information", RecSys).

    Args:
      train: float32 [users, N] of ones.
      ease: regularization and weight of the content.
      content_similarity: [N, N], positive semi-definite; only that of items with a training event counts. None: EASE
        without content.

    Returns:
      float32 [N, N] with a zero diagonal.
    """
    gram = (train.T @ train).toarray().astype(np.float64)
    if content_similarity is not None and ease.content_weight:
        warm = np.flatnonzero(gram.diagonal())
        gram[np.ix_(warm, warm)] += ease.content_weight * content_similarity[np.ix_(warm, warm)]
    gram[np.diag_indices_from(gram)] += ease.regularization
    inverse = np.linalg.inv(gram)
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights
