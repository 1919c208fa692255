"""Probabilities that mean what they say: Platt scaling, and how far from the truth a set of probabilities is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

__all__ = ["IDENTITY", "Reliability", "brier", "expected_calibration_error", "logit", "platt", "reliability"]

Floats = NDArray[np.float64]

IDENTITY = (1.0, 0.0)
_LEAST_SLOPE = 1e-3  # a calibration may make a head less sure, never turn its order around


def logit(probabilities: ArrayLike, clip: float) -> Floats:
    """log(p / (1 - p)) of probabilities clipped to [clip, 1 - clip]."""
    p = np.clip(np.asarray(probabilities, np.float64), clip, 1.0 - clip)
    return np.log(p) - np.log1p(-p)


def _known(labels: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    truth, other = np.asarray(labels, np.float64), np.asarray(values, np.float64)
    if truth.shape != other.shape:
        raise ValueError(f"labels {truth.shape} and what goes with them {other.shape} differ in shape")
    return truth[~np.isnan(truth)], other[~np.isnan(truth)]


def platt(labels: ArrayLike, logits: ArrayLike) -> tuple[float, float]:
    """Slope and offset whose sigmoid(slope * logit + offset) fits the labels best (maximum likelihood).

    Platt, 1999, "Probabilistic outputs for support vector machines", with his targets (n1 + 1) / (n1 + 2) and
    1 / (n0 + 2) in place of 1 and 0, so that a split without error does not give an infinite slope.

    Args:
      labels: 0, 1 or NaN (unknown, ignored), [E].
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
    unit = scores / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * unit + parameters[1]
        error = (expit(z) - target) / len(z)
        value = (np.logaddexp(0.0, z) - target * z).mean()
        return float(value), np.array([error @ unit, error.sum()])

    start = np.array([1.0, np.log(ones / zeros)])
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(_LEAST_SLOPE * scale, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10},
    )  # fmt: skip
    return float(found.x[0] / scale), float(found.x[1])


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over [0, 1]; a probability of 1 is in the last.

    Attributes:
      count: int64 [bins], events in each bin.
      predicted, observed: float64 [bins], mean probability and share of ones there; NaN where a bin is empty.
    """

    count: NDArray[np.int64]
    predicted: Floats
    observed: Floats


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int) -> Reliability:
    """What was said against what came true (DeGroot and Fienberg, 1983). NaN labels are ignored.

    Raises:
      ValueError: shapes differ, or there is no bin.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins")
    truth, said = _known(labels, probabilities)
    index = np.minimum((said * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    some = np.where(count > 0, count, np.nan)
    sums = (np.bincount(index, weights=values, minlength=bins) for values in (said, truth))
    predicted, observed = (total / some for total in sums)
    return Reliability(count, predicted, observed)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int) -> float:
    """Mean over events of |share of ones - mean probability| of the event's bin (Naeini et al., 2015; Guo et al., 2017).

    NaN labels are ignored; NaN where none is known.
    """
    found = reliability(labels, probabilities, bins)
    total = found.count.sum()
    gaps = np.abs(found.observed - found.predicted) * found.count
    return float(np.nansum(gaps) / total) if total else np.nan


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared error of probabilities (Brier, 1950); NaN labels ignored, none known: NaN."""
    truth, said = _known(labels, probabilities)
    return float(np.square(said - truth).mean()) if len(truth) else np.nan
