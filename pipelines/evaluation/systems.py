"""The systems of a report ranked on the same requests, and intervals of their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import EvaluateConfig
from pipelines.evaluation.baselines import fit_baselines
from pipelines.item_item.neighbours import interaction_matrix
from pipelines.model.session import Session
from pipelines.reporting.formatting import MODEL, ORACLE
from pipelines.runs.progress import progress
from pipelines.scoring import bootstrap, metrics
from pipelines.scoring.metrics import CUTOFFS, Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Scorer
from tfrecs.demo.world import oracle_scores

__all__ = ["HEADLINE", "intervals", "rank", "rank_systems"]

HEADLINE = (*(f"{name}@{k}" for name in ("recall", "ndcg") for k in CUTOFFS), "map@10", "mrr")
"""Metrics that the report gives an interval of."""


def rank(
    scorer: Scorer,
    queries: Queries,
    num_items: int,
    settings: EvaluateConfig,
    *,
    depth: int | None = None,
    label: str = "ranking",
) -> Ranking:
    """Rank the queries in blocks as large as `evaluate.scores_in_memory` allows, with progress.

    Args:
      scorer: of the queries.
      queries: Q queries.
      num_items: N.
      settings: section `evaluate`.
      depth: length of the lists; None: `evaluate.depth`.
      label: names the work where it is long enough to be shown.
    """
    with progress(label, "requests") as advance:
        advance(0, len(queries))
        return metrics.rank(
            scorer,
            queries,
            num_items=num_items,
            depth=settings.depth if depth is None else depth,
            batch=settings.batch,
            most_scores=settings.scores_in_memory,
            advance=advance,
        )


def rank_systems(session: Session, scorer: ModelScorer, queries: Queries, depth: int) -> dict[str, Ranking]:
    """Rank the queries with the model, the baselines and, for generated data, the true preferences.

    Args:
      session: with the training events that the baselines are fitted to.
      scorer: the model's.
      queries: with a target each.
      depth: length of the model's lists; of the others `evaluate.depth`.
    """
    settings, num_items = session.config.evaluate, len(session.catalogue)
    events = session.events
    count = len(events.user_ids)
    train = interaction_matrix(events.users, events.items, events.weights, num_users=count, num_items=num_items)
    rankings = {MODEL: rank(scorer, queries, num_items, settings, depth=depth, label=f"ranking by {MODEL}")}
    scorers: dict[str, Scorer] = dict(
        fit_baselines(
            train,
            seed=session.config.seed,
            shrinkage=settings.shrinkage,
            neighbours=settings.neighbours,
            last=settings.last,
        )
    )
    if session.manifest.oracle is not None:
        scorers[ORACLE] = _oracle(session.records / session.manifest.oracle, session.catalogue.ids)
    for name, score in scorers.items():
        rankings[name] = rank(score, queries, num_items, settings, label=f"ranking by {name}")
    return rankings


def _oracle(path: Path, item_ids: np.ndarray) -> Scorer:
    """Return a scorer by the true preferences, which only the generator of a data set knows."""
    position = {item: index for index, item in enumerate(item_ids)}

    def score(queries: Queries) -> np.ndarray:
        ids, utility = oracle_scores(path, list(queries.user_ids), queries.times)
        scores = np.full([len(queries), len(position)], -np.inf, np.float32)
        scores[:, [position[item] for item in ids]] = utility
        return scores

    return score


def intervals(
    rankings: Mapping[str, Ranking], means: Mapping[str, Mapping[str, float]], queries: Queries, seed: int
) -> dict[str, Any]:
    """Return 95 % bootstrap intervals over users of the metrics `HEADLINE`.

    Args:
      rankings: system -> lists of the queries, of the model, the baselines and perhaps the oracle.
      means: system -> metrics.
      queries: with a target each.
      seed: of the resamples.

    Returns:
      `systems`: system -> metric -> [low, high]; `difference`: metric -> that of the model less the best baseline, paired:
      `baseline`, `value`, `low` and `high`. Nothing without queries.
    """
    if not len(queries):
        return {}
    names = list(rankings)
    hits = [metrics.find_hits(ranking, queries) for ranking in rankings.values()]
    values = np.stack([metrics.measure(of, metric) for of in hits for metric in HEADLINE], axis=1)
    resampled = bootstrap.resampled_means(values, queries.user_ids, seed=seed).reshape(-1, len(names), len(HEADLINE))
    low, high = bootstrap.interval(resampled)
    result: dict[str, Any] = {"systems": {}, "difference": {}}
    for row, name in enumerate(names):
        bounds = zip(HEADLINE, low[row], high[row], strict=True)
        result["systems"][name] = {metric: [float(least), float(most)] for metric, least, most in bounds}
    baselines = [name for name in names if name not in (MODEL, ORACLE)]
    for column, metric in enumerate(HEADLINE):
        best = max(baselines, key=lambda name: means[name][metric])
        least, most = bootstrap.interval(
            resampled[:, names.index(MODEL), column] - resampled[:, names.index(best), column]
        )
        difference = means[MODEL][metric] - means[best][metric]
        result["difference"][metric] = {
            "baseline": best, "value": difference, "low": float(least), "high": float(most)
        }  # fmt: skip
    return result
