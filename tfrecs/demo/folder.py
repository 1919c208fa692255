"""Writes a generated catalogue as a data folder, as somebody with a real one would have it."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tfrecs.demo.audio import play_clip
from tfrecs.demo.image import draw_poster, encode_jpeg
from tfrecs.demo.simulate import SimulatedEvents, simulate
from tfrecs.demo.text import describe, entitle
from tfrecs.demo.world import BLOCKS, MOODS, World

INCOMPLETE = 0.15  # share of the items that lack something
TRUTH_FILE = "truth.npz"

_SPEC: dict[str, Any] = {
    "name": "demo",
    "items": {
        "file": "items.jsonl",
        "id": "item_id",
        "title": "title",
        "features": {
            # The title is for people: one that tells of the plot would give away what a missing description hides.
            "text": {"kind": "text", "columns": ["description"]},
            "image": {"kind": "image", "column": "image"},
            "audio": {"kind": "audio", "column": "audio"},
            "mood": {"kind": "categories", "column": "mood"},
        },
    },
    "interactions": {
        "file": "interactions.csv",
        "user": "user_id",
        "item": "item_id",
        "time": "timestamp",
        "value": "rating",
        "labels": {"like": {"column": "rating", "at_least": 4}, "rating": {"column": "rating", "range": [1, 5]}},
        "context": ["hour"],
    },
    "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
    "oracle": TRUTH_FILE,
}


def generate(
    out: Path,
    *,
    seed: int,
    items: int,
    users: int,
    interactions: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generates a catalogue of short films with descriptions, posters and clips, and what users did with them.

    Same arguments, same bytes of every file on every machine (see `exact`). Written beside `out` and renamed when whole.

    Args:
      out: the data folder to make.
      seed: of everything.
      items, users, interactions: how many.
      progress: called with (items drawn, items).

    Returns:
      `out`, with `dataset.yaml`, `items.jsonl`, `interactions.csv`, `images/`, `audio/` and `truth.npz`.

    Raises:
      SpecError: the three sizes do not go together.
      FileExistsError: `out` is there already.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; remove it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        world, events = simulate(np.random.default_rng([seed, 0]), items, users, interactions)
        _write_items(temporary, world, seed, progress)
        _write_interactions(temporary / "interactions.csv", world, events)
        world.save(temporary / TRUTH_FILE)
        (temporary / "dataset.yaml").write_text(yaml.safe_dump(_SPEC, sort_keys=False), encoding="utf-8")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _write_items(folder: Path, world: World, seed: int, progress: Callable[[int, int], None] | None) -> None:
    (folder / "images").mkdir()
    (folder / "audio").mkdir()
    lacking = _lacking(np.random.default_rng([seed, 1]), len(world.item_ids))
    text, image, audio = range(len(BLOCKS))
    taken: set[str] = set()
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for row, item_id in enumerate(world.item_ids.tolist()):
            # A generator for each item: what one item lacks changes nothing in the next.
            rng = np.random.default_rng([seed, 2, row])
            factors = world.factors[row]
            item = {
                "item_id": item_id,
                "title": _unique(factors[text], rng, taken),
                "description": describe(factors[text], rng),
                "image": f"images/{item_id}.jpg",
                "audio": f"audio/{item_id}.wav",
                "mood": MOODS[world.moods[row]],
            }
            if lacking[row, text]:
                item["description"] = None
            if lacking[row, image]:
                item["image"] = None
            else:
                (folder / str(item["image"])).write_bytes(encode_jpeg(draw_poster(factors[image], rng)))
            if lacking[row, audio]:
                item["audio"] = None
            else:
                (folder / str(item["audio"])).write_bytes(play_clip(factors[audio], rng))
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            if progress is not None:
                progress(row + 1, len(world.item_ids))


def _lacking(rng: np.random.Generator, count: int) -> np.ndarray:
    """bool [count, 3]: which items lack which block; of the incomplete ones a third lack two, none lacks all."""
    lacking = np.zeros([count, len(BLOCKS)], bool)
    incomplete = rng.permutation(count)[: round(INCOMPLETE * count)]
    for position, row in enumerate(incomplete):
        blocks = rng.permutation(len(BLOCKS))
        lacking[row, blocks[: 2 if position % 3 == 0 else 1]] = True
    return lacking


def _unique(factors: np.ndarray, rng: np.random.Generator, taken: set[str]) -> str:
    for _ in range(20):
        title = entitle(factors, rng)
        if title not in taken:
            break
    else:
        title = next(f"{title}, Part {part}" for part in range(2, 10_000) if f"{title}, Part {part}" not in taken)
    taken.add(title)
    return title


def _write_interactions(path: Path, world: World, events: SimulatedEvents) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user_id", "item_id", "rating", "timestamp"])
        rows = zip(
            world.user_ids[events.users].tolist(),
            world.item_ids[events.items].tolist(),
            events.ratings.tolist(),
            events.times.tolist(),
            strict=True,
        )
        writer.writerows(rows)
