"""Answers of the tools: numbers and ids in fields of their own, texts of the catalogue under `data`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from serving.app.catalogue import AppCatalogue
from serving.app.mcp.untrusted import NOTICE, as_data
from serving.app.ranking.reasons import text_without_title
from serving.app.schemas import (
    AppliedRule,
    Card,
    EventOut,
    ExplainOut,
    ListItem,
    ListOut,
    ModelOut,
    ProfileOut,
    Reason,
    SimilarOut,
    TasteNeighbour,
    Understood,
)

_NAME_CHARS = 200  # of a title or category
_DIGITS = 4


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class NoticedAnswer(_Answer):
    """An answer that quotes the catalogue."""

    notice: str = NOTICE


class TitleData(_Answer):
    """A title, as the catalogue has it."""

    title: str


class ItemData(TitleData):
    """Strings of an item, as the catalogue has them."""

    text: str
    text_is_cut: bool
    categories: list[str]


class ReasonAnswer(_Answer):
    """Why an item is in the list. Nothing but the listed reasons is known; `value` is the number behind each."""

    kind: str = Field(
        description="history: near to the user's own `item`, value is the cosine of their embeddings. modality: `name` weighs most "
        "in the item's embedding, value is its weight. word: `name` of the query stands in its text, value is how often. taste: "
        "value is the cosine with the user's long-term taste. popular: value is the number of training events. similar: value is "
        "the cosine with the requested `item`."
    )
    value: float
    says: str = Field(description="The reason in words, addressed to the user, with ids for titles.")
    name: str | None = None
    item: str | None = None
    data: TitleData | None = None


class ItemAnswer(_Answer):
    """An item: `popularity` counts its events in the training data, `media` names the media that the catalogue has of it."""

    id: str
    popularity: int | None
    numbers: dict[str, float]
    media: list[str]
    data: ItemData


class ListedItem(ItemAnswer):
    """An item of a list: `score` in logits (null: pinned by a rule), `labels`: what the model predicts for this user."""

    score: float | None
    labels: dict[str, float | None]
    modality_weights: dict[str, float]
    reasons: list[ReasonAnswer]
    rules: list[str] = Field(description="Rules of the operator that touched the item.")
    seen: bool = Field(description="The user has events with it.")


class ListData(_Answer):
    """`rating_words`: categories that the user rates highly, where the request asked for them."""

    rating_words: str


class ListAnswer(NoticedAnswer):
    """A ranked list, best first. `based_on`: any of history, taste, words, rating_words, popularity."""

    list_id: str = Field(description="Send it with feedback on the listed items.")
    model: ModelOut
    understood: Understood = Field(description="`chips`: conditions that every listed item fulfils; `query`: the rest.")
    based_on: list[str]
    applied_rules: list[AppliedRule]
    items: list[ListedItem]
    data: ListData


class SimilarAnswer(NoticedAnswer):
    """Items similar to `item`, the most similar first; scores are cosines."""

    item: ItemAnswer
    items: list[ListedItem]
    model: ModelOut


class ExplainAnswer(NoticedAnswer):
    """One item for the user of the connection. `left_out`: what would keep it out of the list; empty: nothing."""

    item: ListedItem
    left_out: list[str]
    based_on: list[str]
    understood: Understood
    model: ModelOut


class CardAnswer(NoticedAnswer):
    """An item of the catalogue."""

    item: ItemAnswer


class EventData(_Answer):
    """Strings of an event: the title of its item, the text of a query."""

    title: str | None
    text: str | None


class EventAnswer(_Answer):
    """An event of the user; `time` in unix seconds."""

    kind: str
    item: str | None
    value: float | None
    time: float
    scope: str
    data: EventData


class NeighbourAnswer(_Answer):
    """A category (without `item`) or an item near the user's taste, and the cosine with it."""

    item: str | None
    cosine: float
    data: TitleData


class ProfileAnswer(NoticedAnswer):
    """What is known about the user of the connection."""

    events: int
    based_on: str
    taste_events: int = Field(description="Events in the long-term taste.")
    taste_categories: list[NeighbourAnswer]
    taste_items: list[NeighbourAnswer]
    not_these: list[str] = Field(description="Ids of disliked items.")
    less_of: list[str] = Field(description="Ids of items whose kind is unwanted.")
    recent: list[EventAnswer] = Field(description="Newest first.")


