"""Maximum-likelihood weights of a sum of scores (a conditional logit model), from held-out choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

_L2 = 1e-3  # beside the mean loss; it only keeps parts that are nearly collinear from drifting
_COLD_DEVIATION = 0.5  # prior deviation of a cold weight from the warm one, where parts have the deviation 1
_BIAS_DEVIATION = 3.0  # prior deviation of the bias of cold items


@dataclass(frozen=True)
class Choices:
    """Q choices, each with the alternatives it was made among.

    Attributes:
      values: float32 [Q, 1 + C, P], parts of the score: the chosen item first, then C candidates; NaN where a candidate
        was no alternative.
      is_cold: bool [Q, 1 + C].
      correction: log of how many items of the catalogue each candidate stands for.
    """

    values: np.ndarray
    is_cold: np.ndarray
    correction: float

    def take(self, rows: np.ndarray) -> Choices:
        """Return some of the choices."""
        return Choices(self.values[rows], self.is_cold[rows], self.correction)


@dataclass(frozen=True)
class FittedWeights:
    """Attributes:
    weights: of each part, for warm items.
    cold_weights: the same for cold items.
    bias: of cold items.
    loss: mean cross-entropy in nats.
    """

    weights: list[float]
    cold_weights: list[float]
    bias: float
    loss: float


def fit_weights(
    choices: Choices, parts: int, *, separate_cold: bool, warm: Sequence[float] | None = None
) -> FittedWeights:
    """Fit weights of at least 0 that make the choices most likely under a softmax over the weighted sum of parts.

    (McFadden, 1974, "Conditional logit analysis of qualitative choice behavior".)

    Args:
      choices: what was chosen among what.
      parts: how many of the first parts the sum has, P'.
      separate_cold: whether cold items have weights of their own, and a bias. As few choices of cold items say little
        about these, their prior is normal around the weights of warm items, and around 0 for the bias, so that without
        any such choice they are the same (maximum a posteriori).
      warm: weights of the parts for warm items, which then stay as they are; None: they are fitted too.
    """
    values = choices.values[..., :parts]
    is_alternative = ~np.isnan(values).any(axis=-1)
    scale = np.array([values[..., part][is_alternative].std() for part in range(parts)]) + 1e-9
    standard = np.where(is_alternative[..., None], values, 0.0).astype(np.float64) / scale
    offset = np.where(is_alternative, choices.correction, -np.inf)
    offset[:, 0] = 0.0
    count, flat = len(standard), standard.reshape(-1, parts)
    none = np.zeros(0, np.int64)
    cold = np.nonzero(choices.is_cold & is_alternative) if separate_cold else (none, none)
    standard_cold = standard[cold]
    chosen, chosen_cold = standard[:, 0].copy(), (choices.is_cold[:, 0] & separate_cold)

    def split(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return parameters[:parts], parameters[parts : 2 * parts], parameters[-1]

    def prior(warm_weights: np.ndarray, cold_weights: np.ndarray, bias: float) -> float:
        value = _L2 * (warm_weights @ warm_weights)
        if separate_cold:
            deviation = cold_weights - warm_weights
            value += (deviation @ deviation) / (2 * _COLD_DEVIATION**2 * count)
            value += bias**2 / (2 * _BIAS_DEVIATION**2 * count)
        return float(value)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        warm_weights, cold_weights, bias = split(parameters)
        # In place, as rows of one matrix: this is what the time goes to.
        softmax = (flat @ warm_weights).reshape(offset.shape)
        softmax += offset
        softmax[cold] = standard_cold @ cold_weights + bias + offset[cold]
        chosen_logits = softmax[:, 0].copy()
        highest = softmax.max(axis=1, keepdims=True)
        softmax -= highest
        np.exp(softmax, out=softmax)
        total = softmax.sum(axis=1, keepdims=True)
        softmax /= total
        log_z = (highest + np.log(total))[:, 0]
        softmax_cold = softmax[cold]
        cold_gradient = softmax_cold @ standard_cold / count - chosen[chosen_cold].sum(axis=0) / count
        softmax[cold] = 0.0
        gradient = softmax.ravel() @ flat / count - chosen[~chosen_cold].sum(axis=0) / count
        bias_gradient = softmax_cold.sum() / count - chosen_cold.mean()
        gradient += 2 * _L2 * warm_weights
        if separate_cold:
            deviation = cold_weights - warm_weights
            gradient -= deviation / (_COLD_DEVIATION**2 * count)
            cold_gradient = cold_gradient + deviation / (_COLD_DEVIATION**2 * count)
            bias_gradient += bias / (_BIAS_DEVIATION**2 * count)
        value = (log_z - chosen_logits).mean() + prior(warm_weights, cold_weights, bias)
        return float(value), np.concatenate([gradient, cold_gradient, [bias_gradient]])

    start = np.concatenate([np.full(2 * parts, 0.1), [0.0]])
    bounds: list[tuple[float | None, float | None]] = [(0.0, None)] * (2 * parts) + [(None, None)]
    if warm is not None:
        start[: 2 * parts] = np.tile(np.asarray(warm) * scale, 2)
        bounds[:parts] = [(value, value) for value in start[:parts]]
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    warm_weights, cold_weights, bias = split(fitted.x)
    return FittedWeights(
        weights=[float(weight) for weight in warm_weights / scale],
        cold_weights=[float(weight) for weight in (cold_weights if separate_cold else warm_weights) / scale],
        bias=float(bias) if separate_cold else 0.0,
        loss=float(fitted.fun - prior(warm_weights, cold_weights, bias)),
    )
