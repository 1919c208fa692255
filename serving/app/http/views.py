"""Profiles and the page's controls, as the app answers them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.models import (
    AboutOut,
    CategoryOut,
    EventOut,
    LabelOut,
    NearTaste,
    NumberOut,
    ProfileOut,
    Taste,
)
from serving.app.ranking import profile
from serving.app.ranking.asks import Settings
from serving.app.store.events import Event

_NEAREST = 5


def about(catalogue: Catalogue, settings: Settings, token: bool) -> AboutOut:
    """What the page draws its controls from."""
    scale, shares = settings.scale, catalogue.shares
    shown = sorted(shares, key=lambda name: (-shares[name], name))[: settings.shown_categories]
    return AboutOut(
        name=catalogue.name,
        items=len(catalogue),
        modalities=catalogue.modalities,
        media=dict(catalogue.media),
        categories=[CategoryOut(name=name, items=len(catalogue.categories[name])) for name in sorted(shown)],
        numbers=[
            NumberOut(name=name, low=float(np.nanmin(values)), high=float(np.nanmax(values)))
            for name, values in catalogue.numbers.items()
            if not np.isnan(values).all()
        ],
        labels=[
            LabelOut(
                name=label["name"],
                task=label["task"],
                low=label["range"][0] if label.get("range") else None,
                high=label["range"][1] if label.get("range") else None,
            )
            for label in catalogue.labels
        ],
        rating=None if scale.low is None or scale.high is None else (scale.low, scale.high),
        token=token,
        max_k=settings.max_k,
        examples=list(settings.examples),
    )


def profile_of(user: str, events: Sequence[Event], catalogue: Catalogue, settings: Settings) -> ProfileOut:
    """What is known of a user, and what follows from it."""
    taste, count = profile.taste(events, settings.scale, settings.taste_rate, catalogue.position, catalogue.vectors)
    near_categories: list[NearTaste] = []
    near_items: list[NearTaste] = []
    if taste is not None:
        cosines = {name: float(centroid @ taste) for name, centroid in catalogue.centroids.items()}
        near_categories = [
            NearTaste(name=name, id=None, cosine=cosines[name])
            for name in sorted(cosines, key=lambda one: (-cosines[one], one))[:_NEAREST]
        ]
        all_items = catalogue.vectors @ taste
        near_items = [
            NearTaste(name=catalogue.title(catalogue.ids[row]), id=catalogue.ids[row], cosine=float(all_items[row]))
            for row in np.argsort(-all_items, kind="stable")[:_NEAREST].tolist()
        ]
    names = {
        event.item: catalogue.facts.categories[catalogue.position[event.item]]
        for event in events
        if event.item in catalogue.position
    }
    history = profile.short_term(events, settings.scale, settings.short_term)
    return ProfileOut(
        user=user,
        events=len(events),
        recent=[_event(event, catalogue) for event in reversed(events[-settings.shown_events :])],
        taste=Taste(events=count, rate=settings.taste_rate, categories=near_categories, items=near_items),
        not_these=sorted(profile.disliked(events)),
        less_of=sorted(profile.less_of(events)),
        rating_words=profile.rating_words(events, settings.scale, names, catalogue.shares, settings.rating_words),
        based_on=_sentence(len(events), len(history.ids), count),
    )


def _event(event: Event, catalogue: Catalogue) -> EventOut:
    return EventOut(
        id=event.id,
        kind=event.kind,  # type: ignore[arg-type]  # what is kept was checked on its way in
        item=event.item or None,
        title=catalogue.title(event.item) if event.item else None,
        value=event.value,
        text=event.text or None,
        time=event.time,
        scope=event.scope,
    )


def _sentence(events: int, newest: int, taste: int) -> str:
    if not events:
        return "Nothing is known of you: lists are what most people take."
    return (
        f"Your newest {newest} items go to the model as your history; a long-term taste is made of {taste} of your "
        f"{events} events."
    )
