"""The catalogue's content as it is, nothing learned: one sparse row of length 1 an item and feature."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from tfrecs.reader import Catalogue, item_features
from tfrecs.schema import Schema

__all__ = ["contents", "standardised", "tf_idf"]

_WORD = re.compile(r"\w\w+")
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


def _words(values: np.ndarray) -> list[list[str]]:
    return [_WORD.findall(text.decode().lower()) for text in values]


def _categories(values: np.ndarray) -> list[list[str]]:
    return [[one.decode() for one in row if one] for row in values]


def looks(pixels: np.ndarray) -> np.ndarray:
    """float [B, 4 * 4 * 4 + 4 * 4 * 9]: colours and edges of pictures [B, S, S, 3] with values of 0 to 255.

    A histogram of colours, four steps a channel, and histograms of oriented gradients over a grid of 4 x 4 cells, nine
    directions each (Dalal and Triggs, CVPR 2005), both of sum 1.
    """
    pixels = np.asarray(pixels, np.float64)
    count, side = pixels.shape[:2]
    steps = np.minimum(pixels // 64, 3).astype(int)
    colour = steps[..., 0] * 16 + steps[..., 1] * 4 + steps[..., 2]
    down, across = np.gradient(pixels.mean(axis=-1), axis=(1, 2))
    strength = np.hypot(down, across)
    direction = np.minimum((np.arctan2(down, across) % np.pi) / np.pi * 9, 8).astype(int)
    cell = np.arange(side) * 4 // side
    edge = (cell[:, None] * 4 + cell[None, :]) * 9 + direction
    result = np.zeros((count, 64 + 144))
    for row in range(count):
        result[row, :64] = np.bincount(colour[row].ravel(), minlength=64) / side**2
        edges = np.bincount(edge[row].ravel(), strength[row].ravel(), minlength=144)
        result[row, 64:] = edges / max(edges.sum(), 1e-9)
    return result


def sounds(waves: np.ndarray) -> np.ndarray:
    """float [B, 64]: mean and deviation over time of the log power in 32 bands, log-spaced, of waves [B, samples]."""
    window, hop, bands = 1024, 512, 32
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(waves, np.float32), window, axis=1)[:, ::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    edges = np.unique(np.geomspace(2, power.shape[-1], bands + 1).astype(int))
    banded = np.log(np.add.reduceat(power, edges[:-1], axis=-1) + 1e-6)
    return np.concatenate([banded.mean(axis=1), banded.std(axis=1)], axis=1)


_DENSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "image": looks,
    "audio": sounds,
    "vector": lambda values: values,
    "number": lambda values: values.reshape(len(values), -1),
}
_TERMS: dict[str, Callable[[np.ndarray], list[list[str]]]] = {"text": _words, "categories": _categories}


def contents(schema: Schema, catalogue: Catalogue) -> dict[str, sp.csr_matrix]:
    """Item feature -> float32 csr [N, d]: TF-IDF of words and categories, pictures and sounds by plain statistics."""
    terms: dict[str, list[list[str]]] = {feature.name: [] for feature in schema.items if feature.kind in _TERMS}
    dense: dict[str, list[np.ndarray]] = {feature.name: [] for feature in schema.items if feature.kind in _DENSE}
    there = []
    for start in range(0, len(catalogue), _BATCH):
        values, presence = item_features(schema, catalogue.serialized[start : start + _BATCH])
        there.append(presence.numpy())
        for feature in schema.items:
            value = values[feature.name].numpy()
            if feature.kind in _TERMS:
                terms[feature.name] += _TERMS[feature.kind](value)
            elif feature.kind in _DENSE:
                dense[feature.name].append(_DENSE[feature.kind](value))
    presence = np.concatenate(there) if there else np.zeros([0, len(schema.items)], bool)
    column = {name: presence[:, place] for place, name in enumerate(schema.modalities)}
    return {
        feature.name: tf_idf(terms[feature.name])
        if feature.kind in _TERMS
        else standardised(np.concatenate(dense[feature.name]), column[feature.name])
        for feature in schema.items
        if feature.kind in _TERMS or feature.kind in _DENSE
    }
