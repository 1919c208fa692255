"""An item of a list with all that is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.language.words import fold
from serving.app.models import Listed, Reason
from serving.app.ranking import profile, reasons
from serving.app.ranking.asks import Found, Settings
from serving.app.ranking.rules import Applicable
from serving.app.store.events import Event


@dataclass(frozen=True)
class Facts:
    """What the reasons of one list stand on.

    Attributes:
      catalogue, settings: the engine's.
      events: of the user, oldest first.
      taste: the long-term one that took part in the order; None: it did not.
      query: the words that the model was sent of the user's own.
      grounded: there was a history or an item to go by, so that popularity is no reason.
      house, day: rules and when.
    """

    catalogue: Catalogue
    settings: Settings
    events: Sequence[Event]
    taste: np.ndarray | None
    query: str
    grounded: bool
    house: Sequence[Applicable]
    day: date


def listed(facts: Facts, found: Found, scores: np.ndarray, row: int) -> Listed:
    """The item at that row of the catalogue; one that is not among `found` was pinned.

    Args:
      scores: float [n], of `found`, as they were ordered.
    """
    catalogue = facts.catalogue
    places = np.flatnonzero(found.rows == row)
    place = int(places[0]) if len(places) else None
    labels = {} if place is None else found.labels[place]
    return Listed(
        **catalogue.card(catalogue.ids[row]),
        score=None if place is None else _finite(float(scores[place])),
        labels={name: _finite(value) for name, value in labels.items()},
        modality_weights=catalogue.weights(row),
        reasons=_reasons(facts, row, "" if place is None else found.because[place]),
        rules=[
            one.rule.name
            for one in facts.house
            if one.rows[row] and one.rule.action != "block" and one.rule.holds_on(facts.day)
        ],
        seen=catalogue.ids[row] in profile.seen(facts.events),
    )


def _reasons(facts: Facts, row: int, because: str) -> list[Reason]:
    catalogue, least = facts.catalogue, facts.settings.least_cosine
    result: list[Reason | None] = []
    said = _verdict(facts.events, because) if because in catalogue.position else None
    if said is not None:
        cosine = catalogue.cosine(row, catalogue.position[because])
        result.append(reasons.because(because, catalogue.title(because), cosine, least, said.kind, said.value))
    if facts.query:
        words, there = fold(facts.query), catalogue.items_with
        counts = catalogue.words_of(row)
        items_with = {word: len(there[word]) for word in set(words) if word in there}
        result += reasons.matched(words, counts, items_with, len(catalogue))
    if facts.taste is not None:
        result.append(reasons.taste(float(catalogue.vectors[row] @ facts.taste), least))
    result.append(reasons.carried_by(catalogue.weights(row)))
    if not facts.grounded and not facts.query:
        result.append(reasons.popular(int(catalogue.facts.counts[row])))
    return [reason for reason in result if reason is not None]


def _verdict(events: Sequence[Event], item: str) -> Event | None:
    """The user's newest event with an item, verdicts before looks."""
    of_item = [event for event in events if event.item == item]
    verdicts = [event for event in of_item if event.kind in ("like", "rating")]
    return next(reversed(verdicts or of_item), None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
