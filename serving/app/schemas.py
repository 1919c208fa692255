"""Request and response models of the routes; `API.md` shows them in use."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import Self

from serving.wire.ids import as_id
from tfrecs.schema import doubt

Kind = Literal["view", "click", "like", "dislike", "rating", "query"]
# Short and without control characters: ids go into paths, keys and logs.
# JSON numbers are ids as in tables: 7 is "7".
Id = Annotated[
    str, BeforeValidator(as_id), StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
ContextName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _plausible(time: float) -> float:
    problem = doubt(time)
    if problem:
        raise ValueError(f"{time:.15g} {problem}; unix seconds from 1971 to 2099 are expected")
    return time


class _In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventIn(_In):
    """One action of a user.

    Attributes:
      kind: a `query` has `text` and no item; the others have an item; a `rating` has a value.
      time: unix seconds; None for now.
      scope: whether a dislike covers only the item or items of its kind too.
      list_id: the list that showed the item, for click-through.
      context: values of the context columns of the data set.
      id: identifies the event, so that a repeated request stores it once.
    """

    kind: Kind
    item: Id | None = None
    value: float | None = Field(None, allow_inf_nan=False)
    text: Text | None = None
    time: Annotated[float, AfterValidator(_plausible)] | None = Field(None, allow_inf_nan=False)
    scope: Literal["item", "kind"] = "item"
    list_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    context: dict[ContextName, Annotated[str, StringConstraints(max_length=128)] | float] = Field({}, max_length=16)
    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "query":
            if not (self.text or "").strip():
                raise ValueError("a query has a text")
            if self.item is not None:
                raise ValueError("a query has no item")
        elif self.item is None:
            raise ValueError(f"a {self.kind} has an item")
        elif self.text is not None:
            raise ValueError(f"a {self.kind} has no text")
        if (self.kind == "rating") != (self.value is not None):
            raise ValueError("a rating has a value, and nothing else has")
        if self.scope == "kind" and self.kind != "dislike":
            raise ValueError("only a dislike has the scope kind")
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.context.values()):
            raise ValueError("a context number is not finite")
        return self


class EventsIn(_In):
    """Events of one user."""

    user: Id
    events: tuple[EventIn, ...] = Field(min_length=1, max_length=100)


class EventsOut(_Out):
    """`ids` are those of the events in order; an event that was already stored is not stored again."""

    stored: int
    ids: list[str]


class Chip(_Out):
    """A condition that the app found in the query and that every listed item fulfils.

    Attributes:
      key: sent as `drop` to remove it; its words then count as text.
      label: for people.
      kind: `category` and `number` include items, `not_category` and `not_word` exclude them.
      turn: index of the `turn` that expressed it.
    """

    key: str
    label: str
    kind: Literal["category", "not_category", "number", "not_word"]
    turn: int


class Understood(_Out):
    """The parsed query: `query`, the text that was sent to the model, and the conditions."""

    query: str
    chips: list[Chip]


class Reason(_Out):
    """Why an item is in the list.

    Attributes:
      kind: history (`item`, `title`: the user's own item; value: cosine of the two embeddings), modality (`name`: the
        modality with the largest weight; value: the weight), word (`name`: a query word; value: its occurrences in
        the item's text), taste (value: cosine with the long-term taste), popular (value: training events of the
        item), similar (`item`, `title`: the requested item; value: cosine with it).
      text: one sentence that states the number.
      did: what the user did with the item of a history reason, such as "you rated 5".
    """

    kind: Literal["history", "modality", "word", "taste", "popular", "similar"]
    text: str
    value: float
    name: str | None = None
    item: str | None = None
    title: str | None = None
    did: str | None = None


class AppliedRule(_Out):
    """A business rule that was applied; `items`: affected items of the list (for block: of the catalogue)."""

    name: str
    action: Literal["pin", "boost", "bury", "block"]
    items: int


class Card(_Out):
    """An item for display.

    Attributes:
      media: feature -> URL path.
      kinds: feature -> image or audio.
      popularity: number of training events.
    """

    id: str
    title: str
    text: str
    categories: list[str]
    numbers: dict[str, float]
    media: dict[str, str]
    kinds: dict[str, str]
    popularity: int | None


class ListItem(Card):
    """An item of a list.

    Attributes:
      score: reranked score in logits; None for a pinned item without one.
      labels: ranking label -> prediction.
      modality_weights: modality -> weight in the item's embedding.
      rules: names of the business rules that affected it.
      seen: the user has events with it.
    """

    score: float | None
    labels: dict[str, float | None]
    modality_weights: dict[str, float]
    reasons: list[Reason]
    rules: list[str]
    seen: bool


class ModelOut(_Out):
    """Name and version of the model that answered."""

    name: str
    version: int | None


class ListOut(_Out):
    """A ranked list; `based_on`: any of history, taste, words, rating_words, popularity."""

    list_id: str
    model: ModelOut
    understood: Understood
    rating_words: str
    based_on: list[str]
    items: list[ListItem]
    applied_rules: list[AppliedRule]
    took_ms: float


class ExplainOut(_Out):
    """Where one item stands for a user; `left_out`: why a list would not show it, one line each, none if it would."""

    item: ListItem
    left_out: list[str]
    model: ModelOut
    understood: Understood
    based_on: list[str]


class SimilarOut(_Out):
    """Items similar to an item."""

    item: Card
    items: list[ListItem]
    model: ModelOut


class EventOut(_Out):
    """A stored event with the title of its item."""

    id: str
    kind: Kind
    item: str | None
    title: str | None
    value: float | None
    text: str | None
    time: float
    scope: str


class TasteNeighbour(_Out):
    """A category (without `id`) or item and its cosine with the long-term taste."""

    name: str
    id: str | None
    cosine: float


class Taste(_Out):
    """The long-term taste: number of `events` in it, learning `rate`, nearest categories (mean embeddings) and items."""

    events: int
    rate: float
    categories: list[TasteNeighbour]
    items: list[TasteNeighbour]


class ProfileOut(_Out):
    """A user's profile.

    Attributes:
      recent: newest events first.
      not_these: disliked items.
      less_of: disliked items whose kind is unwanted too.
      rating_words: categories that the user rates highly.
      based_on: one sentence.
    """

    user: str
    events: int
    recent: list[EventOut]
    taste: Taste
    not_these: list[str]
    less_of: list[str]
    rating_words: str
    based_on: str


class DeletedOut(_Out):
    """Numbers of deleted events in the `store` and lines in the `log`; `note`: what deletion does not cover."""

    user: str
    store: int
    log: int
    note: str


class PickerItem(Card):
    """An item to ask about; `information`: share of the popularity-weighted similarity that it adds, 0 to 1."""

    information: float


class PickerOut(_Out):
    """Items to ask a new user about."""

    items: list[PickerItem]
    why: str


class CategoryOut(_Out):
    """A category and its number of items."""

    name: str
    items: int


class NumberOut(_Out):
    """A number and its range in the catalogue."""

    name: str
    low: float
    high: float


class LabelOut(_Out):
    """A ranking label; `low` and `high` of a regression."""

    name: str
    task: str
    low: float | None
    high: float | None


class AboutOut(_Out):
    """The data of the page's controls.

    Attributes:
      media: feature -> image or audio.
      rating: (low, high) of a rating, or None.
      token: POST and DELETE need a token.
      examples: example queries.
    """

    name: str
    items: int
    modalities: list[str]
    media: dict[str, str]
    categories: list[CategoryOut]
    numbers: list[NumberOut]
    labels: list[LabelOut]
    rating: tuple[float, float] | None
    token: bool
    max_k: int
    examples: list[str]


class ReadyOut(_Out):
    """State of model server and store: "ok" or one line with the problem."""

    ready: bool
    model: str
    store: str


class Problem(_Out):
    """A problem of a request: the field and what is wrong with it."""

    where: str
    what: str


class ErrorOut(_Out):
    """The body of every error; `problems` with status 422."""

    error: str
    problems: list[Problem] = []
