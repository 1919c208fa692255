"""Group commit for events: concurrent requests share one write to the store and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from serving.app.store.base import Event, Store, StoreError
from serving.app.store.event_log import EventLog


@dataclass(frozen=True)
class _PendingWrite:
    events: Sequence[tuple[str, Event]]
    done: asyncio.Future[None]


class EventWriter:
    """Writes events to the store and then to the log.

    Events that arrive during a write are written together in the next one. If the store refuses events, the log does
    not get them. If the log fails, the caller gets the error and may send the same event ids again; the store then
    skips them.

    Args:
      store: where profiles are read from.
      log: the interaction log.
      max_events: the most events in one write.
    """

    def __init__(self, store: Store, log: EventLog, max_events: int) -> None:
        self._store, self._log, self._max_events = store, log, max_events
        self._queue: asyncio.Queue[_PendingWrite | None] = asyncio.Queue()  # None ends the task
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the writing task in the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def put(self, user: str, events: Sequence[Event]) -> None:
        """Write events and return once they are on disk. Raises StoreError."""
        pending = _PendingWrite([(user, event) for event in events], asyncio.get_running_loop().create_future())
        self._queue.put_nowait(pending)
        await pending.done

    async def forget(self, user: str) -> tuple[int, int]:
        """Delete a user.

        Returns:
          The number of events deleted from the store and of lines deleted from the log.

        Raises:
          StoreError: the store does not answer or the log cannot be rewritten.
        """
        stored = await self._store.delete(user)
        try:
            return stored, await asyncio.to_thread(self._log.forget, user)
        except OSError as error:
            raise StoreError(
                f"{self._log.folder}: the log cannot be rewritten ({error.strerror}); try again"
            ) from error

    async def stop(self) -> None:
        """Write the pending events and end the task."""
        if self._task is not None:
            self._queue.put_nowait(None)
            await self._task

    async def _run(self) -> None:
        while (first := await self._queue.get()) is not None:
            batch, count, stopping = [first], len(first.events), False
            while not self._queue.empty() and count < self._max_events and not stopping:
                following = self._queue.get_nowait()
                if following is None:
                    stopping = True
                else:
                    batch.append(following)
                    count += len(following.events)
            error = await self._write([pair for pending in batch for pair in pending.events])
            for pending in batch:
                if pending.done.cancelled():
                    continue  # the client has disconnected
                if error is None:
                    pending.done.set_result(None)
                else:
                    pending.done.set_exception(error)
            if stopping:
                return

    async def _write(self, batch: Sequence[tuple[str, Event]]) -> StoreError | None:
        try:
            await self._store.append(batch)
            await asyncio.to_thread(self._log.append, batch)
        except StoreError as error:
            return error
        except OSError as error:
            return StoreError(f"{self._log.folder}: the log cannot be written ({error.strerror}); free some space")
        return None
