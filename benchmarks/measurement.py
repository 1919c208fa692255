"""Measured figures beside their limits, and the timing of two alternatives in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One figure of a benchmark and the limit it must keep.

    Attributes:
      name: what is measured, against what.
      value: a ratio, fraction or error.
      limit: the bound of the value.
      at_least: the limit is a lower bound, else an upper one.
      facts: what the value was computed from, with units.
    """

    name: str
    value: float
    limit: float
    at_least: bool
    facts: str

    @property
    def holds(self) -> bool:
        """Whether the value keeps its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """Format the figure as a line of a table."""
        sign = ">=" if self.at_least else "<="
        verdict = "holds" if self.holds else "MISSED"
        return f"{self.name:<58} {self.value:>9.3g}  {sign} {self.limit:<6g} {verdict:<7} {self.facts}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figure for a result file."""
        return {**asdict(self), "value": float(f"{self.value:.4g}"), "holds": self.holds}


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speedup(ours: Callable[[], Any], reference: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Compare the time of two callables that take turns.

    Each ratio is of two calls next to each other in time, so that other load of the machine affects both. Each callable
    runs once before, for compilation and caches.

    Returns:
      Median over rounds of reference / ours, and the median seconds of ours and of the reference.
    """
    ours()
    reference()
    pairs = [(seconds(ours), seconds(reference)) for _ in range(rounds)]
    our_seconds, reference_seconds = zip(*pairs, strict=True)
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    return ratio, statistics.median(our_seconds), statistics.median(reference_seconds)
