"""The small data folder of `small_folder` as it grows, and what the tests of appending do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_folder import OPTIONS, SCRATCH, event_rows, examples, item_rows, make_folder, run, write_events, write_items

from tfrecs.append.appender import Appended, append
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import load_spec

NOW = "2031-05-06T07:08:09+00:00"

# The 240 events of the folder are at 1,513,000,000 + 1000 n + u (n < 20, u < 12), so valid begins at n = 16 and test at
# n = 18. Nothing is at a half.
LATE = ["u3", "5", "1513002500", "4", "tv", "1"]
VALID = ["u0", "7", "1513016500", "5", "phone", ""]
TEST = ["u0", "100", "1513030000", "2", "radio", "3"]
NEWCOMER = ["new", "101", "1513025000", "5", "tv", "2"]
NEW_EVENTS = [TEST, LATE, NEWCOMER, VALID]


def new_items() -> list[dict[str, Any]]:
    rows = [dict(row) for row in item_rows()[:2]]
    for row, number in zip(rows, (100, 101), strict=True):
        row |= {"item_id": number, "title": f"Film {number}", "genres": ["western"], "image": f"images/{number}.png"}
    return rows


def grow(data: Path) -> None:
    for number in (100, 101):
        Image.new("RGB", (20, 24), (number, 10, 10)).save(data / "images" / f"{number}.png")
    write_items(data, [*item_rows(), *new_items()])
    write_events(data, [*event_rows(), *NEW_EVENTS])


def add(data: Path, out: Path, **changed: Any) -> Appended:
    settings: dict[str, Any] = {
        "max_bad": 0.2, "window": 6, "overlap": 2, "items_per_shard": 8, "examples_per_shard": 10,
        "kind_options": OPTIONS, "workers": 1, "processes_from": 10**9, "now": NOW, "progress": None,
        "scratch": SCRATCH,
    }  # fmt: skip
    return append(load_spec(data, None), data, out, **(settings | changed))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


@pytest.fixture
def out(data: Path, tmp_path: Path) -> Path:
    run(data, tmp_path / "out")
    return tmp_path / "out"


def targets(out: Path, manifest: Manifest, split: str) -> list[tuple[str, str, int]]:
    return sorted(
        (one["user_id"][0].decode(), item.decode(), time)
        for one in examples(out, manifest.splits[split].shards)
        for item, time, is_target in zip(one["item_ids"], one["times"], one["is_target"], strict=True)
        if is_target
    )
