"""Infers what the events of a log count from conventional names of columns and event types."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tfrecs.tables.table import Table, as_ids, as_numbers

# Names of event types, compared in lower case without separators, and what an event of that type counts.
_WEIGHTS = {
    0.2: ("view", "pv", "pageview", "productview", "click", "visit", "open", "detail"),
    1.0: (
        *("like", "fav", "favorite", "favourite", "save", "bookmark", "wishlist", "follow", "share", "comment"),
        *("cart", "addtocart", "play", "listen", "watch", "complete", "download", "subscribe", "rent", "read"),
    ),
    3.0: ("buy", "purchase", "transaction", "order", "checkout", "conversion"),
    0.0: ("impression", "show", "removefromcart", "remove"),
    -0.2: ("skip",),
    -1.0: ("dislike", "thumbsdown", "hide", "notinterested", "block", "report", "unlike"),
}
_WEIGHT_OF = {name: weight for weight, names in _WEIGHTS.items() for name in names}
_OTHER = 1.0  # an event type of another name beside known ones
_MOST_TYPES = 20  # a column with more different values holds no event types


def infer_weight(table: Table, event: str | None, weight: str | None) -> dict[str, Any] | None:
    """Infer the key `weight` of the interactions; None where every event counts the same.

    Args:
      table: the interactions.
      event: the column whose name is that of event types, or None.
      weight: the column whose name is that of a weight, or None.
    """
    if weight is not None:
        numbers, bad = as_numbers(table.frame[weight])
        if not bad.any() and (numbers > 0).any() and len(np.unique(numbers[~np.isnan(numbers)])) > 1:
            return {"column": weight}
    if event is None:
        return None
    names = as_ids(table.frame[event]).dropna().unique().tolist()
    known = {name: _WEIGHT_OF.get(re.sub(r"[^a-z]", "", name.lower())) for name in names}
    if len(names) > _MOST_TYPES or all(value is None for value in known.values()):
        return None
    values = {name: _OTHER if value is None else value for name, value in sorted(known.items())}
    if len(set(values.values())) == 1 or max(values.values()) <= 0:
        return None
    return {"column": event, "values": values}
