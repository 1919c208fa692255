"""The items as the app knows them: what people see, and what the export says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from serving.app.language.words import Vocabulary, fold
from serving.app.models import Card
from serving.wire.layout import ItemFacts


@dataclass(frozen=True)
class ItemRow:
    """What the item table says of one item. `media`: feature -> path relative to the data folder."""

    title: str
    text: str
    numbers: Mapping[str, float]
    media: Mapping[str, str]


_NOTHING = ItemRow("", "", {}, {})


@dataclass(frozen=True)
class Catalogue:
    """N items in the order of the export.

    Attributes:
      name, version: of the model that they were exported with.
      facts: what the export knows of them.
      titles: item id -> title.
      rows: item id -> what the table says; an item may be gone from there.
      root: the data folder, which media lie in.
      media: feature -> "image" or "audio".
      description: `triptych.json` of the export.
    """

    name: str
    version: int
    facts: ItemFacts
    titles: Mapping[str, str]
    rows: Mapping[str, ItemRow]
    root: Path
    media: Mapping[str, str]
    description: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ids(self) -> list[str]:
        return self.facts.ids.tolist()

    @cached_property
    def position(self) -> dict[str, int]:
        """Item id -> row."""
        return {item: row for row, item in enumerate(self.ids)}

    @cached_property
    def vectors(self) -> np.ndarray:
        """float32 [N, D], unit length."""
        return self.facts.vectors.astype(np.float32)

    @cached_property
    def modalities(self) -> list[str]:
        return list(self.description.get("modalities", ()))

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        return list(self.description.get("labels", ()))

    @cached_property
    def categories(self) -> dict[str, np.ndarray]:
        """Category -> rows of its items, int32, ascending: a mask each would fill the memory where there are many."""
        result: dict[str, list[int]] = {}
        for row, names in enumerate(self.facts.categories):
            for name in names:
                result.setdefault(name, []).append(row)
        return {name: np.array(rows, np.int32) for name, rows in sorted(result.items())}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Category -> share of the items that are in it."""
        return {name: len(rows) / len(self) for name, rows in self.categories.items()}

    @cached_property
    def centroids(self) -> dict[str, np.ndarray]:
        """Category -> mean embedding of its items, float32 [D], unit length."""
        means = {name: self.vectors[rows].mean(axis=0) for name, rows in self.categories.items()}
        return {name: mean / max(float(np.linalg.norm(mean)), 1e-9) for name, mean in means.items()}

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """Number -> float [N], NaN = none."""
        names = sorted({name for row in self.rows.values() for name in row.numbers})
        return {name: np.array([self.row(item).numbers.get(name, np.nan) for item in self.ids]) for name in names}

    @cached_property
    def with_media(self) -> dict[str, np.ndarray]:
        """Media feature -> bool [N], has one."""
        return {name: np.array([bool(self.row(item).media.get(name)) for item in self.ids]) for name in self.media}

    @cached_property
    def items_with(self) -> dict[str, np.ndarray]:
        """Folded word -> rows of the items whose text has it, int32, ascending."""
        result: dict[str, list[int]] = {}
        for row, item in enumerate(self.ids):
            for word in set(fold(self.row(item).text)):
                result.setdefault(word, []).append(row)
        return {word: np.array(rows, np.int32) for word, rows in result.items()}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(list(self.categories), list(self.numbers), self.items_with.keys())

    def prepare(self) -> Catalogue:
        """Makes everything that is made once now, rather than in somebody's first request."""
        for name in ("position", "vectors", "centroids", "shares", "numbers", "with_media", "vocabulary"):
            getattr(self, name)
        return self

    def row(self, item: str) -> ItemRow:
        return self.rows.get(item, _NOTHING)

    def title(self, item: str) -> str:
        return self.titles.get(item) or self.row(item).title or item

    def words_of(self, row: int) -> Counter[str]:
        """Folded word -> how often it stands in the item's text."""
        return Counter(fold(self.row(self.ids[row]).text))

    def weights(self, row: int) -> dict[str, float]:
        """Modality -> share of the item's embedding."""
        return dict(zip(self.modalities, self.facts.weights[row].astype(float).tolist(), strict=True))

    def cosine(self, one: int, other: int) -> float:
        return float(self.vectors[one] @ self.vectors[other])

    def card(self, item: str) -> dict[str, Any]:
        """The fields of a `Card`."""
        row, place = self.row(item), self.position[item]
        media = {name: f"/items/{quote(item, safe='')}/media/{name}" for name in self.media if row.media.get(name)}
        return {
            "id": item,
            "title": self.title(item),
            "text": row.text,
            "categories": self.facts.categories[place],
            "numbers": dict(row.numbers),
            "media": media,
            "kinds": {name: self.media[name] for name in media},
            "popularity": int(self.facts.counts[place]),
        }

    def cards(self, items: Sequence[str]) -> list[Card]:
        return [Card(**self.card(item)) for item in items]
