"""Fitting of the hybrid score on the validation split: the EASE model, the softness of sums, and the weights of the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import tensorflow as tf

from pipelines.hybrid.cold_weights import exploration_curve, mixed_choices, simulated_cold
from pipelines.hybrid.item_index import fit_item_item, small_catalogue_content, trained_index
from pipelines.hybrid.likelihood import Choices, FittedWeights, fit_weights
from pipelines.hybrid.ranking_weights import rank_best
from pipelines.hybrid.validation_choices import arrival_times, choices_of_requests, has_arrived, validation_metrics
from pipelines.hybrid.weights import HybridWeights
from pipelines.item_item.content_similarity import content_similarity
from pipelines.item_item.ease import EaseSettings
from pipelines.item_item.linear import LinearModel
from pipelines.item_item.model import ItemItemModel, training_matrix
from pipelines.item_item.sparse_top import Links
from pipelines.model.session import Session
from pipelines.runs.memory import release_memory
from pipelines.runs.progress import Advance, progress
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.scoring.requests import Queries, Requests, with_targets
from towers.hybrid import BIAS, NEIGHBOURS, POPULARITY, RECENT, SUCCESSORS, TOWER, WALK, links_of

__all__ = ["FittedHybrid", "fit_hybrid"]

_FEW = 500  # requests that choose the EASE model and the softness
_ENOUGH_COLD = 20  # choices of new items in the validation split from which none are simulated


@dataclass(frozen=True)
class FittedHybrid:
    """Attributes:
    weights: of the parts.
    item_item: the model of the whole catalogue that they were learned with, its cold items not completed; None where
      there was no request to learn from.
    """

    weights: HybridWeights
    item_item: ItemItemModel | None


def fit_hybrid(session: Session, requests: Requests) -> FittedHybrid:
    """Fit the weights by maximum likelihood over the catalogue, adding part by part in a fixed order.

    Text queries are left out: the words of a query are scored on top of the hybrid score.

    Args:
      session: with the weights of the best epoch.
      requests: of the validation split.
    """
    settings, seed, num_items = session.config.hybrid, session.config.seed, len(session.catalogue)
    features = small_catalogue_content(session, session.catalogue)
    similarity = content_similarity(features) if features else None
    index = trained_index(session, similarity)
    arrival = arrival_times(session)
    queries = with_targets(requests.queries)
    queries = queries.take(has_arrived(queries, arrival))
    queries = queries.take(_sample(len(queries), settings.queries, seed))
    if not len(queries):
        return FittedHybrid(HybridWeights(settings.regularizations[0], {TOWER: 1.0}, {TOWER: 1.0}, []), None)
    scored, trained, cold_start = tf.constant(index.item_embeddings), index.trained, index.cold_start
    del index
    release_memory()
    graphs, asked_without_texts = ModelGraphs(session.model), requests.without_texts()
    scorer = ModelScorer(graphs, asked_without_texts, scored)
    candidates = _sample(num_items, settings.candidates, seed)

    def choices_of(
        model: ItemItemModel,
        names: Sequence[str],
        queries: Queries,
        scorer: ModelScorer = scorer,
    ) -> Choices:
        unweighted = model.hybrid_score(dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0), {})
        evaluate = session.config.evaluate
        batch = max(1, min(evaluate.batch, evaluate.scores_in_memory // num_items))
        return choices_of_requests(
            scorer, unweighted, names, queries, candidates, session.is_cold, arrival, batch, place
        )

    # In a large catalogue only the links of items in the histories are made, which are numbered: all would take gigabytes.
    near, place = None, None
    if num_items > settings.linear_items:
        length = session.config.user.max_history
        near = np.unique(np.concatenate([[0], *(past[-length:] for past in queries.histories)]))
        place = np.zeros(num_items, np.int32)
        place[near] = np.arange(len(near))
    rows = _sample(len(queries), _FEW, seed)
    ease, links = _fit_linear(session, similarity, queries.take(rows), candidates, near, choices_of)
    release_memory()
    item_item = fit_item_item(session, ease, similarity, features, links)
    release_memory()
    kept = settings.kept_cold_links(num_items)
    model = item_item.for_catalogue(trained, cold_start, kept, near)
    names = [TOWER, NEIGHBOURS, *([RECENT, SUCCESSORS] if SUCCESSORS in model.links else [])]
    names += [*([WALK] if WALK in model.links else []), POPULARITY]
    choices = choices_of(model, names, queries)
    softness = choose_softness(choices.take(rows), names, settings.softness)
    choices = softened(choices, names, softness)
    steps: list[dict[str, object]] = []
    weights: dict[str, float] = {}
    cold_weights: dict[str, float] = {}

    def measure(fitted: FittedWeights, stage: str | None = None, *, separate_cold: bool = False) -> None:
        nonlocal weights, cold_weights
        weights = dict(zip(names, fitted.weights, strict=False))
        cold_weights = dict(zip(names, fitted.cold_weights, strict=False))
        own: dict[str, object] = {} if stage is None else {"stage": stage}
        if separate_cold:
            cold_weights[BIAS] = fitted.bias
            own["cold_weights"] = cold_weights
        hybrid = model.hybrid_score(weights, cold_weights, softness)
        measured = validation_metrics(session, scorer, hybrid, queries, arrival, place)
        steps.append({"parts": list(weights), "loss": fitted.loss, "weights": weights, **own, **measured})

    with progress("hybrid score", "stages") as advance:
        count = len(names) + 2
        advance(0, count)
        for size in range(1, len(names) + 1):
            fitted = fit_weights(choices, size, separate_cold=False)
            measure(fitted)
            advance(size, count)
        ranked = rank_best(choices, fitted)
        if ranked is not fitted:
            measure(ranked, "weights that rank best")
        advance(count - 1, count)
        exploration: list[dict[str, float]] = []
        # Nothing predicts the scores of a new item without content; and choices of truly new items tell more.
        enough = choices.is_cold[:, 0].sum() >= _ENOUGH_COLD
        share = settings.simulated if session.model.item_encoders and not enough else 0.0
        simulated = simulated_cold(session.is_cold, share, seed)
        if simulated.any():
            as_cold = trained_index(session, similarity, is_cold=session.is_cold | simulated)
            of_cold = ModelScorer(graphs, asked_without_texts, tf.constant(as_cold.item_embeddings))
            without = item_item.for_catalogue(as_cold.trained, as_cold.cold_start, kept, near)
            cold = softened(choices_of(without, names, queries, scorer=of_cold), names, softness)
            chosen = np.array([targets[0] for targets in queries.targets])
            rows = np.broadcast_to(simulated[candidates], (len(chosen), len(candidates)))
            choices = mixed_choices(choices, cold, np.concatenate([simulated[chosen][:, None], rows], axis=1))
        if simulated.any() or session.is_cold.any():
            fitted = fit_weights(choices, len(names), separate_cold=True, warm=ranked.weights)
            exploration = exploration_curve(choices, fitted)
            measure(fitted, "weights of new items", separate_cold=True)
        advance(count, count)
    weights_of_run = HybridWeights(
        ease.regularization,
        weights,
        cold_weights,
        steps,
        ease.content_weight,
        softness,
        exploration,
    )
    return FittedHybrid(weights_of_run, item_item)


def _fit_linear(
    session: Session,
    similarity: np.ndarray | None,
    few: Queries,
    candidates: np.ndarray,
    near: np.ndarray | None,
    choices_of: Callable[[ItemItemModel, Sequence[str], Queries], Choices],
) -> tuple[EaseSettings, Links]:
    """Choose the settings of the linear model by the loss of a few requests, and fit it.

    Its counts, the largest arrays of a large catalogue, end with this function.

    Args:
      similarity, candidates, near, choices_of: see `fit_hybrid`.
    """
    settings, num_items = session.config.hybrid, len(session.catalogue)
    linear = LinearModel(training_matrix(session.events, num_items), settings, similarity)
    # A loss depends on the links to candidates and targets alone.
    asked = None if near is None else np.union1d(candidates, [targets[0] for targets in few.targets])
    links_of_settings = cache(partial(linear.links, items=asked, rows=near))

    def loss_of(ease: EaseSettings) -> float:
        links = {NEIGHBOURS: links_of_settings(ease)}
        last = {NEIGHBOURS: session.config.user.max_history}
        names, middle = [TOWER, NEIGHBOURS], settings.softness[len(settings.softness) // 2]
        model = ItemItemModel(links, np.zeros(num_items, np.float32), session.is_cold, last)
        choices = softened(choices_of(model, names, few), names, {NEIGHBOURS: middle})
        return fit_weights(choices, 2, separate_cold=False).loss

    content_weights = (0.0,) if similarity is None else settings.content_weights
    with progress("item-item model", "settings") as advance:
        ease = choose_ease(loss_of, settings.regularizations, content_weights, advance)
    return ease, links_of_settings(ease) if near is None else linear.links(ease)


def choose_ease(
    loss_of: Callable[[EaseSettings], float],
    regularizations: Sequence[float],
    content_weights: Sequence[float],
    advance: Advance = lambda done, total: None,
) -> EaseSettings:
    """Choose the pair of least loss, one after the other: the best content weight depends little on the regularization.

    Args:
      loss_of: settings -> loss; asked once for each pair.
      regularizations, content_weights: values to choose from.
      advance: called with the number of pairs that were asked for, and the largest number of them.
    """
    losses: dict[EaseSettings, float] = {}
    total = 2 * len(regularizations) + len(content_weights) - 2

    def measured(ease: EaseSettings) -> float:
        if ease not in losses:
            losses[ease] = loss_of(ease)
            advance(len(losses), total)
        return losses[ease]

    advance(0, total)
    best = min((EaseSettings(value, content_weights[0]) for value in regularizations), key=measured)
    best = min((EaseSettings(best.regularization, value) for value in content_weights), key=measured)
    return min((EaseSettings(value, best.content_weight) for value in regularizations), key=measured)


def softened(choices: Choices, names: Sequence[str], softness: Mapping[str, float]) -> Choices:
    """Turn the parts of a hybrid score without softness into those of one with it.

    Args:
      choices: with one part for each of `names`.
      softness: name of the links -> see `towers.hybrid.HybridScore`.
    """
    values = choices.values.copy()
    for column, name in enumerate(names):
        if links_of(name) in softness:
            values[..., column] = np.arcsinh(values[..., column] / softness[links_of(name)])
    return replace(choices, values=values)


def choose_softness(choices: Choices, names: Sequence[str], options: Sequence[float]) -> dict[str, float]:
    """Choose the softness of least loss, first of the neighbours, then of the successors where there are any."""
    chosen: dict[str, float] = {}
    for links in dict.fromkeys(links_of(name) for name in names if name not in (TOWER, POPULARITY)):
        size = 1 + max(column for column, name in enumerate(names) if links_of(name) == links)
        losses = [
            fit_weights(softened(choices, names, chosen | {links: option}), size, separate_cold=False).loss
            for option in options
        ]
        chosen[links] = options[int(np.argmin(losses))]
    return chosen


def _sample(count: int, limit: int, seed: int) -> np.ndarray:
    """At most `limit` of the numbers below `count`, in order."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
