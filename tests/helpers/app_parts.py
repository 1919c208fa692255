"""A small catalogue, a model in a few lines and the app in front of them, for the tests of `serving.app`."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.app.catalogue import AppCatalogue, ItemRow
from serving.app.ranking.profile import EventScale
from serving.app.ranking.requests import RankingSettings
from serving.app.ranking.rules import Rule
from serving.app.state import AppComponents, AppOptions
from serving.app.store.base import Retention, Store
from serving.app.store.event_log import EventLog, LogColumns
from serving.app.store.impression_log import ImpressionLog
from serving.app.store.open import open_store
from serving.client.queries import Recommendation, Scored
from serving.wire.errors import UnavailableError
from serving.wire.layout import ItemFacts

# Two kinds of items in a plane: horror to the right, comedy upwards; d is between them, f is on its own.
VECTORS = {
    "a": (1.0, 0.0, 0.0),
    "b": (0.96, 0.28, 0.0),
    "c": (0.0, 1.0, 0.0),
    "d": (0.6, 0.8, 0.0),
    "e": (0.28, 0.96, 0.0),
    "f": (0.0, 0.0, 1.0),
}
CATEGORIES = {
    "a": ["Horror"],
    "b": ["Horror"],
    "c": ["Comedy"],
    "d": ["Comedy", "Horror"],
    "e": ["Comedy"],
    "f": ["War"],
}
YEARS = {"a": 1980.0, "b": 1990.0, "c": 1995.0, "d": 1999.0, "e": 2005.0}
TEXTS = {
    "a": "a quiet house with a ghost",
    "b": "a ghost hunts a ghost",
    "c": "a quiet baker",
    "d": "a baker and a ghost",
    "e": "two bakers dance",
    "f": "a soldier walks home",
}
COUNTS = {"a": 50, "b": 40, "c": 10, "d": 20, "e": 5, "f": 3}
WEIGHTS = (0.75, 0.25)


def catalogue(root: Path, version: int = 1) -> AppCatalogue:
    ids = list(VECTORS)
    facts = ItemFacts(
        np.array(ids),
        np.array(list(VECTORS.values()), np.float16),
        np.tile(np.array([WEIGHTS], np.float16), (len(ids), 1)),
        np.array([COUNTS[item] for item in ids]),
        [CATEGORIES[item] for item in ids],
    )
    rows = {
        item: ItemRow(
            item.upper(), TEXTS[item], {"year": YEARS[item]} if item in YEARS else {}, {"image": f"images/{item}.png"}
        )
        for item in ids
    }
    rows["f"] = ItemRow("F", TEXTS["f"], {}, {"image": "../secret.png"})
    return AppCatalogue(
        "tiny",
        version,
        facts,
        {item: f"The {item.upper()}" for item in ids},
        rows,
        root,
        {"image": "image"},
        {"modalities": ["text", "image"], "labels": [{"name": "like", "task": "binary", "range": None}]},
    ).prepare()


class TinyModel:
    """As a recommender: the mean of the history decides, popularity breaks ties, the history is left out."""

    def __init__(self) -> None:
        self.away = False
        self.requests: list[dict[str, Any]] = []

    async def metadata(self, version: int | None = None) -> Any:
        self._here()
        inputs = {"device": SimpleNamespace(dtype="string"), "age": SimpleNamespace(dtype="float")}
        return SimpleNamespace(version=1, signatures={"recommend": SimpleNamespace(inputs=inputs)})

    async def status(self) -> list[Any]:
        self._here()
        return [SimpleNamespace(version=1, state="AVAILABLE")]

    async def recommend(
        self,
        *,
        k: int,
        history_ids: Sequence[str] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        exclude_ids: Sequence[str] = (),
        **context: Any,
    ) -> list[Recommendation]:
        self._here()
        self.requests.append(
            {"k": k, "history": list(history_ids), "values": history_values, "query": query, **context}
        )
        scores = self._scores(history_ids, query)
        left = [item for item in VECTORS if item not in {*history_ids, *exclude_ids}]
        best = sorted(left, key=lambda item: -scores[item])[:k]
        return [
            Recommendation(item, scores[item], {"like": 0.5}, np.array(WEIGHTS), self._because(item, history_ids))
            for item in best
        ]

    async def rank(self, candidate_ids: Sequence[str], *, history_ids: Sequence[str] = (), **user: Any) -> list[Scored]:
        self._here()
        scores = self._scores(history_ids, user.get("query", ""))
        return [Scored(item, scores[item], {"like": 0.5}) for item in candidate_ids]

    async def search(self, query: str, *, k: int) -> list[Scored]:
        self._here()
        scores = self._scores((), query)
        return [Scored(item, scores[item], {}) for item in sorted(VECTORS, key=lambda item: -scores[item])[:k]]

    async def similar(self, item_id: str, *, k: int) -> list[Scored]:
        self._here()
        cosines = {item: float(np.dot(VECTORS[item], VECTORS[item_id])) for item in VECTORS if item != item_id}
        return [Scored(item, cosines[item], {}) for item in sorted(cosines, key=lambda item: -cosines[item])[:k]]

    async def close(self) -> None:
        return None

    def _here(self) -> None:
        if self.away:
            raise UnavailableError("tiny:0: no server answers there (refused); check the address")

    def _scores(self, history: Sequence[str], query: str) -> dict[str, float]:
        taken = [np.array(VECTORS[item]) for item in history if item in VECTORS]
        mean = np.mean(taken, axis=0) if taken else np.zeros(3)
        words = query.lower().split()
        return {
            item: float(3 * np.dot(VECTORS[item], mean))
            + COUNTS[item] / 100
            + sum(word in TEXTS[item] for word in words)
            for item in VECTORS
        }

    def _because(self, item: str, history: Sequence[str]) -> str:
        known = [one for one in history if one in VECTORS]
        return max(known, key=lambda one: float(np.dot(VECTORS[one], VECTORS[item])), default="")


SCALE = EventScale(
    1.0, 5.0, {"like": 5.0, "dislike": 1.0}, {"view": 0.1, "click": 0.3, "like": 1.0, "dislike": -1.0, "rating": 1.0}
)


def settings(**changes: Any) -> RankingSettings:
    values: dict[str, Any] = {
        "scale": SCALE,
        "languages": ("en", "de", "es", "fr", "zh"),
        "short_term": 20,
        "taste_rate": 0.5,
        "taste_weight": 0.0,
        "unwanted_weight": 4.0,
        "least_cosine": 0.3,
        "pool": 5,
        "max_k": 50,
        "max_excluded": 100,
        "max_results": 100,
        "picker_candidates": 10,
        "picker_demand": 10,
        "rating_words": 2,
        "shown_events": 10,
        "shown_categories": 10,
        "examples": ("quiet",),
    }
    return RankingSettings(**{**values, **changes})


def columns() -> LogColumns:
    kinds = frozenset({"click", "like", "dislike", "rating"})
    return LogColumns("user_id", "item_id", "timestamp", ("rating",), ("device",), kinds, SCALE.event_values)


def options(**changes: Any) -> AppOptions:
    values: dict[str, Any] = {
        "rate": "100000/second",
        "max_body_bytes": 65536,
        "hosts": ("testserver",),
        "frames": (),
        "write_tokens": None,
        "read_tokens": None,
        "poll": 60.0,
        "max_events": 100,
    }
    return AppOptions(**{**values, **changes})


RETENTION = Retention(events=100, seconds=86400.0 * 365 * 60)


def parts(
    folder: Path,
    model: TinyModel,
    rules: Sequence[Rule] = (),
    store: Store | None = None,
    load: Any = None,
    newest: Any = None,
    **changes: Any,
) -> AppComponents:
    root = folder / "data"
    (root / "images").mkdir(parents=True, exist_ok=True)
    return AppComponents(
        name="tiny",
        connect=lambda: model,
        catalogue=catalogue(root),
        latest_version=newest or (lambda: 1),
        load_catalogue=load or (lambda: catalogue(root)),
        rules=rules,
        rules_source="rules.yaml",
        store=store or asyncio.run(open_store(f"sqlite:{folder / 'profiles.sqlite'}", RETENTION, 2.0)),
        event_log=EventLog(folder / "events", columns(), 1 << 20),
        impression_log=ImpressionLog(folder / "served", 1 << 20, 3),
        settings=settings(**changes),
    )


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[int]:
    """A redis-server that appends every write to its file; yields its port. Skips where Redis is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(
        [*command, "--appendonly", "yes", "--appendfsync", "always"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "redis-server did not come up"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()
