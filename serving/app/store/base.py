"""Where the events of users are kept: what a store is, and which one an address names.

What `append` has returned from survives the end of this process, however it ends; the stores say on what terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving.app.store.events import Event
from serving.wire.errors import ServingError, StartError


class StoreError(ServingError):
    """The store does not answer, or cannot keep what it is given; the message says where and why."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a user: the newest `events`, each for `seconds` from its own time on."""

    events: int
    seconds: float


class Store(Protocol):
    """Events by user. Any number of processes may use the same one; all methods raise StoreError."""

    async def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        """Keeps (user, event) pairs, all or none; how many were new. An id that the user has already is passed over."""

    async def read(self, user: str) -> list[Event]:
        """The events of a user, oldest first."""

    async def delete(self, user: str) -> int:
        """Removes everything of a user, from the files too; how many events there were."""

    async def ping(self) -> None:
        """Returns where the store can be read and written."""

    async def close(self) -> None:
        """Lets go of it."""


async def open_store(address: str, kept: Kept, timeout: float) -> Store:
    """The store that an address names: `sqlite:PATH`, or `redis://...` (`rediss://`, `unix://`) as redis-py takes it.

    Args:
      address: as above.
      kept: bounds for each user.
      timeout: seconds after which a store that is busy or silent counts as away.

    Raises:
      StartError: the address names no store.
      StoreError: a SQLite file cannot be made. A Redis that is away is no error here: it may come.
    """
    scheme, _, rest = address.partition(":")
    if scheme == "sqlite" and rest:
        from serving.app.store.sqlite import SqliteStore

        return await SqliteStore.open(Path(rest), kept, timeout)
    if scheme in ("redis", "rediss", "unix"):
        from serving.app.store.redis import RedisStore

        return RedisStore(address, kept, timeout)
    raise StartError(f"app.store: {address!r} names no store; give sqlite:PATH or redis://HOST:PORT/0")
