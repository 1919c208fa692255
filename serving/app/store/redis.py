"""Redis store, for several processes and machines: per user a hash of events by id and a sorted set of ids by time.

An acknowledged event is in the memory of the Redis server and survives this process. Whether it survives the server
depends on the server's configuration (`appendonly yes`, and `appendfsync always` for every single event).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from serving.app.store.base import Event, Retention, StoreError

T = TypeVar("T")

# Lua scripts are atomic. KEYS: events, times. ARGV of the first: expiry time, kept events, seconds, then id, time, event.
_APPEND = """
local new = 0
for i = 4, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    new = new + 1
  end
end
for _, expired in ipairs({
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1]),
  redis.call('ZRANGE', KEYS[2], 0, -ARGV[2] - 1),
}) do
  for _, id in ipairs(expired) do
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
    """A `Store` on a Redis server. Arguments as in `open_store`."""

    def __init__(self, address: str, retention: Retention, timeout: float) -> None:
        self.retention = retention
        self._redis: Any = redis.asyncio.from_url(
            address, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout
        )
        self._append, self._read = self._redis.register_script(_APPEND), self._redis.register_script(_READ)
        options = self._redis.connection_pool.connection_kwargs
        # For messages: without the password that the address may contain.
        self._host = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    async def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        by_user: dict[str, list[Event]] = {}
        for user, event in batch:
            by_user.setdefault(user, []).append(event)
        retention = self.retention
        bounds: list[str | int] = [repr(time.time() - retention.seconds), retention.events, int(retention.seconds) + 1]
        async with self._redis.pipeline(transaction=True) as pipe:  # MULTI: all users or none
            for user, events in by_user.items():
                rows: list[str] = [part for event in events for part in (event.id, repr(event.time), event.to_json())]
                await self._append(keys=_keys(user), args=[*bounds, *rows], client=pipe)
            return sum(await self._call(pipe.execute()))

    async def read(self, user: str) -> list[Event]:
        oldest = repr(time.time() - self.retention.seconds)
        lines = await self._call(self._read(keys=_keys(user), args=[oldest]))
        return [Event.from_json(line) for line in lines]

    async def delete(self, user: str) -> int:
        events, times = _keys(user)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hlen(events)
            pipe.delete(events, times)
            count, _ = await self._call(pipe.execute())
        if count:
            await self._rewrite_files()
        return count

    async def ping(self) -> None:
        await self._call(self._redis.ping())

    async def close(self) -> None:
        await self._redis.aclose()

    async def _rewrite_files(self) -> None:
        """Make the server rewrite its files, which contain deleted events until then."""
        persistence = await self._call(self._redis.info("persistence"))
        if persistence.get("aof_enabled"):
            await self._call_unless_in_progress(self._redis.bgrewriteaof())
        await self._call_unless_in_progress(self._redis.bgsave(schedule=True))

    async def _call_unless_in_progress(self, call: Awaitable[Any]) -> None:
        try:
            await call
        except ResponseError as error:
            if "in progress" not in str(error):
                raise StoreError(
                    f"redis at {self._host}: deleted, but its files were not rewritten ({error})"
                ) from error
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StoreError:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        return StoreError(f"redis at {self._host}: the store does not answer ({cause}); start it, or look at its log")


def _keys(user: str) -> list[str]:
    # The braces make a cluster place both keys of a user on the same node.
    return [f"triptych:events:{{{user}}}", f"triptych:times:{{{user}}}"]
