"""Weights of a sum of scores that make held-out choices most likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

_WIDTH = 1e-3  # of the prior around 0, beside the mean loss; it only keeps parts that say the same from drifting
_APART = 0.5  # deviation of a new item's weight from that of the known ones, where parts have the deviation 1
_BIAS = 3.0  # deviation of the bias of new items


@dataclass(frozen=True)
class Shares:
    """What Q choices were made among.

    Attributes:
      values: float32 [Q, 1 + C, P], parts of the score; the choice first, then C candidates, NaN for what was none.
      new: bool [Q, 1 + C], items that nothing was counted of.
      correction: log of how many items of the catalogue each candidate stands for.
    """

    values: np.ndarray
    new: np.ndarray
    correction: float

    def some(self, rows: np.ndarray) -> Shares:
        """Those of some of the choices."""
        return Shares(self.values[rows], self.new[rows], self.correction)


@dataclass(frozen=True)
class Likely:
    """`weights`, `new_weights`: of each part, for known and for new items; `loss`: mean cross-entropy in nats."""

    weights: list[float]
    new_weights: list[float]
    bias: float
    loss: float


def most_likely(shares: Shares, parts: int, *, apart: bool) -> Likely:
    """Weights, none below 0, that make the choices most likely under a softmax over the sum of the first parts.

    Args:
      parts: how many of them, P'.
      apart: whether new items have weights of their own, and a bias. Few choices of new items say little of these: their
        prior is normal around the weights of the known items, and around 0 for the bias, so that without a choice they
        are the same (maximum a posteriori).
    """
    values = shares.values[..., :parts]
    there = ~np.isnan(values).any(axis=-1)
    scale = np.array([values[..., part][there].std() for part in range(parts)]) + 1e-9
    standard = np.where(there[..., None], values, 0.0).astype(np.float64) / scale
    offset = np.where(there, shares.correction, -np.inf)
    offset[:, 0] = 0.0
    count, flat = len(standard), standard.reshape(-1, parts)
    fresh = np.nonzero(shares.new & there) if apart else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    standard_fresh = standard[fresh]
    chosen, chosen_new = standard[:, 0].copy(), (shares.new[:, 0] & apart)

    def split(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return weights[:parts], weights[parts : 2 * parts], weights[-1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        known, new, bias = split(weights)
        # In place, as rows of one matrix: this is what the time goes to.
        share = (flat @ known).reshape(offset.shape)
        share += offset
        share[fresh] = standard_fresh @ new + bias + offset[fresh]
        chosen_logits = share[:, 0].copy()
        highest = share.max(axis=1, keepdims=True)
        share -= highest
        np.exp(share, out=share)
        total = share.sum(axis=1, keepdims=True)
        share /= total
        log_z = (highest + np.log(total))[:, 0]
        of_new = share[fresh]
        new_gradient = of_new @ standard_fresh / count - chosen[chosen_new].sum(axis=0) / count
        share[fresh] = 0.0
        gradient = share.ravel() @ flat / count - chosen[~chosen_new].sum(axis=0) / count
        bias_gradient = of_new.sum() / count - chosen_new.mean()
        value = (log_z - chosen_logits).mean() + _WIDTH * (known @ known)
        gradient += 2 * _WIDTH * known
        if apart:
            off = new - known
            value += (off @ off) / (2 * _APART**2 * count) + bias**2 / (2 * _BIAS**2 * count)
            gradient -= off / (_APART**2 * count)
            new_gradient = new_gradient + off / (_APART**2 * count)
            bias_gradient += bias / (_BIAS**2 * count)
        return float(value), np.concatenate([gradient, new_gradient, [bias_gradient]])

    found = minimize(
        loss,
        np.concatenate([np.full(2 * parts, 0.1), [0.0]]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * (2 * parts) + [(None, None)],
    )
    known, new, bias = split(found.x)
    prior = _WIDTH * (known @ known)
    if apart:
        prior += ((new - known) @ (new - known)) / (2 * _APART**2 * count) + bias**2 / (2 * _BIAS**2 * count)
    weights = [float(weight) for weight in known / scale]
    new_weights = [float(weight) for weight in new / scale] if apart else weights
    return Likely(weights, new_weights, float(bias) if apart else 0.0, float(found.fun - prior))
