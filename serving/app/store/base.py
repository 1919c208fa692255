"""Event, retention and the protocol of an event store.

An event that `append` has accepted survives the end of this process; the store modules say under which conditions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from serving.wire.errors import ServingError


class StoreError(ServingError):
    """The store does not answer or cannot write; the message names the store and the cause."""


@dataclass(frozen=True)
class Event:
    """One action of a user.

    Attributes:
      id: identifies the event; a second event with the same id is ignored.
      kind: view, click, like, dislike, rating or query.
      time: unix seconds.
      item: item id; "" for a query.
      value: the value of a rating, else None.
      text: the text of a query, else "".
      scope: of a dislike, "item" or "kind" (similar items are unwanted too).
      list_id: the list that showed the item; "" if none did.
      context: values of the context columns of the data set.
    """

    id: str
    kind: str
    time: float
    item: str = ""
    value: float | None = None
    text: str = ""
    scope: str = "item"
    list_id: str = ""
    context: dict[str, str | float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Serialize to one line; equal events give equal bytes."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Event:
        """Parse the output of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


@dataclass(frozen=True)
class Retention:
    """How much is stored per user.

    Attributes:
      events: the newest events that are kept.
      seconds: age at which an event expires.
    """

    events: int
    seconds: float


class Store(Protocol):
    """Events by user. Several processes may share one store. Every method raises StoreError."""

    async def append(self, batch: Sequence[tuple[str, Event]]) -> int:
        """Store (user, event) pairs, all or none.

        Returns:
          The number of new events; an event whose id the user already has is skipped.
        """

    async def read(self, user: str) -> list[Event]:
        """Return the events of a user, oldest first."""

    async def delete(self, user: str) -> int:
        """Delete everything of a user, from the files too, and return the number of events."""

    async def ping(self) -> None:
        """Check that the store can be read and written."""

    async def close(self) -> None:
        """Close connections and files."""
