"""The one way in for events: those that wait are written together, and nobody is told before all of it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from serving.app.store.base import Store, StoreError
from serving.app.store.event_log import EventLog
from serving.app.store.events import Event


@dataclass(frozen=True)
class _Waiting:
    events: Sequence[tuple[str, Event]]
    done: asyncio.Future[None]


class Intake:
    """Group commit: one flush to the disk for all events that came while the one before was under way.

    First the store, then the log: what the store refuses is in neither. Where the log fails, the caller is told, and
    sends the event again under its id; the store then knows it already.

    Args:
      store, log: where events go.
      most: events in one write.
    """

    def __init__(self, store: Store, log: EventLog, most: int) -> None:
        self._store, self._log, self._most = store, log, most
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()  # None: the end
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write; to be called where the event loop runs."""
        self._task = asyncio.create_task(self._work())

    async def put(self, user: str, events: Sequence[Event]) -> None:
        """Returns once the events are kept. Raises StoreError."""
        waiting = _Waiting([(user, event) for event in events], asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        await waiting.done

    async def forget(self, user: str) -> tuple[int, int]:
        """Removes a user; events in the store, lines in the log. Raises StoreError."""
        stored = await self._store.delete(user)
        try:
            return stored, await asyncio.to_thread(self._log.forget, user)
        except OSError as error:
            raise StoreError(
                f"{self._log.folder}: the log cannot be rewritten ({error.strerror}); try again"
            ) from error

    async def stop(self) -> None:
        """Writes what waits, and ends."""
        if self._task is not None:
            self._queue.put_nowait(None)
            await self._task

    async def _work(self) -> None:
        while (one := await self._queue.get()) is not None:
            waiting, count, ended = [one], len(one.events), False
            while not self._queue.empty() and count < self._most and not ended:
                following = self._queue.get_nowait()
                if following is None:
                    ended = True
                else:
                    waiting.append(following)
                    count += len(following.events)
            error = await self._write([pair for one in waiting for pair in one.events])
            for one in waiting:
                if one.done.cancelled():
                    continue  # whoever asked has hung up
                if error is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(error)
            if ended:
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
