"""Events in Redis, for many processes and machines: for each user a hash of events by id and their ids by time.

What is acknowledged is in the memory of the Redis server, and outlives this process; whether it outlives that server is
its own configuration (`appendonly yes`, `appendfsync always` for each event).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from serving.app.store.base import Kept, StoreError
from serving.app.store.events import Event

T = TypeVar("T")

# Scripts run whole, with nothing of another client in between. KEYS: events, times.
_APPEND = """
local new = 0
for i = 4, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    new = new + 1
  end
end
for _, gone in ipairs({
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1]),
  redis.call('ZRANGE', KEYS[2], 0, -ARGV[2] - 1),
}) do
  for _, id in ipairs(gone) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[1], id)
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return new
"""
_READ = """
local events = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], '+inf')) do
  events[#events + 1] = redis.call('HGET', KEYS[1], id)
end
return events
"""


class RedisStore:
    """See `serving.app.store.base.Store`. Arguments: see `open_store`."""

    def __init__(self, address: str, kept: Kept, timeout: float) -> None:
        self.kept = kept
        self._redis: Any = redis.asyncio.from_url(
            address, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout
        )
        self._append, self._read = self._redis.register_script(_APPEND), self._redis.register_script(_READ)
        options = self._redis.connection_pool.connection_kwargs
        # Without the password that the address may hold.
        self._where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    async def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        by_user: dict[str, list[Event]] = {}
        for user, event in batch:
            by_user.setdefault(user, []).append(event)
        bounds: list[str | int] = [repr(time.time() - self.kept.seconds), self.kept.events, int(self.kept.seconds) + 1]
        async with self._redis.pipeline(transaction=True) as pipe:  # MULTI: all users or none
            for user, events in by_user.items():
                rows: list[str] = [part for event in events for part in (event.id, repr(event.time), event.to_json())]
                await self._append(keys=_keys(user), args=[*bounds, *rows], client=pipe)
            return sum(await self._answer(pipe.execute()))

    async def read(self, user: str) -> list[Event]:
        oldest = repr(time.time() - self.kept.seconds)
        found = await self._answer(self._read(keys=_keys(user), args=[oldest]))
        return [Event.from_json(text) for text in found]

    async def delete(self, user: str) -> int:
        events, times = _keys(user)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hlen(events)
            pipe.delete(events, times)
            count, _ = await self._answer(pipe.execute())
        if count:
            await self._rewrite_files()
        return count

    async def ping(self) -> None:
        await self._answer(self._redis.ping())

    async def close(self) -> None:
        await self._redis.aclose()

    async def _rewrite_files(self) -> None:
        """Has the server write its files anew: until then they hold what was deleted."""
        persistence = await self._answer(self._redis.info("persistence"))
        if persistence.get("aof_enabled"):
            await self._unless_under_way(self._redis.bgrewriteaof())
        await self._unless_under_way(self._redis.bgsave(schedule=True))

    async def _unless_under_way(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except ResponseError as error:
            if "in progress" not in str(error):
                raise StoreError(
                    f"redis at {self._where}: deleted, but its files were not rewritten ({error})"
                ) from error
        except (RedisError, OSError) as error:
            raise self._away(error) from error

    async def _answer(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (RedisError, OSError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> StoreError:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return StoreError(f"redis at {self._where}: the store does not answer ({first}); start it, or look at its log")


def _keys(user: str) -> list[str]:
    # Braces: both keys of a user lie on the same node of a cluster.
    return [f"triptych:events:{{{user}}}", f"triptych:times:{{{user}}}"]
