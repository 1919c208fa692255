"""Two ways of the same work, measured in turns, and the ratio of their rates beside the limit it must reach."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
      name: what is measured, against what.
      value: the ratio (or share, or error).
      limit: what it must be.
      at_least: whether the limit is a lower one.
      facts: what the value was made of, with units.
    """

    name: str
    value: float
    limit: float
    at_least: bool
    facts: str

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "holds" if self.holds else "MISSED"
        return f"{self.name:<58} {self.value:>9.3g}  {sign} {self.limit:<6g} {verdict:<7} {self.facts}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "value": float(f"{self.value:.4g}"), "holds": self.holds}


def seconds(work: Callable[[], Any]) -> float:
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


def speedup(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Median over rounds of theirs / ours, and the median seconds of both.

    They take turns, and each ratio is of neighbours in time: what else the machine does then falls on both. Each runs
    once before, for what is compiled and cached at first.
    """
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    mine, other = zip(*pairs, strict=True)
    return statistics.median(b / a for a, b in pairs), statistics.median(mine), statistics.median(other)
