"""A plain data set: items with a title and a category, a log with labels. The whole way of it takes a fifth of the time
of `whole`, for tests of what does not depend on texts, pictures or sound. See conftest.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from whole import Whole, take_whole_way

from pipelines.config import load_config

ITEMS, USERS, EVENTS, LATE = 40, 30, 20, 5
GENRES = ("drama", "comedy", "noir", "western", "opera")
START = 1_700_000_000  # unix seconds
SMALL = (
    "categories.hidden_dim=16",
    "user.hidden_dim=16",
    "user.num_layers=1",
    "user.max_history=10",
    "user.stride=10",
    "train.epochs=2",
    "train.batch_size=16",
    "train.steps_per_call=1",  # see whole.py
    "cooccurrence.epochs=1",
    "hybrid.regularizations=[100]",
    "hybrid.softness=[1]",
    "hybrid.content_weights=[30]",
    "evaluate.diversities=[0]",
    "evaluate.patterns=2",
    "export.parity_requests=10",
)
SMALL_OPTIONS = [part for change in SMALL for part in ("--set", change)]
SPEC = """
name: plain
items:
  file: items.jsonl
  id: item_id
  title: title
  features:
    genre: {kind: categories, column: genre}
interactions:
  file: events.csv
  user: user
  item: item
  time: time
  labels:
    like: {column: rating, at_least: 4}
  positive: {column: rating, at_least: 3}
"""


def make_plain_folder(folder: Path) -> Path:
    """Writes the folder.

    Event n of user u is at START + 1000 n + u seconds; users take nothing twice, prefer a genre, and take the last LATE
    items in the second half only.
    """
    folder.mkdir(parents=True)
    (folder / "dataset.yaml").write_text(SPEC)
    rng = np.random.default_rng(3)
    items = [
        {"item_id": f"i{item}", "title": f"Film {item}", "genre": GENRES[item % len(GENRES)]} for item in range(ITEMS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    genre, late = np.arange(ITEMS) % len(GENRES), np.arange(ITEMS) >= ITEMS - LATE
    events = ["user,item,time,rating"]
    for user in range(USERS):
        own = genre == user % len(GENRES)
        key = rng.random(ITEMS) - 0.3 * own
        first = np.argsort(key + late)[: EVENTS // 2]
        then = [item for item in np.argsort(key) if item not in first]
        for number, item in enumerate([*first, *then][:EVENTS]):
            rating = rng.integers(3, 6) if own[item] else rng.integers(1, 6)
            events.append(f"u{user},i{item},{START + 1000 * number + user},{rating}")
    (folder / "events.csv").write_text("".join(f"{line}\n" for line in events))
    return folder


def make(root: Path) -> Whole:
    return take_whole_way(make_plain_folder(root / "data"), root, "plain", load_config(None, SMALL))