class ForgottenAnswer(_Answer):
    """Numbers of deleted events and log lines; `note`: what deletion does not cover."""

    events: int
    log_lines: int
    note: str


def item_answer(card: Card, chars: int) -> ItemAnswer:
    """Return an item with at most `chars` characters of its text."""
    return ItemAnswer(**_item_fields(card, chars))


def listed_item(item: ListItem, chars: int) -> ListedItem:
    """Return an item of a list with at most `chars` characters of its text."""
    return ListedItem(
        **_item_fields(item, chars),
        score=_rounded(item.score),
        labels={name: _rounded(value) for name, value in item.labels.items()},
        modality_weights={name: round(weight, _DIGITS) for name, weight in item.modality_weights.items()},
        reasons=[_reason(reason) for reason in item.reasons],
        rules=item.rules,
        seen=item.seen,
    )


def list_answer(shown: ListOut, chars: int) -> ListAnswer:
    """Return a list."""
    return ListAnswer(
        list_id=shown.list_id,
        model=shown.model,
        understood=shown.understood,
        based_on=shown.based_on,
        applied_rules=shown.applied_rules,
        items=[listed_item(item, chars) for item in shown.items],
        data=ListData(rating_words=as_data(shown.rating_words, _NAME_CHARS)[0]),
    )


def similar_answer(found: SimilarOut, chars: int) -> SimilarAnswer:
    """Return the items similar to one."""
    items = [listed_item(item, chars) for item in found.items]
    return SimilarAnswer(item=item_answer(found.item, chars), items=items, model=found.model)


def explain_answer(found: ExplainOut, chars: int) -> ExplainAnswer:
    """Return where an item stands for the user."""
    return ExplainAnswer(
        item=listed_item(found.item, chars),
        left_out=found.left_out,
        based_on=found.based_on,
        understood=found.understood,
        model=found.model,
    )


def profile_answer(profile: ProfileOut) -> ProfileAnswer:
    """Return a profile without the user's id, which would open it to whoever reads the talk."""
    return ProfileAnswer(
        events=profile.events,
        based_on=profile.based_on,
        taste_events=profile.taste.events,
        taste_categories=_neighbours(profile.taste.categories),
        taste_items=_neighbours(profile.taste.items),
        not_these=profile.not_these,
        less_of=profile.less_of,
        recent=[_event(event) for event in profile.recent],
    )


def title_data(title: str) -> TitleData:
    """Return a title, or a category, fit to be quoted."""
    return TitleData(title=as_data(title, _NAME_CHARS)[0])


def category_items(catalogue: AppCatalogue, category: str, most: int) -> list[dict[str, object]]:
    """Return the items of a category that have the most training events, at most `most` of them."""
    rows = sorted(catalogue.categories[category].tolist(), key=lambda row: (-int(catalogue.facts.counts[row]), row))
    return [
        {
            "id": catalogue.ids[row],
            "popularity": int(catalogue.facts.counts[row]),
            "data": title_data(catalogue.title(catalogue.ids[row])).model_dump(),
        }
        for row in rows[:most]
    ]


def _item_fields(card: Card, chars: int) -> dict[str, object]:
    text, is_cut = as_data(card.text, chars)
    categories = [as_data(name, _NAME_CHARS)[0] for name in card.categories]
    data = ItemData(title=as_data(card.title, _NAME_CHARS)[0], text=text, text_is_cut=is_cut, categories=categories)
    return {
        "id": card.id,
        "popularity": card.popularity,
        "numbers": card.numbers,
        "media": sorted(card.media),
        "data": data,
    }


def _reason(reason: Reason) -> ReasonAnswer:
    return ReasonAnswer(
        kind=reason.kind,
        value=round(reason.value, _DIGITS),
        says=text_without_title(reason),
        name=reason.name,
        item=reason.item,
        data=None if reason.title is None else title_data(reason.title),
    )


def _neighbours(neighbours: Sequence[TasteNeighbour]) -> list[NeighbourAnswer]:
    return [
        NeighbourAnswer(item=near.id, cosine=round(near.cosine, _DIGITS), data=title_data(near.name))
        for near in neighbours
    ]


def _event(event: EventOut) -> EventAnswer:
    title, text = ((None if text is None else as_data(text, _NAME_CHARS)[0]) for text in (event.title, event.text))
    return EventAnswer(
        kind=event.kind,
        item=event.item,
        value=event.value,
        time=event.time,
        scope=event.scope,
        data=EventData(title=title, text=text),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
