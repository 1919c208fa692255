"""How well meaning finds the text that a made query is from: what the weight of meaning is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.search.semantic_index import SemanticIndex, passages

__all__ = ["best_weight", "own_scores"]

_WEIGHTS = (0.0, *(2.0 ** (step / 2) for step in range(15)))  # up to 128: of cosines beside sums of logits
_DEPTH = 10

Scores = tuple[np.ndarray, np.ndarray]
"""Scores of Q queries: for the item that answers each, float [Q], and for C items, float [Q, C]."""


def best_weight(others: Scores, meaning: Scores, is_own: np.ndarray) -> float:
    """Choose the weight of meaning that ranks the answers best, by NDCG@10; 0 where it does not help.

    A metric of ranks and not a likelihood: what is found by nothing at all would else hold the weight down.

    Args:
      others: what meaning is added to.
      meaning: cosines.
      is_own: bool [Q, C], items that are the answer.
    """

    def ndcg(weight: float) -> float:
        own, rivals = (np.float32(weight) * cosine + score for cosine, score in zip(meaning, others, strict=True))
        better = ((rivals >= own[:, None]) & ~is_own).sum(axis=1)
        return float(np.where(better < _DEPTH, 1.0 / np.log2(better + 2.0), 0.0).mean())

    return max(_WEIGHTS, key=ndcg)


def own_scores(
    index: SemanticIndex, encoded: np.ndarray, queries: Sequence[str], owners: np.ndarray, texts: Sequence[str]
) -> np.ndarray:
    """Score the text that each query is from by what is left of it without the query.

    Args:
      index: over the texts.
      encoded: float32 [Q, d], what is searched for: the queries as they might be typed.
      queries: Q parts of the texts.
      owners: int64 [Q], the text that each is from.
      texts: [N].

    Returns:
      float32 [Q], the largest cosine, at least 0.
    """
    best = np.zeros(len(queries), np.float32)
    rests, rest_of = [], []
    first = np.searchsorted(index.owners, owners)
    for row, (query, owner) in enumerate(zip(queries, owners.tolist(), strict=True)):
        query = query.strip()
        for number, part in enumerate(passages(texts[owner], index.model.most)):
            if query not in part:
                best[row] = max(best[row], float(encoded[row] @ index.vectors[first[row] + number]))
            elif rest := part.replace(query, " ").strip():
                rests.append(rest)
                rest_of.append(row)
    if rests:
        cosines = np.einsum("nd,nd->n", index.model.queries(rests, index.encode), encoded[rest_of])
        np.maximum.at(best, rest_of, cosines)
    return best
