"""Answers of `/about` and `/users/{id}`, which other faces of the app give too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.ranking import profile
from serving.app.ranking.requests import RankingSettings
from serving.app.schemas import (
    AboutOut,
    CategoryOut,
    EventOut,
    LabelOut,
    NumberOut,
    ProfileOut,
    Taste,
    TasteNeighbour,
)
from serving.app.store.base import Event

_NUM_NEAREST = 5


def about_answer(catalogue: AppCatalogue, settings: RankingSettings, token: bool) -> AboutOut:
    """Return the data of the page's controls. `token`: writes need a token."""
    scale, frequency = settings.scale, catalogue.category_frequency
    shown = sorted(frequency, key=lambda name: (-frequency[name], name))[: settings.shown_categories]
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


def profile_answer(
    user: str, events: Sequence[Event], catalogue: AppCatalogue, settings: RankingSettings
) -> ProfileOut:
    """Return the profile of a user with these events, oldest first."""
    taste, count = profile.long_term_taste(
        events, settings.scale, settings.taste_rate, catalogue.position, catalogue.embeddings
    )
    near_categories: list[TasteNeighbour] = []
    near_items: list[TasteNeighbour] = []
    if taste is not None:
        cosines = {name: float(centroid @ taste) for name, centroid in catalogue.centroids.items()}
        near_categories = [
            TasteNeighbour(name=name, id=None, cosine=cosines[name])
            for name in sorted(cosines, key=lambda category: (-cosines[category], category))[:_NUM_NEAREST]
        ]
        item_cosines = catalogue.embeddings @ taste
        near_items = [
            TasteNeighbour(
                name=catalogue.title(catalogue.ids[row]), id=catalogue.ids[row], cosine=float(item_cosines[row])
            )
            for row in np.argsort(-item_cosines, kind="stable")[:_NUM_NEAREST].tolist()
        ]
    categories = catalogue.categories_of(event.item for event in events)
    history = profile.recent_history(events, settings.scale, settings.short_term)
    return ProfileOut(
        user=user,
        events=len(events),
        recent=[_event(event, catalogue) for event in reversed(events[-settings.shown_events :])],
        taste=Taste(events=count, rate=settings.taste_rate, categories=near_categories, items=near_items),
        not_these=sorted(profile.disliked_items(events)),
        less_of=sorted(profile.unwanted_kinds(events)),
        rating_words=profile.rating_words(
            events, settings.scale, categories, catalogue.category_frequency, settings.rating_words
        ),
        based_on=_sentence(len(events), len(history.ids), count),
    )


def _event(event: Event, catalogue: AppCatalogue) -> EventOut:
    return EventOut(
        id=event.id,
        kind=event.kind,  # type: ignore[arg-type]  # validated when it was stored
        item=event.item or None,
        title=catalogue.title(event.item) if event.item else None,
        value=event.value,
        text=event.text or None,
        time=event.time,
        scope=event.scope,
    )


def _sentence(events: int, newest: int, taste: int) -> str:
    if not events:
        return "Nothing is known about you yet: lists show what is popular."
    return (
        f"Your newest {newest} items go to the model as your history; a long-term taste is made of {taste} of your "
        f"{events} events."
    )
