"""The catalogue's content as it is, nothing learned: one sparse row of length 1 an item and feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecs.reading.features import features_for
from tfrecs.reading.reader import Catalogue, item_features
from tfrecs.schema import Schema

__all__ = ["contents", "standardised", "tf_idf"]

_BATCH = 256


def _unit(rows: sp.csr_matrix) -> sp.csr_matrix:
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return sp.csr_matrix(sp.diags(1.0 / np.where(norms > 0, norms, 1.0)) @ rows, dtype=np.float32)


def tf_idf(documents: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """float32 csr [N, terms], rows of length 1: (1 + log count) * (1 + log((1 + N) / (1 + documents with the term))).

    Terms of one document only are left out: they tell it from all others and likens it to none. Terms are in order.
    """
    counted = [Counter(document) for document in documents]
    frequency = Counter(term for counts in counted for term in counts)
    terms = sorted(term for term, count in frequency.items() if count > 1)
    place = {term: column for column, term in enumerate(terms)}
    weight = {term: 1.0 + np.log((1.0 + len(counted)) / (1.0 + frequency[term])) for term in terms}
    entries = [
        (row, place[term], (1.0 + np.log(count)) * weight[term])
        for row, counts in enumerate(counted)
        for term, count in counts.items()
        if term in place
    ]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return _unit(sp.csr_matrix((np.array(values, float), (rows, columns)), shape=(len(counted), len(terms))))


def standardised(values: np.ndarray, presence: np.ndarray) -> sp.csr_matrix:
    """float32 csr [N, d]: each column in units of its deviation over the present items, then rows of length 1.

    Without the standardising, the cosine of two items would be near 1 for all: what every item has says nothing.
    """
    values = np.asarray(values, np.float64)
    there = values[presence]
    if not len(there):
        return sp.csr_matrix(values.shape, dtype=np.float32)
    deviation = there.std(axis=0)
    scaled = (values - there.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return _unit(sp.csr_matrix(scaled * presence[:, None]))


def contents(schema: Schema, catalogue: Catalogue) -> dict[str, sp.csr_matrix]:
    """Item feature -> float32 csr [N, d]: what its kind says of plain content, TF-IDF of terms and standardised numbers."""
    features = {feature.name: feature for feature in features_for(schema.items)}
    found: dict[str, list[Any]] = {name: [] for name in features}
    there = []
    for start in range(0, len(catalogue), _BATCH):
        values, presence = item_features(schema, catalogue.serialized[start : start + _BATCH])
        there.append(presence.numpy())
        for name, feature in features.items():
            found[name].append(feature.content(values[name].numpy()))
    presence = np.concatenate(there) if there else np.zeros([0, len(features)], bool)
    described = {}
    for column, (name, parts) in enumerate(found.items()):
        if not parts or any(part is None for part in parts):
            continue  # A kind that has no plain content to show.
        if isinstance(parts[0], np.ndarray):
            described[name] = standardised(np.concatenate(parts), presence[:, column])
        else:
            described[name] = tf_idf([terms for part in parts for terms in part])
    return described
