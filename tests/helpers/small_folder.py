"""A small data folder with every kind of column, and what the tests of the builder do with it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecs.build.builder import build
from tfrecs.events.spool import Scratch
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import load_spec

ITEMS, USERS, EVENTS = 30, 12, 20
SCRATCH = Scratch(Path(tempfile.gettempdir()), 10**6)
OPTIONS: dict[str, dict[str, Any]] = {"image": {"size": 16}}

# Settings of a model for it, and the same as options of a command.
SMALL = ["build.kinds={image: {size: 16}}", "build.vocabulary_size=100", "train.epochs=1", "cooccurrence.epochs=0"]
SMALL += [
    "text.num_layers=1",
    "text.hidden_dim=16",
    "text.num_heads=2",
    "image.filters=[8]",
    "user.hidden_dim=16",
    "user.num_layers=1",
]
SMALL_OPTIONS = [part for change in SMALL for part in ("--set", change)]

SPEC = """
name: tiny
items:
  file: items.jsonl
  id: item_id
  title: title
  features:
    text: {kind: text, columns: [title, genres]}
    image: {kind: image, column: image}
    timbre: {kind: vector, file: timbre.npy, row: row}
    genres: {kind: categories, column: genres}
interactions:
  file: events.tsv
  user: user
  item: item
  time: time
  labels:
    like: {column: rating, at_least: 4}
    rating: {column: rating, range: [1, 5]}
  positive: {column: rating, at_least: 3}
  context: [hour, device, temperature]
users: {file: users.csv, id: user, features: {age: {kind: categories, column: age}}}
split: {by: time, fractions: [0.8, 0.1, 0.1]}
"""


def item_rows() -> list[dict[str, Any]]:
    """Item ids are integers, the first a word in another script; every fifth lacks its picture."""
    rows: list[dict[str, Any]] = []
    for number in range(ITEMS):
        image = None if number % 5 == 4 else f"images/{number}.png"
        genres = [["drama", "comedy", "noir"][number % 3], "film"]
        rows.append({"item_id": number, "title": f"Film {number}", "genres": genres, "image": image, "row": number})
    rows[0]["item_id"] = "фильм"
    return rows


def event_rows() -> list[list[str]]:
    """User u's events at the seconds u, u + 1000, ...: times are all different and users interleave."""
    generator = np.random.default_rng(5)
    ids = [str(row["item_id"]) for row in item_rows()]
    rows = []
    for user in range(USERS):
        for number in range(EVENTS):
            moment, rating = 1_513_000_000 + 1000 * number + user, int(generator.integers(1, 6))
            device, temperature = ("phone", "tv", "")[number % 3], f"{number / 2}" if number % 7 else ""
            rows.append([f"u{user}", ids[generator.integers(ITEMS)], str(moment), str(rating), device, temperature])
    return [rows[index] for index in generator.permutation(len(rows))]


def write_events(folder: Path, rows: Iterable[list[str]]) -> None:
    header = ["user", "item", "time", "rating", "device", "temperature"]
    (folder / "events.tsv").write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8")


def write_items(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_folder(folder: Path) -> Path:
    """Writes the folder and its media."""
    (folder / "images").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(SPEC, encoding="utf-8")
    write_items(folder, item_rows())
    for number in range(ITEMS):
        Image.new("RGB", (20, 24), (number, 90, 200)).save(folder / "images" / f"{number}.png")
    np.save(folder / "timbre.npy", np.random.default_rng(0).normal(size=(ITEMS, 4)).astype(np.float32))
    write_events(folder, event_rows())
    ages = "".join(f"u{user},{20 + user % 3}\n" for user in range(USERS - 1))  # The last user has no row.
    (folder / "users.csv").write_text(f"user,age\n{ages}", encoding="utf-8")
    return folder


def words(texts: Iterable[str]) -> list[str]:
    """Stands for the WordPiece trainer, which is another room's."""
    return ["[PAD]", "[UNK]", *sorted({word for text in texts for word in re.findall(r"\w+", text.lower())})]


def run(data: Path, out: Path, **changed: Any) -> Manifest:
    settings: dict[str, Any] = {
        "seed": 1, "max_bad": 0.2, "window": 6, "overlap": 2, "items_per_shard": 8, "examples_per_shard": 10,
        "kind_options": OPTIONS, "train_vocabulary": words, "vocabulary_key": "words", "vocabulary_file": None, "workers": 2,
        "processes_from": 10**9, "progress": None, "scratch": SCRATCH,
    }  # fmt: skip
    return build(load_spec(data, None), data, out, **(settings | changed))


def change_spec(data: Path, old: str, new: str) -> None:
    text = (data / "dataset.yaml").read_text()
    assert old in text
    (data / "dataset.yaml").write_text(text.replace(old, new))


def examples(out: Path, shards: Iterable[Any]) -> list[dict[str, list[Any]]]:
    found = []
    for shard in shards:
        for record in tf.data.TFRecordDataset(str(out / shard.name)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            kinds = {key: one.WhichOneof("kind") for key, one in feature.items()}  # None: missing.
            found.append({key: list(getattr(feature[key], kind).value) if kind else [] for key, kind in kinds.items()})
    return found


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def digests(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def corrupt_events(data: Path, at: int, column: int, value: str) -> None:
    rows = event_rows()
    rows[at][column] = value
    write_events(data, rows)
