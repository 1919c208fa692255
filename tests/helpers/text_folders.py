"""Small data folders whose items have a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

TOPICS, TOPIC_ITEMS = 8, 400


def shop(folder: Path) -> Path:
    """Twelve items with text, six users."""
    words = ("abba gag", "cafe abba", "gag cafe")
    items = [f"i{n},{words[n % 3]} {'abba ' * (n % 5)}" for n in range(12)]
    events = [f"u{u},i{(u * 5 + 3 * n) % 12},{1_513_000_000 + 100 * n + u}" for u in range(6) for n in range(10)]
    return _folder(folder, "shop", "item_id,title", items, events)


def topics(folder: Path) -> Path:
    """Each item has a topic: its six words are of the topic's four, and its genre names it. One in ten lacks a genre."""
    rng = np.random.default_rng(0)
    words = [[f"{letter}{letter}{number}" for number in "aeio"] for letter in "bcdfghkl"]
    items = []
    for item in range(TOPIC_ITEMS):
        topic = item % TOPICS
        genre = f"genre{topic}" if item % 10 else ""
        items.append(f"i{item},{' '.join(rng.choice(words[topic], 6))},{genre}")
    events = [
        f"u{user},i{(user * 7 + 11 * n) % TOPIC_ITEMS},{1_513_000_000 + 10 * n + user}"
        for user in range(20)
        for n in range(10)
    ]
    return _folder(folder, "topics", "item_id,title,genre", items, events, ", genre: {kind: categories, column: genre}")


def _folder(
    folder: Path, name: str, header: str, items: Sequence[str], events: Sequence[str], features: str = ""
) -> Path:
    """`features`: those beside the text, as they follow it in the specification."""
    folder.mkdir()
    (folder / "items.csv").write_text(f"{header}\n" + "\n".join(items) + "\n")
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(events) + "\n")
    (folder / "dataset.yaml").write_text(
        f"name: {name}\n"
        "items: {file: items.csv, id: item_id, title: title, "
        f"features: {{text: {{kind: text, columns: [title]}}{features}}}}}\n"
        "interactions: {file: interactions.csv, user: user_id, item: item_id, time: timestamp}\n"
    )
    return folder
