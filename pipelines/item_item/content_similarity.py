"""How alike items are by their plain content. Without TensorFlow: peers of the benchmarks ask it as well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp


def likeness(contents: Mapping[str, sp.csr_matrix]) -> np.ndarray:
    """float32 [N, N]: mean over the features of the cosine of two items, 0 where one lacks the feature.

    Args:
      contents: feature -> csr [N, d] with rows of length 1 or 0; at least one.
    """
    total = np.zeros(2 * [next(iter(contents.values())).shape[0]], np.float32)
    for feature in contents.values():
        total += (feature @ feature.T).toarray()
    return total / len(contents)
