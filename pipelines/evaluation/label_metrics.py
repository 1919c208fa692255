"""Metrics and calibration of predicted labels. A NaN label is unknown and ignored everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binned_statistic
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as binary_cross_entropy

__all__ = ["IDENTITY", "Reliability", "auc", "brier_score", "expected_calibration_error", "log_loss", "platt_scaling"]
__all__ += ["probability_metrics", "reliability_curve", "rmse"]

Floats = NDArray[np.float64]

IDENTITY = (1.0, 0.0)
"""Slope and offset that change nothing."""

_CLIP = 1e-7  # a float32 sigmoid saturates near here; without a limit one certain mistake makes the mean infinite
_MIN_SLOPE = 1e-3  # calibration may make a head less sure, but never turn its order around


def _known(labels: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Return the pairs whose label is known."""
    truth, predicted = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if truth.shape != predicted.shape:
        raise ValueError(f"labels {truth.shape} and predictions {predicted.shape} differ in shape")
    known = ~np.isnan(truth)
    return truth[known], predicted[known]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that a positive scores above a negative, a tie counting half.

    Args:
      labels: 0, 1 or NaN.
      scores: any monotone score, same shape.

    Returns:
      NaN where the known labels are of one class only.
    """
    truth, predicted = _known(labels, scores)
    return float(roc_auc_score(truth, predicted)) if len(np.unique(truth)) == 2 else np.nan


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean binary cross-entropy in nats, probabilities clipped to [1e-7, 1 - 1e-7]; NaN without a label."""
    truth, predicted = _known(labels, probabilities)
    if not len(truth):
        return np.nan
    return float(binary_cross_entropy(truth, np.clip(predicted, _CLIP, 1.0 - _CLIP), labels=[0.0, 1.0]))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared error of probabilities (Brier, 1950); NaN without a label."""
    truth, predicted = _known(labels, probabilities)
    return float(brier_score_loss(truth, predicted, pos_label=1)) if len(truth) else np.nan


def rmse(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return the root mean squared error in the label's unit; NaN without a label."""
    truth, predicted = _known(labels, predictions)
    return float(np.sqrt(np.square(predicted - truth).mean())) if len(truth) else np.nan


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: bins of equal width over [0, 1], a probability of 1 in the last one.

    Attributes:
      count: int64 [bins], events in each bin.
      predicted: float64 [bins], mean probability of the bin's events; NaN where the bin is empty.
      observed: float64 [bins], share of ones among them; NaN where the bin is empty.
    """

    count: NDArray[np.int64]
    predicted: Floats
    observed: Floats


def reliability_curve(labels: ArrayLike, probabilities: ArrayLike, bins: int) -> Reliability:
    """Compare predicted probabilities with observed frequencies (DeGroot and Fienberg, 1983).

    Raises:
      ValueError: shapes differ, or there is no bin.
    """
    truth, predicted = _known(labels, probabilities)
    means, _, numbers = binned_statistic(predicted, [predicted, truth], "mean", bins, range=(0.0, 1.0))
    return Reliability(np.bincount(numbers - 1, minlength=bins), *means)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int) -> float:
    """Return the mean over events of |share of ones - mean probability| of their bin; NaN without a label.

    Naeini et al., AAAI 2015; Guo et al., ICML 2017.
    """
    curve = reliability_curve(labels, probabilities, bins)
    total = curve.count.sum()
    gaps = np.abs(curve.observed - curve.predicted) * curve.count
    return float(np.nansum(gaps) / total) if total else np.nan


def probability_metrics(labels: ArrayLike, probabilities: ArrayLike, bins: int) -> dict[str, float]:
    """Return `auc logloss brier ece` of probabilities [E]; `bins` of the calibration error."""
    return {
        "auc": auc(labels, probabilities),
        "logloss": log_loss(labels, probabilities),
        "brier": brier_score(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities, bins),
    }


def platt_scaling(labels: ArrayLike, logits: ArrayLike) -> tuple[float, float]:
    """Fit slope and offset of sigmoid(slope * logit + offset) to labels by maximum likelihood.

    Platt, 1999, "Probabilistic outputs for support vector machines", with his targets (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) in place of 1 and 0, so that separable labels do not give an infinite slope.

    Args:
      labels: 0, 1 or NaN, [E].
      logits: [E], finite.

    Returns:
      (slope > 0, offset); the identity (1, 0) where the known labels are of one class only.
    """
    truth, scores = _known(labels, logits)
    positive = truth > 0.5
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return IDENTITY
    target = np.where(positive, (ones + 1.0) / (ones + 2.0), 1.0 / (zeros + 2.0))
    # In units of the scores' own deviation the two parameters are of one size, whatever the scores are.
    scale = float(scores.std()) or 1.0
    scaled = scores / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * scaled + parameters[1]
        error = (expit(z) - target) / len(z)
        value = (np.logaddexp(0.0, z) - target * z).mean()
        return float(value), np.array([error @ scaled, error.sum()])

    start = np.array([1.0, np.log(ones / zeros)])
    fit = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(_MIN_SLOPE * scale, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10},
    )  # fmt: skip
    return float(fit.x[0] / scale), float(fit.x[1])
