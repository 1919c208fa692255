"""EASE: the linear item-to-item model with a closed form. Steck, "Embarrassingly shallow autoencoders", WWW 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.peers.base import Ask, Training, linear


def weights(matrix: sp.csr_matrix, regularization: float) -> np.ndarray:
    """float32 [N, N] with a zero diagonal: the ridge regression of every column of `matrix` [U, N] on all others.

    With P = (X^T X + regularization I)^-1 it is B[i, j] = -P[i, j] / P[j, j].
    """
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    result = -inverse / np.diag(inverse)
    np.fill_diagonal(result, 0.0)
    return result.astype(np.float32)


def fit(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """`params`: regularization; asked with last (events of the history that count; None: all)."""
    return linear(weights(training.matrix, params["regularization"]))
