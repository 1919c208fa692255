"""The table of modalities.

A modality is a feature kind in tfrecs (what it is on disk) and an encoder in towers (what it is to the model). Both are
named here as `module:Class`, so that this table can be read without importing either, and without TensorFlow: tfrecs
never imports towers, and the app reads the table in a process that has no TensorFlow. Everything else iterates over
the data set's schema and looks its kinds up here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Modality:
    """One row of the table.

    Attributes:
      kind: name in `dataset.yaml` and of the section of the encoder's options.
      feature: subclass of `tfrecs.kinds.base.Feature`, as `module:Class`.
      encoder: subclass of `towers.encoders.base.Encoder`, as `module:Class`.
      from_file: whether a raw value is the path of a file instead of the value itself.
      shown_as: how the app shows a raw value: "text", "image", "audio", or None for not at all.
      columns: names of columns that `infer_spec` takes for this kind, compared in lower case without "_".
      all_columns: whether the inferred feature joins all such columns of a table; otherwise it has the first alone.
    """

    kind: str
    feature: str
    encoder: str
    from_file: bool = False
    shown_as: str | None = None
    columns: tuple[str, ...] = ()
    all_columns: bool = False


MODALITIES: tuple[Modality, ...] = (
    Modality(
        "text",
        "tfrecs.kinds.text:TextFeature",
        "towers.encoders.text:TextEncoder",
        shown_as="text",
        columns=(
            *("title", "name", "description", "plot", "overview", "abstract", "summary", "text", "movie_title"),
            *("prod_name", "detail_desc"),
            *("brand", "artist", "song", "director", "author", "authors"),
        ),
        all_columns=True,
    ),
    Modality(
        "image",
        "tfrecs.kinds.image:ImageFeature",
        "towers.encoders.image:ImageEncoder",
        from_file=True,
        shown_as="image",
        columns=("image", "image_path", "picture", "poster", "cover", "photo"),
    ),
    Modality(
        "audio",
        "tfrecs.kinds.audio:AudioFeature",
        "towers.encoders.audio:AudioEncoder",
        from_file=True,
        shown_as="audio",
        columns=("audio", "audio_path", "clip", "sound"),
    ),
    # The next three are also inferred from the values of a column; see `tfrecs.spec.infer`.
    Modality("vector", "tfrecs.kinds.vector:VectorFeature", "towers.encoders.vector:VectorEncoder"),
    Modality("categories", "tfrecs.kinds.categories:CategoriesFeature", "towers.encoders.categories:CategoriesEncoder"),
    Modality("number", "tfrecs.kinds.number:NumberFeature", "towers.encoders.number:NumberEncoder"),
)


def kinds() -> tuple[str, ...]:
    """The kinds of the table, in its order."""
    return tuple(modality.kind for modality in MODALITIES)


@cache
def resolve(path: str) -> Any:
    """Import `package.module:Name` and return the object. Import errors are raised as they are."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def row(kind: str) -> Modality:
    """Return the row of a kind.

    Raises:
      KeyError: there is no such kind; the message names those there are.
    """
    for modality in MODALITIES:
        if modality.kind == kind:
            return modality
    raise KeyError(f"unknown kind {kind!r}; there are {', '.join(kinds())}")
