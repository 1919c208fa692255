"""Accuracy of the trained model where items lack content: every subset of the modalities, and two controls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import EvaluateConfig
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.model.encodings import in_order
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries

__all__ = ["ALL", "HALF", "NOTHING", "SHUFFLED", "choose_patterns", "missing_patterns", "shuffled_presence"]

ALL, NOTHING = "everything", "nothing"
HALF, SHUFFLED = "everything, half of it removed", "everything, of another item"
_MEASURED = ("recall@20", "ndcg@10")


def choose_patterns(modalities: Sequence[str], limit: int) -> list[tuple[str, ...]]:
    """Choose subsets of the modalities: all 2^M of them where the limit allows.

    Otherwise everything, nothing, each modality alone, each left out, and then the larger subsets, up to the limit.

    Returns:
      The largest subsets first.
    """
    size = len(modalities)
    sizes = dict.fromkeys([size, 0, 1, size - 1, *range(size - 2, 1, -1)])
    # Lazily: twenty modalities have too many subsets to list them all.
    subsets = itertools.chain.from_iterable(itertools.combinations(modalities, count) for count in sizes)
    chosen = list(itertools.islice(subsets, limit))
    return sorted(chosen, key=lambda names: (-len(names), [modalities.index(name) for name in names]))


def shuffled_presence(presence: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return `presence` bool [N, M] without a random share of its true values, rounded down."""
    present = np.flatnonzero(presence)
    result = presence.copy()
    result.flat[rng.choice(present, int(share * len(present)), replace=False)] = False
    return result


def missing_patterns(run: TrainedRun, scorer: ModelScorer, queries: Queries) -> list[dict[str, Any]]:
    """Measure the model on the same requests where items have only part of their content.

    Args:
      run: the trained run; `evaluate.patterns` of its configuration limits the subsets, `evaluate.pattern_queries` the
        queries.
      scorer: of the requests.
      queries: with a target each.

    Returns:
      A row for each subset, then one without a random half of all content, and one in which every item has the content
      of another (a model that is as good there does not use content); [] for a catalogue of bare ids. Each has
      `content`, `modalities`, `queries`, `recall@20` and `ndcg@10`, and the same two as `content_only_...`, where no
      item is known by its id: the towers alone, without id embeddings.
    """
    model, settings = scorer.model, run.config.evaluate
    names = list(model.item_encoders)
    if not names or not len(queries):
        return []
    rng = np.random.default_rng(run.config.seed)
    if len(queries) > settings.pattern_queries:
        queries = queries.take(np.sort(rng.choice(len(queries), settings.pattern_queries, replace=False)))
    presence = model.presence.numpy()
    chosen = choose_patterns(names, settings.patterns)
    cases: list[tuple[str, list[str], np.ndarray, np.ndarray | None]] = [
        (_title(part, names), list(part), presence & np.isin(names, part), None) for part in chosen
    ]
    order = rng.permutation(len(presence))
    cases.append((HALF, names, shuffled_presence(presence, 0.5, rng), None))
    cases.append((SHUFFLED, names, presence[order], order))
    rows = []
    for title, part, case_presence, donors in cases:
        items = run.with_content(case_presence, donors)
        measured = _measure(scorer.with_items(*items), queries, settings)
        # Without the hybrid score: its item-item statistics know an item by its id.
        embeddings = model.content_embeddings(tf.constant(case_presence), in_order(model.cache, donors))[0]
        content_only = _measure(scorer.with_items(embeddings, None, items[2]), queries, settings)
        row: dict[str, Any] = {"content": title, "modalities": part, "queries": len(queries), **measured}
        rows.append(row | {f"content_only_{name}": value for name, value in content_only.items()})
    return rows


def _title(part: Sequence[str], names: Sequence[str]) -> str:
    if len(part) in (0, len(names)):
        return ALL if part else NOTHING
    return " + ".join(part)


def _measure(scorer: ModelScorer, queries: Queries, settings: EvaluateConfig) -> dict[str, float]:
    ranking = metrics.rank(
        scorer, queries, num_items=len(scorer.item_embeddings), depth=settings.depth, batch=settings.batch
    )
    return {name: float(metrics.per_query(ranking, queries, name).mean()) for name in _MEASURED}
