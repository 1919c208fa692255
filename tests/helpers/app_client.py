"""The app opened in this process, and asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app_parts import TinyModel, options, parts
from fastapi.testclient import TestClient

from serving.app.http.service import create_app
from serving.app.ranking.rules import parse_rules


@contextmanager
def opened(folder: Path, model: TinyModel | None = None, rules: str = "", **changes: Any) -> Iterator[TestClient]:
    parsed = parse_rules(rules, "rules.yaml") if rules else ()
    own = {
        name: changes.pop(name)
        for name in ("rate", "max_body_bytes", "write_tokens", "read_tokens", "frames")
        if name in changes
    }
    with TestClient(create_app(parts(folder, model or TinyModel(), parsed, **changes), options(**own))) as client:
        yield client


def post(client: TestClient, user: str, *events: dict[str, Any]) -> Any:
    return client.post("/events", json={"user": user, "events": list(events)})


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]
