"""Running mean and standard deviation of a stream of values."""

from __future__ import annotations

import numpy as np


class Moments:
    """Running mean and standard deviation, per dimension, of vectors (or numbers) given one at a time.

    Welford's update, in double precision: one pass, and no loss where the mean is large against the spread.
    B. P. Welford (1962), "Note on a method for calculating corrected sums of squares and products".
    """

    def __init__(self, shape: tuple[int, ...]):
        self.count = 0
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, value: np.ndarray | float) -> None:
        """Add a value of that shape."""
        self.count += 1
        difference = value - self._mean
        self._mean = self._mean + difference / self.count
        self._squares = self._squares + difference * (value - self._mean)

    @property
    def mean(self) -> np.ndarray:
        """The mean, float64 of that shape; 0 without any value."""
        return np.asarray(self._mean)

    @property
    def std(self) -> np.ndarray:
        """The population standard deviation; 1 where the values are constant, so that dividing by it is safe."""
        std = np.sqrt(np.asarray(self._squares) / max(self.count, 1))
        return np.where(std > 0, std, 1.0)
