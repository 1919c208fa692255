"""The trained model where content is missing: every subset of the modalities, and controls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.hybrid.scorer import WithContent
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries

__all__ = ["ALL", "HALF", "NOTHING", "SHUFFLED", "choose_patterns", "missing_patterns", "shuffled_presence"]

ALL, NOTHING = "everything", "nothing"
HALF, SHUFFLED = "everything, half of it removed", "everything, of another item"
_MEASURED = ("recall@20", "ndcg@10")


def choose_patterns(modalities: Sequence[str], limit: int) -> list[tuple[str, ...]]:
    """Subsets of the modalities, largest first: all 2^M of them where the limit allows.

    Else, in this order as far as it goes: everything, nothing, each alone, each left out, then the larger ones.
    """
    size = len(modalities)

    def of(count: int) -> list[tuple[str, ...]]:
        return list(itertools.combinations(modalities, count))

    wanted = [*of(size), *of(0), *of(1), *(of(size - 1) if size > 2 else [])]
    counts = iter(range(size - 2, 1, -1))
    while len(wanted) < limit and (count := next(counts, None)) is not None:
        # Lazily: there are too many subsets of twenty modalities to list them for a prefix.
        wanted += itertools.islice(itertools.combinations(modalities, count), limit - len(wanted))
    unique = list(dict.fromkeys(wanted))[:limit]
    return sorted(unique, key=lambda names: (-len(names), [modalities.index(name) for name in names]))


def shuffled_presence(presence: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """bool [N, M]: `presence` without a random `share` of what is there, rounded down, over all items together."""
    there = np.flatnonzero(presence)
    result = presence.copy()
    result.flat[rng.choice(there, int(share * len(there)), replace=False)] = False
    return result


def missing_patterns(
    scorer: ModelScorer,
    queries: Queries,
    variant: WithContent,
    *,
    limit: int,
    max_queries: int,
    seed: int,
    depth: int,
    batch: int,
) -> list[dict[str, Any]]:
    """The same requests, where items have some of their content alone.

    Args:
      scorer: of the requests.
      queries: with a target each.
      variant: the catalogue with some of its content.
      limit: at most so many subsets.
      max_queries: at most so many queries, drawn at random under the seed.

    Returns:
      A row for each subset, then one with a random half of all content removed and one in which every item has the
      content of another (a model that is as good there does not use content); [] for a catalogue of bare ids. Each
      with `content`, `modalities` (of the subset), `queries`, `recall@20`, `ndcg@10`, and the same two as
      `content_only_...`, where no item is known by its id: the towers alone, without id embeddings.
    """
    model = scorer.model
    names = list(model.item_encoders)
    if not names or not len(queries):
        return []
    rng = np.random.default_rng(seed)
    if len(queries) > max_queries:
        queries = queries.take(np.sort(rng.choice(len(queries), max_queries, replace=False)))
    presence = model.presence.numpy()
    chosen = choose_patterns(names, limit)
    cases: list[tuple[str, list[str], np.ndarray, np.ndarray | None]] = [
        (_title(part, names), list(part), presence & np.isin(names, part), None) for part in chosen
    ]
    order = rng.permutation(len(presence))
    cases.append((HALF, names, shuffled_presence(presence, 0.5, rng), None))
    cases.append((SHUFFLED, names, presence[order], order))
    rows = []
    for title, part, case_presence, donors in cases:
        words = None if scorer.words is None else scorer.words.with_content(case_presence, donors)
        measured = _measure(scorer.with_items(*variant(case_presence, donors), words), queries, depth, batch)
        encodings = {name: value if donors is None else tf.gather(value, donors) for name, value in model.cache.items()}
        # Without the hybrid score: its item-item statistics know an item by its id.
        embeddings = model.content_embeddings(tf.constant(case_presence), encodings)[0]
        content_only = _measure(scorer.with_items(embeddings, None, words), queries, depth, batch)
        row: dict[str, Any] = {"content": title, "modalities": part, "queries": len(queries), **measured}
        rows.append(row | {f"content_only_{name}": value for name, value in content_only.items()})
    return rows


def _title(part: Sequence[str], names: Sequence[str]) -> str:
    if len(part) in (0, len(names)):
        return ALL if part else NOTHING
    return " + ".join(part)


def _measure(scorer: ModelScorer, queries: Queries, depth: int, batch: int) -> dict[str, float]:
    ranking = metrics.rank(scorer, queries, num_items=len(scorer.table), depth=depth, batch=batch)
    return {name: float(metrics.per_query(ranking, queries, name).mean()) for name in _MEASURED}
