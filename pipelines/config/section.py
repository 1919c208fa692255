"""The base class of a section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of options that refuses unknown ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")
