"""What the words of text queries say of the items of a catalogue, in Python as `serving.graph.lexical` says it in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from pipelines.search.lexical_index import Lexicon, term_counts


@dataclass(frozen=True)
class Words:
    """A lexicon over the texts of N items.

    Attributes:
      lexicon: what words are worth.
      impacts: float32 [N, V], what each term of a query gives each item.
      column: place of the texts among the modalities.
    """

    lexicon: Lexicon
    impacts: sp.csr_matrix
    column: int

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """float32 [Q, N]; zeros for a query without a term."""
        asked = term_counts(queries, self.lexicon.settings).sign()
        return (asked @ self.impacts.T).toarray().astype(np.float32)

    def with_content(self, presence: np.ndarray, order: np.ndarray | None) -> Words:
        """The same items with some of their content: presence bool [N, M]; `order` int64 [N], whose content each has."""
        impacts = self.impacts if order is None else self.impacts[order]
        there = sp.diags(presence[:, self.column].astype(np.float32))
        return replace(self, impacts=(there @ impacts).tocsr())


def words_of(lexicon: Lexicon, texts: Sequence[str], column: int) -> Words:
    """Indexes the texts of N items, "" = none. `column`: see `Words`."""
    return Words(lexicon, lexicon.impacts(texts), column)
