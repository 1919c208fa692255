"""Accuracy of the trained model where items lack content: every subset of the modalities, and two controls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config import EvaluateConfig
from pipelines.evaluation.systems import rank
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.model.encodings import in_order
from pipelines.runs.progress import progress
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries
from towers.two_tower import TwoTower

__all__ = [
    "ALL",
    "HALF",
    "NOTHING",
    "SHUFFLED",
    "choose_patterns",
    "missing_content",
    "shuffled_presence",
    "subset_limit",
]

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


def subset_limit(modalities: int, num_items: int, settings: EvaluateConfig) -> int:
    """Return how many subsets a catalogue of this size is ranked with: `evaluate.patterns`, if it is not too large.

    Everything, nothing, each modality alone and each left out are never too many for `evaluate.pattern_items`.
    """
    return min(settings.patterns, max(2 * modalities + 2, settings.pattern_items // max(num_items, 1)))


def shuffled_presence(presence: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return `presence` bool [N, M] without a random share of its true values, rounded down."""
    present = np.flatnonzero(presence)
    result = presence.copy()
    result.flat[rng.choice(present, int(share * len(present)), replace=False)] = False
    return result


@dataclass(frozen=True)
class _Case:
    """Items with only some of their content.

    Attributes:
      title: of the row of the report; None: none.
      modalities: that items have, as far as they had them.
      presence: bool [N, M].
      donors: int64 [N], the item whose content each one has; None: its own.
      slice: name of the slice that it is measured for as well; None: none.
    """

    title: str | None
    modalities: Sequence[str]
    presence: np.ndarray
    donors: np.ndarray | None = None
    slice: str | None = None


def missing_content(
    run: TrainedRun, scorer: ModelScorer, queries: Queries, complete: Ranking
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Measure the model on the same requests where items have only part of their content.

    Items are embedded once for each part of the content, and what the trained model answers with all of it is taken over.

    Args:
      run: the trained run; `evaluate.patterns` and `evaluate.pattern_items` of its configuration limit the subsets,
        `evaluate.pattern_queries` the queries of each.
      scorer: of the requests.
      queries: with a target each.
      complete: the model's lists for them with all content, of at least `evaluate.depth`.

    Returns:
      `without_<modality>` -> all metrics on all queries; and rows: one for each subset, then one without a random half of
      all content, and one in which every item has the content of another (a model that is as good there does not use
      content); none for a catalogue of bare ids. Each has `content`, `modalities`, `queries`, `recall@20` and `ndcg@10`,
      and the same two as `content_only_...`, where no item is known by its id: the towers alone, without id embeddings.
    """
    model, settings, count = scorer.model, run.config.evaluate, len(run.catalogue)
    names = list(model.item_encoders)
    if not names:
        return {}, []
    rng = np.random.default_rng(run.config.seed)
    few = np.arange(len(queries))
    if len(queries) > settings.pattern_queries:
        few = np.sort(rng.choice(len(queries), settings.pattern_queries, replace=False))
    asked = queries.take(few)
    cases = _cases(names, run.items.presence, subset_limit(len(names), count, settings), rng)
    slices, rows = {}, []
    with progress("missing content", "cases") as advance:
        advance(0, len(cases))
        for done, case in enumerate(cases, 1):
            items = None  # of the case before: in a large catalogue links take hundreds of megabytes
            items = None if case.title == ALL else run.with_content(case.presence, case.donors)
            if case.slice is not None and items is not None:
                ranking = rank(scorer.with_items(*items), queries, count, settings)
                slices[case.slice] = metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}
                ranking = ranking.take(few)
            elif items is not None and len(asked):
                ranking = rank(scorer.with_items(*items), asked, count, settings)
            else:
                ranking = complete.first(settings.depth).take(few)
            if case.title is not None and len(asked):
                texts = scorer.text_index if items is None else items[2]
                content_only = scorer.with_items(_content_embeddings(model, case), None, texts)
                row: dict[str, Any] = {
                    "content": case.title,
                    "modalities": list(case.modalities),
                    "queries": len(asked),
                }
                row |= _means(ranking, asked)
                only = _means(rank(content_only, asked, count, settings), asked)
                rows.append(row | {f"content_only_{name}": value for name, value in only.items()})
            advance(done, len(cases))
    return {f"without_{name}": slices[f"without_{name}"] for name in names}, rows


def _cases(names: Sequence[str], presence: np.ndarray, limit: int, rng: np.random.Generator) -> list[_Case]:
    """The subsets, the two controls, and each modality left out where no subset is that."""
    left_out = {tuple(other for other in names if other != name): f"without_{name}" for name in names}
    chosen = choose_patterns(names, limit)
    cases = [
        _Case(_title(part, names), part, presence & np.isin(names, part), None, left_out.get(part)) for part in chosen
    ]
    order = rng.permutation(len(presence))
    cases.append(_Case(HALF, names, shuffled_presence(presence, 0.5, rng)))
    cases.append(_Case(SHUFFLED, names, presence[order], order))
    rest = [part for part in left_out if part not in chosen]
    return cases + [_Case(None, part, presence & np.isin(names, part), None, left_out[part]) for part in rest]


def _content_embeddings(model: TwoTower, case: _Case) -> tf.Tensor:
    """Embeddings of the items without their ids. The hybrid score has no part in it: its statistics know items by id."""
    return model.content_embeddings(tf.constant(case.presence), in_order(model.cache, case.donors))[0]


def _title(part: Sequence[str], names: Sequence[str]) -> str:
    if len(part) in (0, len(names)):
        return ALL if part else NOTHING
    return " + ".join(part)


def _means(ranking: Ranking, queries: Queries) -> dict[str, float]:
    return {name: float(metrics.per_query(ranking, queries, name).mean()) for name in _MEASURED}
