"""Limit of requests per caller."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from serving.wire.errors import StartError


class RateLimiter:
    """Counts the requests of each caller in this process: behind n processes a caller can send n times as much.

    Args:
      rate: the most requests of a caller, such as "100/second".
      option: the option that sets it, for messages.
    """

    def __init__(self, rate: str, option: str) -> None:
        self.rate = parse_rate(rate, option)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def hit(self, caller: str) -> int:
        """Count a request; return 0 if it is allowed, else the seconds until the caller may try again."""
        if self._limiter.hit(self.rate, caller):
            return 0
        return max(1, math.ceil(self._limiter.get_window_stats(self.rate, caller).reset_time - time.time()))


def parse_rate(rate: str, option: str) -> RateLimitItem:
    """Parse a rate such as "100/second". Raises StartError that names the option."""
    try:
        return parse(rate)
    except ValueError as error:
        raise StartError(f"{option}: {rate!r} is no rate; write it as 100/second or 1000/minute") from error
