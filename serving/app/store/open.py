"""Open the event store that an address names."""

from __future__ import annotations

from pathlib import Path

from serving.app.store.base import Retention, Store
from serving.app.store.redis import RedisStore
from serving.app.store.sqlite import SqliteStore
from serving.wire.errors import StartError


async def open_store(address: str, retention: Retention, timeout: float) -> Store:
    """Open a SQLite or Redis store.

    Args:
      address: `sqlite:PATH`, or `redis://...`, `rediss://...` or `unix://...` as redis-py takes it.
      retention: how much is stored per user.
      timeout: seconds after which a busy or silent store counts as unavailable.

    Raises:
      StartError: the address has another form.
      StoreError: a SQLite file cannot be created. An unreachable Redis raises on its first use instead.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "sqlite" and rest:
        return await SqliteStore.open(Path(rest), retention, timeout)
    if scheme in ("redis", "rediss", "unix"):
        return RedisStore(address, retention, timeout)
    raise StartError(f"app.store: {address!r} names no store; give sqlite:PATH or redis://HOST:PORT/0")
