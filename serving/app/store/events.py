"""An event as the app keeps it, and its one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that a user did.

    Attributes:
      id: of the event; a second one with the same id is the same event.
      kind: view, click, like, dislike, rating or query.
      time: unix seconds.
      item: item id; "" for a query.
      value: of a rating, else None.
      text: of a query, else "".
      scope: of a dislike: "item" or "kind".
      list_id: of the answer that showed the item; "" where none did.
      context: values of the data set's own context columns.
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
        """The same event gives the same bytes."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Event:
        values: dict[str, Any] = json.loads(text)
        return cls(**values)
