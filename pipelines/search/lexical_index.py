"""The lexical half of text search: BM25-like impacts of hashed terms, in Python as `serving.graph.lexical` in the graph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.config import SearchConfig
from serving.graph.lexical import Postings
from towers.terms import KINDS, extract_terms, unique_terms

__all__ = ["LexicalIndex", "LexicalModel", "saturated", "term_counts"]

_BLOCK = 1024  # texts whose terms are extracted at a time


@dataclass(frozen=True)
class LexicalModel:
    """Fitted weights of the terms of text queries; see `pipelines.search.lexical_fit`. V terms.

    Attributes:
      settings: section `search`.
      weights: float32 [V], of each term.
      lengths: float64 [kinds], mean number of terms of each kind in a text.
      dense_weight: of the towers' score beside the lexical one.
      semantic_weight: of a `SemanticIndex`'s cosines; 0 where there is none.
    """

    settings: SearchConfig
    weights: np.ndarray
    lengths: np.ndarray
    dense_weight: float
    semantic_weight: float = 0.0

    def terms(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Extract the terms of texts, none twice in a text; in plain TensorFlow ops, for the graph.

        Args:
          texts: string [B].

        Returns:
          row, term int64 [P].
        """
        return unique_terms(*_extract(texts, self.settings), len(KINDS) * self.settings.buckets)

    def index(self, texts: Sequence[str]) -> LexicalIndex:
        """Index the texts of N items, "" = none."""
        impacts = saturated(term_counts(texts, self.settings), self.lengths, self.settings)
        impacts = (impacts @ sp.diags(self.weights)).tocsr()
        impacts.eliminate_zeros()
        return LexicalIndex(self, impacts.astype(np.float32))

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        temporary = path.with_name(f".{path.name}")
        settings = self.settings.model_dump_json()
        factors = {"dense": self.dense_weight, "semantic": self.semantic_weight}
        np.savez(temporary, weights=self.weights, lengths=self.lengths, settings=settings, **factors)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> LexicalModel:
        """Read a file that `save` wrote."""
        with np.load(path) as file:
            settings = SearchConfig.model_validate_json(str(file["settings"]))
            semantic = float(file["semantic"]) if "semantic" in file else 0.0  # runs of earlier versions have none
            return cls(settings, file["weights"], file["lengths"], float(file["dense"]), semantic)


@dataclass(frozen=True)
class LexicalIndex:
    """A lexical model over the texts of N items.

    Attributes:
      model: the fitted weights.
      impacts: float32 csr [N, V], what each term of a query adds to the score of each item.
    """

    model: LexicalModel
    impacts: sp.csr_matrix

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """Score all items for Q queries: float32 [Q, N]; zeros for a query without a known term."""
        terms = term_counts(queries, self.model.settings).sign()
        return (terms @ self.impacts.T).toarray().astype(np.float32)

    def of_items(self, first: int, count: int) -> LexicalIndex:
        """Return the index of `count` items from position `first` on."""
        return self if count == self.impacts.shape[0] else replace(self, impacts=self.impacts[first : first + count])

    def postings(self) -> Postings:
        """Return the same as an inverted index for the graph."""
        by_term = self.impacts.tocsc()
        by_term.sort_indices()
        return Postings(by_term.indptr.astype(np.int64), by_term.indices.astype(np.int32), by_term.data)

    def with_texts(self, has_text: np.ndarray, order: np.ndarray | None = None) -> LexicalIndex:
        """Return the index where only some items have a text, or each has that of another one.

        Args:
          has_text: bool [N].
          order: int64 [N], the item whose text each one has; None: its own.
        """
        impacts = self.impacts if order is None else self.impacts[order]
        return replace(self, impacts=(sp.diags(has_text.astype(np.float32)) @ impacts).tocsr())


def _extract(texts: tf.Tensor, settings: SearchConfig) -> tuple[tf.Tensor, tf.Tensor]:
    return extract_terms(texts, buckets=settings.buckets, prefix=settings.prefix, gram=settings.gram)


def term_counts(texts: Sequence[str], settings: SearchConfig) -> sp.csr_matrix:
    """Count the terms of B texts: float32 csr [B, V]."""
    num_terms = len(KINDS) * settings.buckets
    blocks = []
    for start in range(0, len(texts), _BLOCK):
        block = list(texts[start : start + _BLOCK])
        row, term = (part.numpy() for part in _extract(tf.constant(block, tf.string), settings))
        counts = sp.coo_matrix((np.ones(len(row), np.float32), (row, term)), (len(block), num_terms))
        blocks.append(counts.tocsr())
    return sp.vstack(blocks, "csr") if blocks else sp.csr_matrix((0, num_terms), dtype=np.float32)


def saturated(counts: sp.csr_matrix, lengths: np.ndarray, settings: SearchConfig) -> sp.csr_matrix:
    """BM25's term frequency (Robertson and Zaragoza, 2009): a repeated term adds less and less, and less in a long text.

    Args:
      counts: float [B, V], see `term_counts`.
      lengths: float64 [kinds], mean number of terms of each kind in a text.
      settings: `k1` and `b`.

    Returns:
      float csr [B, V].
    """
    entries = counts.tocoo()
    kind = entries.col // settings.buckets
    length = np.zeros([counts.shape[0], len(KINDS)])
    np.add.at(length, (entries.row, kind), entries.data)
    relative = length[entries.row, kind] / np.maximum(lengths[kind], 1e-9)
    damping = settings.k1 * (1.0 - settings.b + settings.b * relative)
    values = entries.data * (settings.k1 + 1.0) / (entries.data + damping)
    return sp.csr_matrix((values, (entries.row, entries.col)), counts.shape)
