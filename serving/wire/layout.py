"""Layout of a models folder, `<models>/<name>/<integer version>/`, and readers of its extra files. No TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXTRA_FOLDER = "assets.extra"
DESCRIPTION_FILE = "triptych.json"
TITLES_FILE = "titles.json"
GATE_FILE = "gate.json"
ITEMS_FILE = "items.npz"
CATEGORIES_FILE = "categories.json"
WARMUP_FILE = "tf_serving_warmup_requests"


def latest_version(model: Path) -> int:
    """The newest integer version in a model's folder; 0 if there is none."""
    versions = [int(path.name) for path in model.glob("*") if path.name.isdigit() and path.is_dir()]
    return max(versions, default=0)


def titles(version: Path) -> dict[str, str]:
    """Read the titles of an exported version, item id -> title; {} if it has none."""
    path = version / EXTRA_FOLDER / TITLES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@dataclass(frozen=True)
class ItemFacts:
    """Facts about the N items of an export, for applications in front of a server.

    Attributes:
      ids: str [N].
      vectors: float16 [N, D], embeddings scaled to length 1 (zeros if an item has none); cosines to three digits.
      weights: float16 [N, M], modality weights.
      counts: int64 [N], number of training events.
      categories: categories of each item, as `recommend` filters by them.
    """

    ids: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    categories: list[list[str]]

    def save(self, extra: Path) -> None:
        """Write the facts into the `assets.extra` folder of an export."""
        np.savez(extra / ITEMS_FILE, ids=self.ids, vectors=self.vectors, weights=self.weights, counts=self.counts)
        text = json.dumps(self.categories, ensure_ascii=False)
        (extra / CATEGORIES_FILE).write_text(text + "\n", encoding="utf-8")


def item_facts(version: Path) -> ItemFacts | None:
    """Read the item facts of an exported version; None if an older Triptych exported it without them."""
    extra = version / EXTRA_FOLDER
    if not (extra / ITEMS_FILE).is_file() or not (extra / CATEGORIES_FILE).is_file():
        return None
    with np.load(extra / ITEMS_FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("ids", "vectors", "weights", "counts")}
    return ItemFacts(**arrays, categories=json.loads((extra / CATEGORIES_FILE).read_text(encoding="utf-8")))


def description(version: Path) -> dict[str, Any]:
    """Read `triptych.json` of an exported version; {} if it has none."""
    path = version / EXTRA_FOLDER / DESCRIPTION_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
