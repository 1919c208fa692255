"""User profile from events: recent history, long-term taste, unwanted items. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.app.store.base import Event


@dataclass(frozen=True)
class EventScale:
    """Converts events to event values and preference strengths.

    Attributes:
      low, high: range of the event values of the data set; None if it has none.
      event_values: kind -> event value that is sent to the model; other kinds are sent as unknown.
      strength: kind -> how strongly it speaks for its item, -1 to 1; that of a rating is scaled by its value.
      weighted: whether the event values are weights, of which the model reads one below 0 as an explicit negative. A
        rating is none.
    """

    low: float | None
    high: float | None
    event_values: Mapping[str, float]
    strength: Mapping[str, float]
    weighted: bool = False

    @property
    def dislike_weight(self) -> float | None:
        """Return the weight of a dislike; None if the model takes every event of a history as a choice."""
        weight = self.event_values.get("dislike", 0.0)
        return weight if self.weighted and weight < 0 else None

    def in_range(self, value: float) -> bool:
        """Return whether a rating can have this value."""
        return self.low is None or self.high is None or self.low <= value <= self.high

    def value_of(self, event: Event) -> float:
        """Return the event value for the model, NaN if unknown."""
        if event.kind == "rating" and event.value is not None and not self.weighted:
            return event.value
        return self.event_values.get(event.kind, math.nan)

    def strength_of(self, event: Event) -> float:
        """Return how strongly the event speaks for (up to 1) or against (down to -1) its item."""
        if event.kind != "rating" or event.value is None or self.low is None or self.high is None:
            return self.strength.get(event.kind, 0.0)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return max(-1.0, min(1.0, (event.value - middle) / half)) * self.strength["rating"]


@dataclass(frozen=True)
class ProfileHistory:
    """The newest items of a user as model input, oldest first.

    Attributes:
      ids: item ids.
      values: event values, NaN if unknown.
      times: unix seconds.
    """

    ids: tuple[str, ...]
    values: tuple[float, ...]
    times: tuple[int, ...]


def recent_history(events: Sequence[Event], scale: EventScale, length: int) -> ProfileHistory:
    """Return the newest `length` items, each once, at the time of its newest event.

    The value of an item is that of its newest event with a known value: a view after a rating keeps the rating. Disliked
    items have the weight of a dislike; they are left out where the model takes every history item as a choice.
    """
    disliked, dislike_weight = disliked_items(events), scale.dislike_weight
    latest: dict[str, tuple[float, float]] = {}
    for event in events:
        is_disliked = event.item in disliked
        if event.item and (dislike_weight is not None if is_disliked else event.kind != "dislike"):
            value = dislike_weight if is_disliked and dislike_weight is not None else scale.value_of(event)
            known = latest.pop(event.item, (math.nan, 0.0))[0]
            latest[event.item] = (known if math.isnan(value) else value, event.time)
    newest = list(latest.items())[-length:]
    return ProfileHistory(
        tuple(item for item, _ in newest),
        tuple(value for _, (value, _) in newest),
        tuple(int(time) for _, (_, time) in newest),
    )


def seen_items(events: Sequence[Event]) -> set[str]:
    """Return the items with any event."""
    return {event.item for event in events if event.item}


def _latest_verdicts(events: Sequence[Event]) -> dict[str, Event]:
    return {event.item: event for event in events if event.kind in ("like", "dislike", "rating")}


def disliked_items(events: Sequence[Event]) -> set[str]:
    """Return the items whose newest like, rating or dislike is a dislike."""
    return {item for item, event in _latest_verdicts(events).items() if event.kind == "dislike"}


def unwanted_kinds(events: Sequence[Event]) -> set[str]:
    """Return the disliked items whose dislike covers similar items too."""
    verdicts = _latest_verdicts(events).items()
    return {item for item, event in verdicts if event.kind == "dislike" and event.scope == "kind"}


def long_term_taste(
    events: Sequence[Event], scale: EventScale, rate: float, position: Mapping[str, int], embeddings: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """Return the exponential moving average of the embeddings of a user's items.

    P <- a h + (1 - a) P over the events, oldest first, from zero; h is the unit embedding of the item, negated if the
    event speaks against it, and a is `rate` times the strength of the event. It is computed anew from the stored events,
    so that it always fits the embeddings of the current model.

    Args:
      events: oldest first.
      scale: gives the strength of an event.
      rate: a of an event of strength 1, in (0, 1].
      position: item id -> row of `embeddings`; other items are ignored.
      embeddings: float [N, D], unit length.

    Returns:
      The taste, float32 [D] of unit length, or None if no event counts; and the number of events that count.
    """
    taste, count = np.zeros(embeddings.shape[1], np.float32), 0
    for event in events:
        row, strength = position.get(event.item), scale.strength_of(event)
        if row is not None and strength:
            a = rate * abs(strength)
            taste = a * math.copysign(1.0, strength) * embeddings[row] + (1 - a) * taste
            count += 1
    norm = float(np.linalg.norm(taste))
    return (taste / norm if norm > 1e-9 else None), count


def rating_words(
    events: Sequence[Event],
    scale: EventScale,
    categories: Mapping[str, Collection[str]],
    category_frequency: Mapping[str, float],
    limit: int,
) -> str:
    """Describe the user's ratings by categories.

    Args:
      events: oldest first.
      scale: gives the strength of an event.
      categories: item id -> its categories.
      category_frequency: category -> fraction of the catalogue in it.
      limit: the most categories.

    Returns:
      The categories that are more frequent among the items the user likes than in the catalogue and among the items the
      user dislikes, the most pronounced first, separated by blanks; "" if there are none.
    """
    strengths = {event.item: scale.strength_of(event) for event in events if event.item and scale.strength_of(event)}
    totals = {sign: sum(abs(strength) for strength in strengths.values() if strength * sign > 0) for sign in (1, -1)}
    lift: dict[str, float] = {}
    for item, strength in strengths.items():
        for name in categories.get(item, ()):
            total = totals[1 if strength > 0 else -1]
            lift[name] = lift.get(name, -category_frequency.get(name, 0.0)) + strength / total
    pronounced = sorted((name for name, value in lift.items() if value > 0), key=lambda name: (-lift[name], name))
    return " ".join(pronounced[:limit])
