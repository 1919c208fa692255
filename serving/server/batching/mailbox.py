"""Results that batch threads deliver to an event loop, which wakes once for many of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from serving.server.batching.shared_batch_scheduler import BatchTask
from serving.server.status import deadline_exceeded


class Mailbox:
    """Where the coroutines of one event loop wait for results.

    `asyncio.wrap_future` would wake the loop once for each result.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._wake_scheduled = False

    async def result(self, task: BatchTask) -> dict[str, Any]:
        """Wait for the result of a task. Raises its error, or DeadlineExceededError if it comes too late."""
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

    async def wait_all(self, results: Sequence[Future[Any]]) -> None:
        """Wait until all have ended, even if cancelled meanwhile: the model that they use must stay loaded until then."""
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
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Reset first, so that a result that arrives during delivery wakes the loop again.
        self._wake_scheduled = False
        while self._arrived:
            arrival = self._arrived.popleft()
            if not arrival.done():
                arrival.set_result(None)


def _expire(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_exception(deadline_exceeded("Run() timeout exceeded while waiting for its turn"))
