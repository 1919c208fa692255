"""The app in front of a model server that is still loading: what it says, and when it counts as ready."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from app_parts import TinyModel, options, parts
from fastapi.testclient import TestClient

from pipelines.config import load_config
from pipelines.webapp import model_process, opening, wiring
from serving.app.http.service import create_app
from serving.app.schemas import ReadyOut
from serving.wire.errors import StartError


class LoadingModel(TinyModel):
    """Away, or there with its version in a state."""

    state = "LOADING"

    async def status(self) -> list[Any]:
        self._here()
        return [SimpleNamespace(version=1, state=self.state)]


def test_the_app_is_not_ready_while_its_own_server_starts(tmp_path: Path) -> None:
    model, seen = TinyModel(), list[ReadyOut]()
    model.away = True
    starting = replace(parts(tmp_path, model), is_starting=lambda: True, watch=seen.append)
    with TestClient(create_app(starting, options())) as client:
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (
            503,
            {"ready": False, "model": "tiny: the model is loading", "store": "ok"},
        )
        answer = client.get("/recommend")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["loading"]) == (503, "1", True)
        assert answer.json()["error"] == "tiny: the model is loading; ask again in a moment"
        assert client.get("/about").status_code == client.get("/picker").status_code == 200  # need no model
        model.away = False
        until(lambda: bool(seen) and seen[-1].ready)
        assert client.get("/recommend").status_code == client.get("/health/ready").status_code == 200
        model.away = True  # an outage from now on is no start
        gone = client.get("/recommend").json()
        assert ("loading" in gone, gone["error"].startswith("model server: tiny:0")) == (False, True)
        num_checks = len(seen)
        time.sleep(0.7)
        assert len(seen) == num_checks
    assert [one.ready for one in seen] == [False] * (num_checks - 1) + [True]


def test_a_server_elsewhere_that_loads_the_model_counts_as_loading_and_one_that_is_away_does_not(
    tmp_path: Path,
) -> None:
    model = LoadingModel()
    with TestClient(create_app(parts(tmp_path, model), options())) as client:
        assert client.get("/health/ready").json()["model"] == "tiny: the model is loading"
        model.state = "END"
        assert client.get("/health/ready").json()["model"].startswith("tiny: no version is available")
        model.away = True
        assert client.get("/health/ready").json()["model"].startswith("tiny:0: no server answers there")
        assert "loading" not in client.get("/recommend").json()


def test_the_command_says_that_it_is_open_once_the_model_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, answers = TinyModel(), list[tuple[int, Any]]()
    model.away = True
    monkeypatch.setattr(opening, "_FIRST_LINE", 0.4)

    def visit() -> None:
        url = ""
        try:
            until(lambda: "Waiting for the model" in written[0] + captured())
            url = written[0].split("until it answers, ")[1].split(" ")[0]
            answers.append(get(f"{url}health/ready"))
            until(lambda: "s so far; tiny: the model is loading" in written[0] + captured())
            model.away = False
            until(lambda: "Triptych is open after" in written[0] + captured())
            answers.append(get(f"{url}health/ready"))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    written = [""]

    def captured() -> str:
        written[0] += capsys.readouterr().out
        return ""

    visitor = threading.Thread(target=visit)
    run(tmp_path, model, monkeypatch, "import time; time.sleep(60)", visitor)
    visitor.join(20)
    assert [(status, body["model"]) for status, body in answers] == [(503, "tiny: the model is loading"), (200, "ok")]


def test_a_model_server_that_ends_before_it_answers_ends_the_app_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TinyModel()
    model.away = True
    with pytest.raises(StartError, match=r"^the model server ended with status 3 before it answered; its own message"):
        run(tmp_path, model, monkeypatch, "raise SystemExit(3)")


def run(
    folder: Path,
    model: TinyModel,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    visitor: threading.Thread | None = None,
) -> None:
    """`triptych app` in this process, with a program in place of the model server and `model` in place of its client."""
    monkeypatch.setattr(model_process, "_command", lambda path, port: [sys.executable, "-c", server])
    monkeypatch.setattr(wiring, "make_components", lambda job, target: parts(folder, model))
    config = load_config(None, ("serve.port=1",))
    if visitor is not None:
        visitor.start()
    wiring.run(wiring.AppJob(config, "tiny", folder, folder, folder / "state", port=0))


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def until(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
