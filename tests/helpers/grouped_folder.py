"""A data folder whose users like one group of items each, and whose item vectors tell the group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GROUPS, ITEMS, USERS, EVENTS, WIDTH = 8, 160, 100, 24, 12
SPEC = """
name: grouped
items: {file: items.jsonl, id: item_id, features: {feel: {kind: vector, file: feel.npy, row: row}}}
interactions: {file: events.tsv, user: user, item: item, time: time}
split: {by: time, fractions: [0.8, 0.1, 0.1], cold_items: 0.25}
"""


def grouped(folder: Path, *, shuffled: bool) -> Path:
    """Users like one group of items each, and vectors tell the group; shuffled, each item has the vector of another."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    (folder / "dataset.yaml").write_text(SPEC)
    group = rng.permutation(np.arange(ITEMS) % GROUPS)
    vectors = (rng.normal(size=(GROUPS, WIDTH))[group] + 0.3 * rng.normal(size=(ITEMS, WIDTH))).astype(np.float32)
    lines = []
    for user in range(USERS):
        own = rng.permutation(np.flatnonzero(group == user % GROUPS))
        other = rng.permutation(np.flatnonzero(group != user % GROUPS))[: EVENTS - len(own)]
        for event, item in enumerate(rng.permutation(np.concatenate([own, other]))[:EVENTS]):
            lines.append(f"u{user}\ti{item}\t{1_513_000_000 + 1000 * event + user}\n")
    rows = rng.permutation(ITEMS) if shuffled else np.arange(ITEMS)
    np.save(folder / "feel.npy", vectors[rows])
    (folder / "events.tsv").write_text("user\titem\ttime\n" + "".join(lines))
    items = [{"item_id": f"i{item}", "row": item} for item in range(ITEMS)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    return folder
