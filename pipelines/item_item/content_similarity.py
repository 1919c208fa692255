"""Similarity of items by their plain content: TF-IDF of terms and standardised numbers, nothing learned.

Without TensorFlow, so that the peers of the benchmarks can import it in environments of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

__all__ = ["content_factors", "content_similarity", "standardised", "tf_idf"]


def tf_idf(documents: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """TF-IDF vectors with sublinear term frequency: (1 + log count) * (1 + log((1 + N) / (1 + document frequency))).

    Terms of one document only are left out: they say nothing about the similarity of two documents.

    Args:
      documents: N lists of terms.

    Returns:
      float32 csr [N, terms], rows of length 1 or 0, terms in order.
    """
    frequency = Counter(term for document in documents for term in set(document))
    vocabulary = sorted(term for term, count in frequency.items() if count > 1)
    if not vocabulary:
        return sp.csr_matrix((len(documents), 0), dtype=np.float32)
    vectorizer = TfidfVectorizer(
        analyzer=lambda document: document, vocabulary=vocabulary, lowercase=False, sublinear_tf=True
    )
    return sp.csr_matrix(vectorizer.fit_transform(documents), dtype=np.float32)


def standardised(values: np.ndarray, presence: np.ndarray) -> sp.csr_matrix:
    """Scale each column to zero mean and unit deviation over the present items, then each row to length 1.

    Without it the cosine of two items would be near 1 for all of them, because of what all items share.

    Args:
      values: float [N, d].
      presence: bool [N], items that have the feature.

    Returns:
      float32 csr [N, d]; rows of zeros for missing items.
    """
    values = np.asarray(values, np.float64)
    present = values[presence]
    if not len(present):
        return sp.csr_matrix(values.shape, dtype=np.float32)
    deviation = present.std(axis=0)
    scaled = (values - present.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return sp.csr_matrix(normalize(scaled * presence[:, None]), dtype=np.float32)


def content_similarity(features: Mapping[str, sp.csr_matrix]) -> np.ndarray:
    """Mean over the features of the cosine of two items; a feature that one of them lacks counts as 0.

    Args:
      features: feature -> float32 csr [N, d] with rows of length 1 or 0; at least one.

    Returns:
      float32 [N, N].
    """
    num_items = next(iter(features.values())).shape[0]
    total = np.zeros((num_items, num_items), np.float32)
    for rows in features.values():
        total += (rows @ rows.T).toarray()
    return total / len(features)


def content_factors(features: Mapping[str, sp.csr_matrix]) -> sp.csr_matrix:
    """Return F, float32 csr [N, d], with F F^T = `content_similarity(features)`."""
    return sp.hstack(list(features.values()), "csr") / np.sqrt(len(features))
