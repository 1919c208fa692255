"""The part of `dataset.yaml` that says what an event counts. No TensorFlow here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator
from typing_extensions import Self


def _names(values: Any) -> Any:
    """Numbers as names of event types (`{1: 0.2, 4: 3.0}`) are read as the table's cells are, as text."""
    if not isinstance(values, dict):
        return values
    for name in values:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ValueError(f"the event type {name!r} is read as {type(name).__name__}; write it in quotes")
    return {str(name): value for name, value in values.items()}


EventValues = Annotated[dict[str, FiniteFloat], BeforeValidator(_names), Field(min_length=1)]
"""Event type, as the table has it -> number."""


class WeightSpec(BaseModel):
    """How strongly an event speaks for its item (above 0) or against it (below 0).

    The weight is also the event value of the history, so that a request can say of each event what it was.

    Attributes:
      column: the column of the event type, or without `values` of the weight itself.
      values: event type -> weight; an event of any other type is rejected. Above 0: a positive, whose retrieval loss
        counts that much. 0: history only. Below 0: an explicit negative, which pushes the item down that much.
      held_out_at_least: smallest weight of a target in validation and test; default: every weight above 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: EventValues | None = None
    held_out_at_least: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _some_positive(self) -> Self:
        highest = max(self.values.values()) if self.values else float("inf")
        if highest <= 0:
            raise ValueError("values: none is above 0, so no event would be a positive; give one a weight above 0")
        if self.held_out_at_least > highest:
            raise ValueError(
                f"held_out_at_least is {self.held_out_at_least:g}, above every weight in values, so nothing would be "
                f"measured; at most {highest:g}"
            )
        return self

    def describe(self) -> str:
        """Describe the positives in a few words."""
        types = (
            ", ".join(f"{name} {value:g}" for name, value in self.values.items())
            if self.values
            else f"column {self.column}"
        )
        held_out = f", held-out ones of at least {self.held_out_at_least:g}" if self.held_out_at_least else ""
        return f"positives with a weight above 0 ({types}){held_out}"
