"""What the addresses of the app take and answer, as pydantic models; `API.md` shows them in use."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import Self

Kind = Literal["view", "click", "like", "dislike", "rating", "query"]
# Printable and short: ids go into paths, keys and logs. No blanks around them, no control characters, no slash of a path.
Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Words = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventIn(_In):
    """Something that a user did.

    Attributes:
      kind: `query` has `text` and no item; the others have an item; `rating` has a value.
      time: unix seconds; None: now.
      scope: of a dislike: this item alone, or less of its kind too.
      list_id: of the answer that showed the item, for click-through.
      context: values of the data set's own context columns.
      id: of the event, so that sending it again after a lost answer stores it once.
    """

    kind: Kind
    item: Id | None = None
    value: float | None = Field(None, allow_inf_nan=False)
    text: Words | None = None
    time: float | None = Field(None, ge=0, le=1e11, allow_inf_nan=False)
    scope: Literal["item", "kind"] = "item"
    list_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    context: dict[Name, Annotated[str, StringConstraints(max_length=128)] | float] = Field({}, max_length=16)
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
            raise ValueError("only a dislike can be of a kind")
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.context.values()):
            raise ValueError("a number of the context is not finite")
        return self


class EventsIn(_In):
    user: Id
    events: tuple[EventIn, ...] = Field(min_length=1, max_length=100)


class EventsOut(_Out):
    """`ids` are those of the events in order; what was stored before under the same id is not counted again."""

    stored: int
    ids: list[str]


class Chip(_Out):
    """Something that the app understood of the words and holds every item to.

    Attributes:
      key: what to send as `drop` to take it back; its words then count as text again.
      label: for people.
      kind: `category` and `number` keep, `not_category` and `not_word` leave out.
      turn: which of the `turn`s said it, from 0.
    """

    key: str
    label: str
    kind: Literal["category", "not_category", "number", "not_word"]
    turn: int


class Understood(_Out):
    """`query` is what went to the model as text: what is left of all turns."""

    query: str
    chips: list[Chip]


class Reason(_Out):
    """Why an item is in the list.

    Attributes:
      kind: history (`item`, `title`: of the user's own; value: cosine of the two embeddings), modality (value: the
        largest weight, `name`: whose), word (`name`: the word; value: how often it stands in the item's own text),
        taste (value: cosine with the long-term taste), popular (value: how many training events the item has),
        similar (value: cosine with the item that was asked about).
      text: one plain sentence with the number in it.
    """

    kind: Literal["history", "modality", "word", "taste", "popular", "similar"]
    text: str
    value: float
    name: str | None = None
    item: str | None = None
    title: str | None = None


class AppliedRule(_Out):
    """`items`: how many items of the answer (of a block: of the catalogue) it touched."""

    name: str
    action: Literal["pin", "boost", "bury", "block"]
    items: int


class Card(_Out):
    """An item for people. `media`: feature -> address; `kinds`: feature -> image or audio; `popularity`: training events."""

    id: str
    title: str
    text: str
    categories: list[str]
    numbers: dict[str, float]
    media: dict[str, str]
    kinds: dict[str, str]
    popularity: int | None


class Listed(Card):
    """`score`: what the order came from; None for a pinned item that the model was not asked about. `rules`: names."""

    score: float | None
    labels: dict[str, float | None]
    modality_weights: dict[str, float]
    reasons: list[Reason]
    rules: list[str]
    seen: bool


class ModelOut(_Out):
    name: str
    version: int | None


class ListOut(_Out):
    """`based_on`: what the list came from: any of history, taste, words, rating_words, popularity."""

    list_id: str
    model: ModelOut
    understood: Understood
    rating_words: str
    based_on: list[str]
    items: list[Listed]
    applied_rules: list[AppliedRule]
    took_ms: float


class SimilarOut(_Out):
    item: Card
    items: list[Listed]
    model: ModelOut


class EventOut(_Out):
    id: str
    kind: Kind
    item: str | None
    title: str | None
    value: float | None
    text: str | None
    time: float
    scope: str


class NearTaste(_Out):
    name: str
    id: str | None
    cosine: float


class Taste(_Out):
    """Long-term taste: how near it is to categories (the mean of their items) and to items; `events` it is made of."""

    events: int
    rate: float
    categories: list[NearTaste]
    items: list[NearTaste]


class ProfileOut(_Out):
    """`recent`: newest first; `based_on`: one sentence."""

    user: str
    events: int
    recent: list[EventOut]
    taste: Taste
    not_these: list[str]
    less_of: list[str]
    rating_words: str
    based_on: str


class DeletedOut(_Out):
    """How much was deleted: events in the store, lines in the log files. `note`: what the app does not hold."""

    user: str
    store: int
    log: int
    note: str


class Picked(Card):
    """`information`: what it adds to the likeness of the picked ones to all that people take, 0 to 1."""

    information: float


class PickerOut(_Out):
    items: list[Picked]
    why: str


class CategoryOut(_Out):
    name: str
    items: int


class NumberOut(_Out):
    name: str
    low: float
    high: float


class LabelOut(_Out):
    name: str
    task: str
    low: float | None
    high: float | None


class AboutOut(_Out):
    """What a page needs to draw its controls. `media`: feature -> image or audio; `rating`: (low, high) or None."""

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
    """ "ok" or one line that says what is wrong."""

    ready: bool
    model: str
    store: str


class Problem(_Out):
    where: str
    what: str


class ErrorOut(_Out):
    """Every answer of 400 and up. `problems`: of a 422."""

    error: str
    problems: list[Problem] = []
