"""Weights of a sum of scores that rank best: from those of greatest likelihood, part by part, by NDCG."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.hybrid.likelihood import Choices, FittedWeights

__all__ = ["Ranked", "choice_scores", "ndcg_of", "places", "rank_best"]

_DEPTH = 20
_FACTORS = (0.0, 0.5, 2.0, 0.7, 1.4)
_ROUNDS = 3


@dataclass(frozen=True)
class Ranked:
    """Attributes:
    weights: as `fit_weights` returns them; its loss is that of the weights that it began with.
    before, after: NDCG@20 of the choices with these and with the new weights.
    """

    weights: FittedWeights
    before: float
    after: float


def rank_best(choices: Choices, fitted: FittedWeights) -> Ranked:
    """Multiply the weights of parts, one after the other, as long as the choices rank better for it.

    A likelihood counts how every alternative is told from the chosen one, most of them far down the list, where
    popularity says most; what people see is the top (Burges, 2010, "From RankNet to LambdaRank to LambdaMART", on
    choosing by the metric itself). A change is taken where the mean gain of NDCG is larger than its standard error over the
    choices, so that what nothing is known of stays as likelihood has it. Warm and cold weights of a part change together.

    Args:
      choices: with the parts that the weights are of.
      fitted: of `fit_weights`.
    """
    terms = _terms(choices, fitted)
    total = choice_scores(choices, fitted)
    factors = np.ones(len(terms))
    best = start = ndcg_of(total, choices.correction)
    for _ in range(_ROUNDS):
        changed = False
        for part, term in enumerate(terms):
            for factor in _FACTORS:
                # Without any part nothing is ranked.
                if not factor and np.count_nonzero(np.delete(factors, part)) == 0:
                    continue
                other = total + np.float32(factors[part] * (factor - 1)) * term
                found = ndcg_of(other, choices.correction)
                gain = found - best
                if gain.mean() > gain.std() / np.sqrt(len(gain)) and gain.any():
                    total, best, factors[part], changed = other, found, factors[part] * factor, True
        if not changed:
            break
    chosen = replace(
        fitted,
        weights=(np.array(fitted.weights) * factors).tolist(),
        cold_weights=(np.array(fitted.cold_weights) * factors).tolist(),
    )
    return Ranked(chosen, float(start.mean()), float(best.mean()))


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


def ndcg_of(scores: np.ndarray, correction: float) -> np.ndarray:
    """Return NDCG@20 of each choice, float64 [Q], for scores as `places` takes them."""
    before = places(scores, correction)
    return np.where(before < _DEPTH, 1.0 / np.log2(before + 2.0), 0.0)


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
