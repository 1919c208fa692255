"""Which unix times are plausible, in which unit, and what one that is not may be instead.

No numpy here: the client, the server and the web service judge the times of requests by the same rule as a build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)
PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNIT_NAMES: dict[TimeUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

# Seconds read as milliseconds fall into the first weeks of 1970, and so do positions and durations; milliseconds read
# as seconds fall beyond the year 2900. So a number is plausible in one unit at most.
EARLIEST = 31_536_000  # 1971-01-01 00:00 UTC
LATEST = 4_102_444_799  # 2099-12-31 23:59:59 UTC
IMPLAUSIBLE = "time is not from 1971 to 2099"  # the reason of rejects


@dataclass(frozen=True)
class TimeNotation:
    """How the times of a column are written.

    Attributes:
      unit: of numbers.
      layout: strptime format of every value; None: numbers are unix times, texts are ISO-8601.
      zone: IANA name of the time zone of times that name none themselves; None: UTC.
    """

    unit: TimeUnit
    layout: str | None = None
    zone: str | None = None

    @property
    def mismatch(self) -> str:
        """What is wrong with a value that cannot be read."""
        if self.layout is not None:
            return f"time is not in the format {self.layout!r}"
        return f"time is neither unix {UNIT_NAMES[self.unit]} nor ISO-8601"


def likely_unit(value: float) -> TimeUnit | None:
    """Return the unit in which a number is a time from 1971 to 2099, None where there is none."""
    return next((u for u in UNITS if EARLIEST * PER_SECOND[u] <= value <= LATEST * PER_SECOND[u]), None)


def doubt(value: float, unit: TimeUnit = "s") -> str | None:
    """Say in a few words why a number is no plausible time in `unit`; None where it is one."""
    likely = likely_unit(value)
    if likely == unit:
        return None
    if likely is not None:
        return f"looks like {UNIT_NAMES[likely]}"
    if value < 0:
        return "is before 1970"
    if value < EARLIEST * PER_SECOND[unit]:
        return f"would be in 1970 in {UNIT_NAMES[unit]}"
    return f"would be after 2099 in {UNIT_NAMES[unit]}"


def request_fault(value: float) -> str | None:
    """Say what is wrong with a time of a request in unix seconds, where 0 is unknown; None where it is fine."""
    problem = doubt(value) if value else None
    return f"{value} {problem}; unix seconds from 1971 to 2099 are expected, 0 for unknown" if problem else None
