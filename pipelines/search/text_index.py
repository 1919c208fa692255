"""Both parts of text search over the same items: words, and meaning where the encoder is pretrained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.runs.run_folder import RunFolder
from pipelines.search.lexical_index import LexicalIndex, LexicalModel
from pipelines.search.semantic_index import Encode, SemanticIndex, SemanticModel

__all__ = ["TextIndex", "TextModel"]


@dataclass(frozen=True)
class TextModel:
    """What text search has learned.

    Attributes:
      lexical: words, and the weights of all parts.
      semantic: meaning; None where the text encoder is not a pretrained one.
    """

    lexical: LexicalModel
    semantic: SemanticModel | None = None

    def index(self, texts: Sequence[str], encode: Encode | None) -> TextIndex:
        """Index the texts of N items, "" = none; `encode` is for meaning."""
        semantic = self.semantic.index(texts, encode) if self.semantic is not None and encode is not None else None
        return TextIndex(self.lexical.index(texts), semantic)

    def save(self, run: RunFolder) -> None:
        """Write the files; the lexicon last, which says that they are whole."""
        run.passages.unlink(missing_ok=True)
        if self.semantic is not None:
            self.semantic.save(run.passages)
        self.lexical.save(run.lexicon)

    @classmethod
    def load(cls, run: RunFolder) -> TextModel:
        """Read the files that `save` wrote."""
        semantic = SemanticModel.load(run.passages) if run.passages.is_file() else None
        return cls(LexicalModel.load(run.lexicon), semantic)


@dataclass(frozen=True)
class TextIndex:
    """What text queries are scored with, beside the towers.

    Attributes:
      lexical: words.
      semantic: meaning, over the same items; None where the text encoder is not a pretrained one.
    """

    lexical: LexicalIndex
    semantic: SemanticIndex | None = None

    @property
    def dense_weight(self) -> float:
        """Of the towers' score in search."""
        return self.lexical.model.dense_weight

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """Score all items for Q queries: float32 [Q, N]."""
        return next(self.blocks(queries, self.lexical.impacts.shape[0]))

    def blocks(self, queries: Sequence[str], size: int) -> Iterator[np.ndarray]:
        """The same, `size` items after the other: float32 [Q, size]; the last block may be smaller."""
        encoded = None if self.semantic is None else self.semantic.encoded(queries)
        count = self.lexical.impacts.shape[0]
        for start in range(0, max(count, 1), size or 1):
            rows = min(size, count - start)
            scores = self.lexical.of_items(start, rows)(queries)
            if self.semantic is not None and encoded is not None:
                meaning = self.semantic.of_items(start, rows).best(encoded)
                scores += np.float32(self.lexical.model.semantic_weight) * meaning
            yield scores

    def with_texts(self, has_text: np.ndarray, order: np.ndarray | None = None) -> TextIndex:
        """See `LexicalIndex.with_texts`."""
        semantic = None if self.semantic is None else self.semantic.with_texts(has_text, order)
        return TextIndex(self.lexical.with_texts(has_text, order), semantic)
