"""Retrieved items ordered again with the help of the ranking head: what that gains, or costs, in NDCG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries

__all__ = ["BY", "Retrieved", "choose_weight", "reordered"]

BY = "ndcg@10"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Retrieved:
    """The head of the retrieval's list for each query, with what the ranking head says of it.

    Attributes:
      queries: Q queries with a target each.
      ranking: their lists [Q, depth], best first, -1 where there were fewer candidates.
      scores: float [Q, depth], scores of retrieval.
      logits: label -> float [Q, depth].
    """

    queries: Queries
    ranking: Ranking
    scores: Floats
    logits: dict[str, Floats]


def reordered(ranking: Ranking, scores: Floats) -> Ranking:
    """The same lists by descending score [Q, depth]; of equal scores the one that stood first stays first."""
    order = np.argsort(np.where(ranking.items >= 0, -scores, np.inf), axis=1, kind="stable")
    return Ranking(np.take_along_axis(ranking.items, order, axis=1), ranking.num_items)


def choose_weight(retrieved: Retrieved, label: str, weights: Sequence[float]) -> float:
    """The weight of a label's logit beside the retrieval score with the best NDCG@10, learned on validation queries.

    0 unless the gain is more than two of its standard errors over queries: a gain that chance explains would as likely be
    a loss on other queries, and the best of several weights is lucky more often than one.
    """
    if not len(retrieved.queries):
        return 0.0
    plain = metrics.per_query(retrieved.ranking, retrieved.queries, BY)
    best, gain = 0.0, 0.0
    for weight in weights:
        ranking = reordered(retrieved.ranking, retrieved.scores + weight * retrieved.logits[label])
        gains = metrics.per_query(ranking, retrieved.queries, BY) - plain
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
        if gains.mean() > max(gain, 2 * error):
            best, gain = float(weight), float(gains.mean())
    return best
