"""Bootstrap confidence intervals: of a mean, and of the paired difference between two models.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13 (percentile intervals). For two models users are
resampled instead of requests, because the requests of one user depend on each other.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Comparison", "compare", "mean_interval", "resample_counts"]

RESAMPLES = 2000
_LOW, _HIGH = 2.5, 97.5  # percentiles of the 95 % interval


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


def resample_counts(groups: int, count: int, seed: int) -> np.ndarray:
    """Draw resamples with replacement.

    Returns:
      float32 [count, groups], how often each group is drawn in each resample of as many groups.
    """
    draws = np.random.default_rng(seed).integers(groups, size=(count, groups))
    flat = (draws + np.arange(count)[:, None] * groups).ravel()
    return np.bincount(flat, minlength=count * groups).reshape(count, groups).astype(np.float32)


def mean_interval(values: np.ndarray, seed: int, count: int = RESAMPLES) -> list[float]:
    """Return the 95 % interval of the mean of values, float [Q], which are resampled one by one."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(count)]
    return [round(float(bound), 4) for bound in np.percentile(means, [_LOW, _HIGH])]


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
    names, group = np.unique(users, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    our_sums, peer_sums = np.bincount(group, ours), np.bincount(group, peer)
    counts = resample_counts(len(names), count, seed).astype(np.float64)
    totals = counts @ np.stack([our_sums, peer_sums, size], axis=1)
    our_means, peer_means = totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]
    differences = np.percentile(our_means - peer_means, [_LOW, _HIGH])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(ours.mean(), peer.mean()))
        ratios = np.percentile(our_means / peer_means, [_LOW, _HIGH])
    return Comparison(
        ours=float(ours.mean()),
        peer=float(peer.mean()),
        difference=float(ours.mean() - peer.mean()),
        difference_low=float(differences[0]),
        difference_high=float(differences[1]),
        ratio=ratio,
        ratio_low=float(ratios[0]),
        ratio_high=float(ratios[1]),
    )
