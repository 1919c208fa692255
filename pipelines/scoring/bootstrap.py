"""Bootstrap confidence intervals: of means, and of the paired difference between two models.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13 (percentile intervals). Users are resampled
instead of requests, because the requests of one user depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Comparison", "compare", "interval", "mean_interval", "resample_counts", "resampled_means"]

RESAMPLES = 2000
_LOW, _HIGH = 2.5, 97.5  # percentiles of the 95 % interval
_BLOCK = 1 << 22  # draws at a time


@dataclass(frozen=True)
class Comparison:
    """Means of our model and of a peer, with their difference and ratio; `*_low` and `*_high` bound the 95 % intervals."""

    ours: float
    peer: float
    difference: float
    difference_low: float
    difference_high: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def as_dict(self) -> dict[str, float | None]:
        """Return the fields for JSON, with None for infinite and undefined values."""
        return {name: round(value, 5) if math.isfinite(value) else None for name, value in asdict(self).items()}


def resample_counts(groups: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw resamples with replacement.

    Returns:
      float64 [count, groups], how often each group is drawn in each resample of as many groups.
    """
    draws = rng.integers(groups, size=(count, groups))
    flat = (draws + np.arange(count)[:, None] * groups).ravel()
    return np.bincount(flat, minlength=count * groups).reshape(count, groups).astype(np.float64)


def resampled_means(values: np.ndarray, users: np.ndarray, *, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the means over queries in resamples of the users, each with all their queries.

    Args:
      values: float [Q, M], several values of each query, which stay together: so differences are paired.
      users: [Q], the user of each query; at least one.
      count: number of resamples.
      seed: of the draws; they depend on the number of users alone.

    Returns:
      float64 [count, M].
    """
    names, group = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(group, column) for column in (*values.T, np.ones(len(users)))], axis=1)
    rng, means = np.random.default_rng(seed), np.empty((count, values.shape[1]))
    block = max(1, _BLOCK // len(names))
    for start in range(0, count, block):
        totals = resample_counts(len(names), min(block, count - start), rng) @ sums
        means[start : start + block] = totals[:, :-1] / totals[:, -1:]
    return means


def interval(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % intervals, float64 [...], of `resampled_means` [count, ...]."""
    low, high = np.percentile(means, [_LOW, _HIGH], axis=0)
    return low, high


def mean_interval(values: np.ndarray, seed: int, count: int = RESAMPLES) -> list[float]:
    """Return the 95 % interval of the mean of values, float [Q], which are resampled one by one."""
    bounds = interval(resampled_means(values[:, None], np.arange(len(values)), count=count, seed=seed)[:, 0])
    return [round(float(bound), 4) for bound in bounds]


def compare(
    ours: np.ndarray, peer: np.ndarray, users: np.ndarray, *, count: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare the means over queries of one metric, resampling users with all their queries.

    Args:
      ours, peer: float [Q], the metric of each query (a mean over seeds if there are several).
      users: [Q], the user of each query.
      count: number of resamples.
      seed: of the draws; they depend on the users alone and so are the same for every peer.

    Returns:
      The comparison. Intervals are NaN without queries; the ratio is infinite or NaN if the peer's mean is 0.
    """
    if not len(users):
        none = float("nan")
        return Comparison(none, none, none, none, none, none, none, none)
    means = resampled_means(np.stack([ours, peer], axis=1), users, count=count, seed=seed)
    low, high = interval(means[:, 0] - means[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(ours.mean(), peer.mean()))
        ratio_low, ratio_high = interval(means[:, 0] / means[:, 1])
    return Comparison(
        ours=float(ours.mean()),
        peer=float(peer.mean()),
        difference=float(ours.mean() - peer.mean()),
        difference_low=float(low),
        difference_high=float(high),
        ratio=ratio,
        ratio_low=float(ratio_low),
        ratio_high=float(ratio_high),
    )
