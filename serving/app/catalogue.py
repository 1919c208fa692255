"""The items of the app: display data from the item table, and embeddings and counts from the export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from serving.app.language.query_parser import QueryVocabulary
from serving.app.language.words import WordIndex, fold_words
from serving.app.schemas import Card
from serving.wire.layout import ItemFacts


@dataclass(frozen=True)
class ItemRow:
    """One row of the item table.

    Attributes:
      title, text: for display.
      numbers: name -> value.
      media: feature -> path relative to the data folder.
    """

    title: str
    text: str
    numbers: Mapping[str, float]
    media: Mapping[str, str]


_EMPTY_ROW = ItemRow("", "", {}, {})


@dataclass(frozen=True)
class AppCatalogue:
    """N items in the order of the export.

    Attributes:
      name, version: of the exported model.
      facts: ids, embeddings, modality weights, categories and event counts from the export.
      titles: item id -> title.
      rows: item id -> row of the item table; an item may be missing there.
      root: the data folder, which contains the media.
      media: media feature -> "image" or "audio".
      description: content of `triptych.json` of the export.
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
        """Item ids."""
        return self.facts.ids.tolist()

    @cached_property
    def position(self) -> dict[str, int]:
        """Item id -> row."""
        return {item: row for row, item in enumerate(self.ids)}

    @cached_property
    def embeddings(self) -> np.ndarray:
        """float32 [N, D], unit length."""
        return self.facts.vectors.astype(np.float32)

    @cached_property
    def modalities(self) -> list[str]:
        """Names of the modalities."""
        return list(self.description.get("modalities", ()))

    @property
    def takes_text(self) -> bool:
        """Whether the model takes text queries; that of an export without a description is taken to."""
        return "search" in self.description.get("signatures", ("search",))

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """Ranking labels of the model: name, task and range."""
        return list(self.description.get("labels", ()))

    @cached_property
    def categories(self) -> dict[str, np.ndarray]:
        """Category -> rows of its items, int32, ascending; masks would take too much memory for many categories."""
        rows: dict[str, list[int]] = {}
        for row, names in enumerate(self.facts.categories):
            for name in names:
                rows.setdefault(name, []).append(row)
        return {name: np.array(rows[name], np.int32) for name in sorted(rows)}

    @cached_property
    def category_frequency(self) -> dict[str, float]:
        """Category -> fraction of the items in it."""
        return {name: len(rows) / len(self) for name, rows in self.categories.items()}

    @cached_property
    def centroids(self) -> dict[str, np.ndarray]:
        """Category -> mean embedding of its items, float32 [D], unit length."""
        means = {name: self.embeddings[rows].mean(axis=0) for name, rows in self.categories.items()}
        return {name: mean / max(float(np.linalg.norm(mean)), 1e-9) for name, mean in means.items()}

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """Number -> float [N], NaN if an item has none."""
        names = sorted({name for row in self.rows.values() for name in row.numbers})
        return {name: np.array([self.row(item).numbers.get(name, np.nan) for item in self.ids]) for name in names}

    @cached_property
    def has_media(self) -> dict[str, np.ndarray]:
        """Media feature -> bool [N]."""
        return {name: np.array([bool(self.row(item).media.get(name)) for item in self.ids]) for name in self.media}

    @cached_property
    def rows_by_word(self) -> WordIndex:
        """Folded word -> rows of the items whose text contains it."""
        return WordIndex(self.row(item).text for item in self.ids)

    @cached_property
    def vocabulary(self) -> QueryVocabulary:
        """Names and words that a query can refer to."""
        return QueryVocabulary(list(self.categories), list(self.numbers), self.rows_by_word)

    def prepare(self) -> AppCatalogue:
        """Compute the cached properties now instead of in the first request."""
        for name in ("position", "embeddings", "centroids", "category_frequency", "numbers", "has_media", "vocabulary"):
            getattr(self, name)
        return self

    def row(self, item: str) -> ItemRow:
        """Return the row of an item, an empty one if the table has none."""
        return self.rows.get(item, _EMPTY_ROW)

    def title(self, item: str) -> str:
        """Return the title of an item, or its id if it has none."""
        return self.titles.get(item) or self.row(item).title or item

    def categories_of(self, items: Iterable[str]) -> dict[str, list[str]]:
        """Map the known ones among these item ids to their categories."""
        return {item: self.facts.categories[self.position[item]] for item in items if item in self.position}

    def word_counts(self, row: int) -> Counter[str]:
        """Count the folded words in the text of an item."""
        return Counter(fold_words(self.row(self.ids[row]).text))

    def modality_weights(self, row: int) -> dict[str, float]:
        """Map each modality to its weight in the embedding of an item."""
        return dict(zip(self.modalities, self.facts.weights[row].astype(float).tolist(), strict=True))

    def cosine(self, row: int, other: int) -> float:
        """Return the cosine of the embeddings of two items."""
        return float(self.embeddings[row] @ self.embeddings[other])

    def card(self, item: str) -> dict[str, Any]:
        """Return the fields of a `Card`."""
        row, position = self.row(item), self.position[item]
        media = {name: f"/items/{quote(item, safe='')}/media/{name}" for name in self.media if row.media.get(name)}
        return {
            "id": item,
            "title": self.title(item),
            "text": row.text,
            "categories": self.facts.categories[position],
            "numbers": dict(row.numbers),
            "media": media,
            "kinds": {name: self.media[name] for name in media},
            "popularity": int(self.facts.counts[position]),
        }

    def cards(self, items: Sequence[str]) -> list[Card]:
        """Return the cards of several items."""
        return [Card(**self.card(item)) for item in items]
