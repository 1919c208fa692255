"""The one table of modalities.

A modality is a feature kind (what it is on disk: parse spec, encode, decode, tensor spec) and an encoder (what it
is to the model). Both are named here as `module:Class`, so that this table can be read without importing either:
tfrecs never imports towers. Everything else iterates over the data set's schema and looks its kinds up here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Modality:
    """One row: `feature` is the class in tfrecs, `encoder` the class in towers; `from_file`: a raw value is the path of a
    media file rather than the value itself."""

    kind: str
    feature: str
    encoder: str
    from_file: bool = False


MODALITIES: tuple[Modality, ...] = (
    Modality("text", "tfrecs.kinds.text:TextFeature", "towers.encoders.text:TextEncoder"),
    Modality("image", "tfrecs.kinds.image:ImageFeature", "towers.encoders.image:ImageEncoder", from_file=True),
    Modality("audio", "tfrecs.kinds.audio:AudioFeature", "towers.encoders.audio:AudioEncoder", from_file=True),
    Modality("vector", "tfrecs.kinds.vector:VectorFeature", "towers.encoders.vector:VectorEncoder"),
    Modality("categories", "tfrecs.kinds.categories:CategoriesFeature", "towers.encoders.categories:CategoriesEncoder"),
    Modality("number", "tfrecs.kinds.number:NumberFeature", "towers.encoders.number:NumberEncoder"),
)

KINDS: tuple[str, ...] = tuple(row.kind for row in MODALITIES)


@cache
def resolve(path: str) -> Any:
    """`package.module:Name` -> the object. An import error is raised as it is, never swallowed."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def row(kind: str) -> Modality:
    """The row of a kind. Raises KeyError with the kinds there are."""
    for modality in MODALITIES:
        if modality.kind == kind:
            return modality
    raise KeyError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
