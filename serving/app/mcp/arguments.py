"""Arguments of the tools. They refuse what they do not know, such as a user: that is the connection's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving.app.schemas import ContextName, EventIn, Id, Text


def _number(value: Any) -> Any:
    """Refuse what pydantic would take for a number: "5" and True."""
    if isinstance(value, str | bytes | bool):
        raise ValueError("is no number")
    return value


Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Flag = Annotated[bool, Field(strict=True)]


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoArguments(_Arguments):
    """A tool that takes none."""


class _Wish(_Arguments):
    turns: Annotated[tuple[Text, ...], Field(max_length=16)] = Field(
        (),
        description="What the user asked for, one string for each turn of the talk, oldest first; send all turns each time. "
        'Conditions are understood: "quiet films", "but older", "no horror", "before 1990".',
    )
    drop: Annotated[tuple[Text, ...], Field(max_length=16)] = Field(
        (), description="Keys of `understood.chips` of an earlier answer that the user takes back."
    )
    categories: Annotated[tuple[Text, ...], Field(max_length=16)] = Field(
        (), description="Only items in any of these; the resource triptych://categories lists them."
    )
    media: Annotated[tuple[Text, ...], Field(max_length=16)] = Field(
        (), description="Only items that have all of these media features; triptych://catalogue lists them."
    )


class _PersonalWish(_Wish):
    without: Annotated[tuple[Id, ...], Field(max_length=500)] = Field((), description="Ids of items to leave out.")
    hide_seen: Flag = Field(True, description="Leave out items that the user has events with.")
    context: dict[ContextName, Text | float] = Field(
        {}, max_length=16, description="Values of the context columns of the data set, such as a device."
    )


class RecommendArguments(_PersonalWish):
    """Of `recommend`."""

    k: Count = Field(10, description="Length of the list.")
    diversity: Annotated[float, BeforeValidator(_number)] = Field(
        0.0, ge=0, le=1, description="0: by score alone; 1: as different from each other as possible."
    )
    rating_words: Flag = Field(False, description="Add the categories that the user rates highly to the query.")


class SearchArguments(_Wish):
    """Of `search`."""

    turns: Annotated[tuple[Text, ...], Field(min_length=1, max_length=16)] = Field(
        description="What to look for, one string for each turn of the talk, oldest first; send all turns each time."
    )
    k: Count = Field(10, description="Length of the list.")


class SimilarArguments(_Arguments):
    """Of `similar`."""

    item: Id = Field(description="Id of an item.")
    k: Count = Field(10, description="Length of the list.")


class ExplainArguments(_PersonalWish):
    """Of `explain`."""

    item: Id = Field(description="Id of the item to explain.")


class ItemArguments(_Arguments):
    """Of `item`."""

    item: Id = Field(description="Id of an item.")


class FeedbackArguments(_Arguments):
    """Of `feedback`."""

    events: Annotated[tuple[EventIn, ...], Field(min_length=1, max_length=100)] = Field(
        description="What the user did or said, oldest first. `kind`: view, click, like, dislike (`scope` kind: similar items "
        "are unwanted too), rating (with `value`) of an `item`, or query with a `text`. `list_id`: of the answer that showed the "
        "item. An event sent twice under one `id` is stored once."
    )
