"""What the events of a user say: the newest of them, the long-term taste, what is not wanted. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.app.store.events import Event


@dataclass(frozen=True)
class Scale:
    """How events become numbers.

    Attributes:
      low, high: of the data set's event values; None where it has none.
      worth: kind -> the value that it is sent to the model with; what is not in it is sent as unknown.
      strength: kind -> how much it says about taste, -1 to 1; a rating's follows from where it is in the range.
    """

    low: float | None
    high: float | None
    worth: Mapping[str, float]
    strength: Mapping[str, float]

    def holds(self, value: float) -> bool:
        """Whether a rating can have that value."""
        return self.low is None or self.high is None or self.low <= value <= self.high

    def value(self, event: Event) -> float:
        """What the model is told of it; NaN = unknown."""
        return (
            event.value if event.kind == "rating" and event.value is not None else self.worth.get(event.kind, math.nan)
        )

    def strength_of(self, event: Event) -> float:
        """How much it speaks for (1) or against (-1) its item."""
        if event.kind != "rating" or event.value is None or self.low is None or self.high is None:
            return self.strength.get(event.kind, 0.0)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return max(-1.0, min(1.0, (event.value - middle) / half)) * self.strength["rating"]


@dataclass(frozen=True)
class History:
    """The newest events as the model takes them, oldest first; `values` NaN = unknown, `times` unix seconds."""

    ids: tuple[str, ...]
    values: tuple[float, ...]
    times: tuple[int, ...]


def short_term(events: Sequence[Event], scale: Scale, length: int) -> History:
    """The newest `length` items that the user took, each once, where its newest event is.

    An item's value is that of its newest event with a known one: who rates a film and then looks at it again still
    rated it. Items whose newest verdict is a dislike are left out: to the model, whatever is in a history is a choice.
    """
    refused = disliked(events)
    last: dict[str, tuple[float, float]] = {}
    for event in events:
        if event.item and event.kind != "dislike" and event.item not in refused:
            value = scale.value(event)
            known = last.pop(event.item, (math.nan, 0.0))[0]
            last[event.item] = (known if math.isnan(value) else value, event.time)
    newest = list(last.items())[-length:]
    return History(
        tuple(item for item, _ in newest),
        tuple(value for _, (value, _) in newest),
        tuple(int(at) for _, (_, at) in newest),
    )


def seen(events: Sequence[Event]) -> set[str]:
    """Items that there is any event of."""
    return {event.item for event in events if event.item}


def _verdicts(events: Sequence[Event]) -> dict[str, Event]:
    return {event.item: event for event in events if event.kind in ("like", "dislike", "rating")}


def disliked(events: Sequence[Event]) -> set[str]:
    """Items whose newest verdict (like, rating, dislike) is a dislike."""
    return {item for item, event in _verdicts(events).items() if event.kind == "dislike"}


def less_of(events: Sequence[Event]) -> set[str]:
    """Those of them of whose whole kind less is wanted."""
    return {item for item, event in _verdicts(events).items() if event.kind == "dislike" and event.scope == "kind"}


def taste(
    events: Sequence[Event], scale: Scale, rate: float, position: Mapping[str, int], vectors: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """The long-term taste: P <- a h + (1 - a) P over the events, oldest first.

    h is the unit embedding of the event's item, turned round where the event speaks against it; a is `rate` times how
    much the event says. It starts at zero and is made anew of the kept events each time, so that it fits whichever
    model answers now; what an event older than those would add is less than (1 - a) to the power of their number.

    Args:
      rate: a of an event of strength 1, in (0, 1].
      position: item id -> row of `vectors`; other items count as nothing.
      vectors: float [N, D], unit length.

    Returns:
      P of unit length, float32 [D], or None where nothing was said; and how many events it is made of.
    """
    result, count = np.zeros(vectors.shape[1], np.float32), 0
    for event in events:
        row, strength = position.get(event.item), scale.strength_of(event)
        if row is not None and strength:
            a = rate * abs(strength)
            result = a * math.copysign(1.0, strength) * vectors[row] + (1 - a) * result
            count += 1
    norm = float(np.linalg.norm(result))
    return (result / norm if norm > 1e-9 else None), count


def rating_words(
    events: Sequence[Event],
    scale: Scale,
    categories: Mapping[str, Collection[str]],
    shares: Mapping[str, float],
    most: int,
) -> str:
    """What the user's verdicts are in words: the categories that are more frequent among the items they speak for than
    in the catalogue and among those they speak against.

    Args:
      categories: item id -> its categories.
      shares: category -> share of the catalogue that is in it.
      most: words at most.

    Returns:
      Categories, the most telling first, separated by blanks; "" where nothing stands out.
    """
    latest = {event.item: scale.strength_of(event) for event in events if event.item and scale.strength_of(event)}
    sides = {sign: sum(abs(strength) for strength in latest.values() if strength * sign > 0) for sign in (1, -1)}
    lift: dict[str, float] = {}
    for item, strength in latest.items():
        for name in categories.get(item, ()):
            side = 1 if strength > 0 else -1
            lift[name] = lift.get(name, -shares.get(name, 0.0)) + strength / sides[side]
    telling = sorted((name for name, value in lift.items() if value > 0), key=lambda name: (-lift[name], name))
    return " ".join(telling[:most])
