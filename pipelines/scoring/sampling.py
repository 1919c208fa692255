"""A bounded sample of requests, in which rare ones are filled up for slices of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sample", "draw_sample", "draw_some"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """Requests that were drawn from R.

    Attributes:
      chosen: int64 [Q], their positions, in order.
      main: bool [Q], those of the sample itself, every request as likely as any other.
      slices: name of a rare kind -> bool [Q], the requests that it is measured on, each of the kind as likely as another.
      total: R.
    """

    chosen: NDArray[np.int64]
    main: Mask
    slices: Mapping[str, Mask]
    total: int


def draw_sample(total: int, limit: int, rare: Mapping[str, Mask], least: int, seed: int) -> Sample:
    """Draw requests without replacement.

    Args:
      total: R.
      limit: size of the sample; with R of at most that all are taken.
      rare: name -> bool [R], kinds of requests. Where the sample has fewer than `least` of a kind, more of the kind are
        drawn for its slice.
      least: see `rare`; as far as there are so many.
      seed: of the draw.
    """
    if total <= limit:
        return Sample(np.arange(total), np.ones(total, bool), dict(rare), total)
    # One random order for all: its beginning is the sample, and among the first ones of a kind are those of the sample.
    order = np.random.default_rng(seed).permutation(total)
    main = _mask(order[:limit], total)
    slices = {}
    for name, kind in rare.items():
        few = (kind & main).sum() < least
        slices[name] = _mask(order[kind[order]][:least], total) if few else kind & main
    chosen = np.flatnonzero(np.any([main, *slices.values()], axis=0))
    return Sample(chosen, main[chosen], {name: mask[chosen] for name, mask in slices.items()}, total)


def draw_some(count: int, limit: int, seed: int) -> NDArray[np.int64]:
    """Return `limit` of the numbers below `count`, in order; all of them where there are no more."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _mask(positions: NDArray[np.int64], total: int) -> Mask:
    mask = np.zeros(total, bool)
    mask[positions] = True
    return mask
