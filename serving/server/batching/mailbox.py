"""Results that other threads deliver to an event loop, which is woken once for many of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from serving.server.batching.scheduler import Task
from serving.server.status import deadline_exceeded


class Mailbox:
    """Of one event loop; its coroutines wait here. `asyncio.wrap_future` would wake the loop for each result."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._woken = False

    async def result(self, task: Task) -> dict[str, Any]:
        """The task's result, or its error raised. Raises DeadlineExceededError where it is not there in time."""
        arrival = self._arrival(task.result)
        timer = None
        if task.deadline is not None:
            timer = self._loop.call_later(task.deadline - time.monotonic(), _expire, arrival)
        try:
            await arrival
        finally:
            if timer is not None:
                timer.cancel()
        return task.result.result(timeout=0)

    async def ends(self, results: Sequence[Future[Any]]) -> None:
        """Returns when all have a result, whoever cancels this meanwhile: what they use must not be freed before."""
        arrivals = [self._arrival(result) for result in results if not result.done()]
        while arrivals:
            try:
                _, left = await asyncio.wait(arrivals)
            except asyncio.CancelledError:
                continue
            arrivals = list(left)

    def _arrival(self, result: Future[Any]) -> asyncio.Future[None]:
        arrival = self._loop.create_future()
        result.add_done_callback(lambda done: self._put(arrival))
        return arrival

    def _put(self, arrival: asyncio.Future[None]) -> None:
        self._arrived.append(arrival)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First, so that what comes while the letters are handed out wakes the loop again.
        self._woken = False
        while self._arrived:
            arrival = self._arrived.popleft()
            if not arrival.done():
                arrival.set_result(None)


def _expire(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_exception(deadline_exceeded("Run() timeout exceeded while waiting for its turn"))
