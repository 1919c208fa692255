"""Weights of a sum of scores that rank best: from those of greatest likelihood, part by part, by what is found first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.hybrid.likelihood import Choices, FittedWeights

__all__ = ["choice_scores", "places", "quality_of", "rank_best"]

_DEPTH = 20
_RECALL = 0.25  # weight of Recall@20 beside NDCG@20, so that both vary about as much
_ERRORS = 2.0  # standard errors that a gain must exceed
_FACTORS = (0.0, 0.5, 0.7, 1.4, 2.0)
_MOST = 10  # changes


def rank_best(choices: Choices, fitted: FittedWeights) -> FittedWeights:
    """Multiply the weights of parts as long as the choices rank better for it, the change that gains most first.

    A likelihood counts how every alternative is told from the chosen one, most of them far down the list, where
    popularity says most; what people see is the top (Burges, 2010, "From RankNet to LambdaRank to LambdaMART", on
    choosing by the metric itself). A change is taken where the mean gain of `quality_of` is larger than two of its standard
    errors over the choices, so that what nothing is known of stays as likelihood has it. Warm and cold weights of a part
    change together.

    Args:
      choices: with the parts that the weights are of.
      fitted: of `fit_weights`.

    Returns:
      The new weights, or `fitted` itself where nothing is better; the loss is that of `fitted`.
    """
    terms, total = _terms(choices, fitted), choice_scores(choices, fitted)
    factors, quality = np.ones(len(terms)), quality_of(total, choices.correction)
    for _ in range(_MOST):
        best, gained = None, 0.0
        for part, term in enumerate(terms):
            if not factors[part]:
                continue
            for factor in _FACTORS:
                if not factor and np.count_nonzero(factors) == 1:
                    continue  # without any part nothing is ranked
                changed = total + np.float32(factors[part] * (factor - 1)) * term
                gain = quality_of(changed, choices.correction) - quality
                if gain.mean() > max(gained, _ERRORS * gain.std() / np.sqrt(len(gain))):
                    best, gained = (part, factor, changed, quality + gain), gain.mean()
        if best is None:
            break
        part, factor, total, quality = best
        factors[part] *= factor
    if (factors == 1.0).all():
        return fitted
    return replace(
        fitted,
        weights=(np.array(fitted.weights) * factors).tolist(),
        cold_weights=(np.array(fitted.cold_weights) * factors).tolist(),
    )


def choice_scores(choices: Choices, fitted: FittedWeights) -> np.ndarray:
    """Return the weighted sum of the parts, float32 [Q, 1 + C]; -inf where a candidate was no alternative."""
    is_alternative = ~np.isnan(choices.values).any(axis=-1)
    return np.where(is_alternative, choices.is_cold * np.float32(fitted.bias) + sum(_terms(choices, fitted)), -np.inf)


def _terms(choices: Choices, fitted: FittedWeights) -> list[np.ndarray]:
    """Each part times its weight, float32 [Q, 1 + C]; 0 where a candidate was no alternative."""
    terms = []
    for part, (warm, cold) in enumerate(zip(fitted.weights, fitted.cold_weights, strict=True)):
        weight = np.float32(warm) if warm == cold else np.where(choices.is_cold, np.float32(cold), np.float32(warm))
        terms.append(np.nan_to_num(choices.values[..., part]) * weight)
    return terms


def quality_of(scores: np.ndarray, correction: float) -> np.ndarray:
    """Return NDCG@20 and a quarter of Recall@20 of each choice, float64 [Q], for scores as `places` takes them."""
    before = places(scores, correction)
    return np.where(before < _DEPTH, _RECALL + 1.0 / np.log2(before + 2.0), 0.0)


def places(scores: np.ndarray, correction: float) -> np.ndarray:
    """Count the items before the chosen one, as if every candidate stood for as many items as it was drawn from.

    Args:
      scores: float [Q, 1 + C], the chosen item first; -inf where a candidate was no alternative.
      correction: log of how many items each candidate stands for.

    Returns:
      float64 [Q]. Of equal scores the chosen item has the middle place.
    """
    chosen = scores[:, :1]
    before = (scores[:, 1:] > chosen).sum(axis=1) + 0.5 * (scores[:, 1:] == chosen).sum(axis=1)
    return np.asarray(before * np.exp(correction))
