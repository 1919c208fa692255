"""Paired bootstrap over users: how sure a difference between two models is.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13 (percentile intervals). Users are resampled, not
requests, because the requests of one user are not independent of each other.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Comparison", "compare", "resamples"]

_LOW, _HIGH = 2.5, 97.5  # percentiles of the 95 % interval


@dataclass(frozen=True)
class Comparison:
    """Ours against a peer; `*_low` and `*_high` are the ends of the 95 % intervals."""

    ours: float
    peer: float
    difference: float
    difference_low: float
    difference_high: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no word for what is infinite or not a number: None."""
        return {name: round(value, 5) if math.isfinite(value) else None for name, value in asdict(self).items()}


def resamples(groups: int, count: int, seed: int) -> np.ndarray:
    """float32 [count, groups]: how often each group is drawn in each resample of as many groups, with replacement."""
    draws = np.random.default_rng(seed).integers(groups, size=(count, groups))
    flat = (draws + np.arange(count)[:, None] * groups).ravel()
    return np.bincount(flat, minlength=count * groups).reshape(count, groups).astype(np.float32)


def compare(ours: np.ndarray, peer: np.ndarray, users: np.ndarray, *, count: int, seed: int) -> Comparison:
    """Compares the means over queries of one metric, resampling users with all their queries.

    Args:
      ours, peer: float [Q], the metric for each query (a mean over seeds where there are several).
      users: [Q], whose query it is.
      count: resamples.
      seed: of the draws; the same draws for every peer, since they depend on the users alone.

    Returns:
      NaN intervals where there is no query; a ratio is infinite or NaN where the peer has nothing.
    """
    if not len(users):
        none = float("nan")
        return Comparison(none, none, none, none, none, none, none, none)
    names, group = np.unique(users, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    mine, other = np.bincount(group, ours), np.bincount(group, peer)
    drawn = resamples(len(names), count, seed).astype(np.float64)
    totals = drawn @ np.stack([mine, other, size], axis=1)
    ours_means, peer_means = totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]
    differences = np.percentile(ours_means - peer_means, [_LOW, _HIGH])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(ours.mean(), peer.mean()))
        ratios = np.percentile(ours_means / peer_means, [_LOW, _HIGH])
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
