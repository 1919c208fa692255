"""How a factor becomes one of six looks, words or sounds."""

from __future__ import annotations

import numpy as np

from tfrecs.demo.world import TOP_LEVEL

BLUR = 0.15  # standard deviation of what is shown around what is true, in levels


def nearby_level(factor: float, rng: np.random.Generator) -> int:
    """The whole level nearest to the factor after a little noise, 0 to 5.

    Drawn anew for each detail of an item: a factor between two levels shows as a mixture of both.
    """
    return int(np.clip(np.rint(factor + rng.normal(0.0, BLUR)), 0, TOP_LEVEL))


def between_levels(factor: float) -> tuple[int, int, float]:
    """The two whole levels around a factor and the share of the upper one.

    The share is a smoothstep, not linear: most factors look much like one level, few like a blend.
    """
    low = int(np.clip(np.floor(factor), 0, TOP_LEVEL - 1))
    share = float(np.clip(factor - low, 0.0, 1.0))
    return low, low + 1, share * share * (3.0 - 2.0 * share)
