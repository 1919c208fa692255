"""The app with a real small model on the embedded server, and as its own process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from toy_server import server_options, silent
from whole import Whole

from pipelines.building import builder as build
from pipelines.cli import main
from pipelines.webapp.wiring import AppJob, make_components, make_options
from serving.app.http.service import create_app
from serving.server.server import Server
from serving.server.sources import folder_source
from serving.wire import layout
from tfrecs.schema import Manifest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def target(whole: Whole) -> Iterator[str]:
    server = Server(folder_source(whole.models), server_options(), silent)
    with server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def plain_target(plain: Whole) -> Iterator[str]:
    with Server(folder_source(plain.models), server_options(), silent) as server:
        yield f"127.0.0.1:{server.port}"


@contextmanager
def opened(whole: Whole, target: str, state: Path) -> Iterator[TestClient]:
    config = whole.config.model_copy(
        update={"app": whole.config.app.model_copy(update={"hosts": ("testserver",), "timeout": 30.0})}
    )
    job = AppJob(config, "demo", whole.data, whole.models, state, target)
    with TestClient(create_app(make_components(job, target), make_options(job, "127.0.0.1"))) as client:
        yield client


def items(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get("/recommend", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_like_changes_the_list_and_reasons_agree_with_the_export(whole: Whole, target: str, tmp_path: Path) -> None:
    facts = layout.item_facts(whole.models / "demo" / "1")
    assert facts is not None
    place = {item: row for row, item in enumerate(facts.ids.tolist())}
    with opened(whole, target, tmp_path) as client:
        assert client.get("/health/ready").json() == {"ready": True, "model": "ok", "store": "ok"}
        before = [item["id"] for item in items(client, user="ann", k=10)]
        liked = before[3]
        sent = client.post("/events", json={"user": "ann", "events": [{"kind": "like", "item": liked}]})
        assert sent.status_code == 201
        after = items(client, user="ann", k=10)
        assert [item["id"] for item in after] != before
        assert liked not in [item["id"] for item in after]
        for item in after:
            row = place[item["id"]]
            assert sum(item["modality_weights"].values()) == pytest.approx(1, abs=1e-2)
            assert 0 <= item["labels"]["like"] <= 1
            cosine = float(facts.vectors[row].astype(np.float64) @ facts.vectors[place[liked]].astype(np.float64))
            told = [reason for reason in item["reasons"] if reason["kind"] == "history"]
            assert bool(told) == (cosine >= whole.config.app.least_cosine)
            assert all(
                reason["item"] == liked and reason["value"] == pytest.approx(cosine, abs=2e-3) for reason in told
            )


def test_an_export_has_the_facts_of_its_items(whole: Whole) -> None:
    facts = layout.item_facts(whole.models / "demo" / "1")
    assert facts is not None
    rows = [json.loads(line) for line in (whole.data / "items.jsonl").read_text().splitlines()]
    assert facts.ids.tolist() == [row["item_id"] for row in rows]
    assert facts.categories == [[row["mood"]] if row["mood"] else [] for row in rows]
    assert np.linalg.norm(facts.vectors.astype(np.float64), axis=1) == pytest.approx(np.ones(len(rows)), abs=2e-3)
    assert facts.weights.astype(np.float64).sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=2e-3)
    counts = Manifest.load(whole.records).train_counts
    assert dict(zip(facts.ids.tolist(), facts.counts.tolist(), strict=True)) == {
        row["item_id"]: counts.get(row["item_id"], 0) for row in rows
    }
    assert layout.item_facts(whole.models / "demo" / "0") is None


def test_queries_media_and_filters_of_a_real_catalogue(whole: Whole, target: str, tmp_path: Path) -> None:
    with opened(whole, target, tmp_path) as client:
        about = client.get("/about").json()
        assert about["media"] == {"image": "image", "audio": "audio"}
        assert about["rating"] == [1.0, 5.0]
        mood = about["categories"][0]["name"]
        assert all(mood in item["categories"] for item in items(client, category=mood, k=5))
        found = client.get("/search", params={"turn": [about["examples"][0], f"no {mood}"], "k": 5}).json()
        assert [chip["key"] for chip in found["understood"]["chips"]] == [f"not:{mood}"]
        assert found["items"]
        assert all(mood not in item["categories"] for item in found["items"])
        playable = items(client, media="audio", k=1)[0]
        sound = client.get(playable["media"]["audio"], headers={"range": "bytes=0-3"})
        assert (sound.status_code, sound.content, sound.headers["content-type"]) == (206, b"RIFF", "audio/wav")
        assert len(client.get("/picker", params={"k": 6}).json()["items"]) == 6


def test_the_event_log_can_be_appended_to_the_records(whole: Whole, target: str, tmp_path: Path) -> None:
    with opened(whole, target, tmp_path / "state") as client:
        shown = [item["id"] for item in items(client, k=4)]
        events = [{"kind": "like", "item": shown[0]}, {"kind": "click", "item": shown[1]}, {"kind": "view", "item": shown[2]},
                  {"kind": "rating", "item": shown[3], "value": 2}, {"kind": "query", "text": "quiet"}]  # fmt: skip
        assert client.post("/events", json={"user": "somebody-new", "events": events}).status_code == 201
    records = tmp_path / "records"
    shutil.copytree(whole.records, records)
    before = Manifest.load(records)
    build.run(build.BuildJob(tmp_path / "state" / "events", records, whole.config, append=True))
    after = Manifest.load(records)
    assert after.interactions - before.interactions == 3
    assert after.users - before.users == 1
    assert after.rejected == before.rejected
    again = build.run(build.BuildJob(tmp_path / "state" / "events", records, whole.config, append=True))
    assert Manifest.load(again.out).interactions == after.interactions


def ask(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def command_line(plain: Whole, state: Path, name: str) -> list[str]:
    command = [sys.executable, "-m", "pipelines.cli", name, "--model", "plain", "--data", str(plain.data)]
    return [*command, "--models", str(plain.models), "--state", str(state)]


def environment_here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}


@contextmanager
def started(plain: Whole, state: Path, port: int, *more: str, name: str = "app") -> Iterator[subprocess.Popen[str]]:
    command = [*command_line(plain, state, name), "--port", str(port), *more]
    environment = environment_here()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=REPO
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            try:
                if ask(port, "/health/ready")["ready"]:
                    break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def test_acknowledged_events_survive_a_killed_app(plain: Whole, plain_target: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    item = next(iter(layout.titles(plain.models / "plain" / "1")))
    with started(plain, tmp_path, port, "--target", plain_target) as process:
        ids = ask(port, "/events", {"user": "ann", "events": [{"kind": "like", "item": item}]})["ids"]
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    lines = [
        json.loads(line) for path in (tmp_path / "events").glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    assert [line["_id"] for line in lines] == ids
    with started(plain, tmp_path, port, "--target", plain_target):
        assert [event["id"] for event in ask(port, "/users/ann")["recent"]] == ids


def test_agents_reach_the_same_profile_over_stdio_and_http(plain: Whole, plain_target: str, tmp_path: Path) -> None:
    import httpx2
    from agent_parts import answer, like, listed
    from mcp import Client, StdioServerParameters
    from mcp.client.streamable_http import streamable_http_client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    facts = layout.item_facts(plain.models / "plain" / "1")
    assert facts is not None
    place = {item: row for row, item in enumerate(facts.ids.tolist())}
    program, *arguments = [*command_line(plain, tmp_path, "mcp"), "--target", plain_target, "--user", "ann"]

    async def over_stdio() -> list[str]:
        async with Client(StdioServerParameters(command=program, args=arguments, env=environment_here())) as client:
            before = await listed(client, k=5)
            await like(client, before[2])
            shown = await answer(client, "recommend", k=5)
            assert before[2] not in [item["id"] for item in shown["items"]]
            for item in shown["items"]:
                cosine = float(
                    facts.vectors[place[item["id"]]].astype(float) @ facts.vectors[place[before[2]]].astype(float)
                )
                near = [reason for reason in item["reasons"] if reason["kind"] == "history"]
                assert bool(near) == (cosine >= plain.config.app.least_cosine)
                assert all(reason["value"] == pytest.approx(cosine, abs=2e-3) for reason in near)
            explained = (await answer(client, "explain", item=shown["items"][0]["id"]))["item"]
            assert explained["score"] == pytest.approx(shown["items"][0]["score"], abs=1e-3)
            return [item["id"] for item in shown["items"]]

    async def over_http() -> list[str]:
        async with (
            httpx2.AsyncClient(headers={"x-triptych-user": "ann"}, timeout=30) as transport,
            Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=transport)) as client,
        ):
            assert (await answer(client, "profile"))["events"] == 1
            return await listed(client, k=5)

    shown = asyncio.run(over_stdio())
    with started(plain, tmp_path, port, "--target", plain_target, "--http", "--read-only", name="mcp"):
        assert asyncio.run(over_http()) == shown


@pytest.mark.matrix
@pytest.mark.slow
def test_the_embedded_server_is_started_if_missing_and_ends_with_the_app(plain: Whole, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started(plain, tmp_path, port, "--set", "serve.port=1", "--set", "app.timeout=20"):
        assert len(ask(port, "/recommend?k=3")["items"]) == 3
        servers = _servers(plain)
        assert len(servers) == 1
    assert _servers(plain) == []


def _servers(plain: Whole) -> list[str]:
    found = []
    for folder_of in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder_of / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if b"serve" in words and str(plain.models / "plain").encode() in words:
            found.append(folder_of.name)
    return found


def test_user_mistakes_give_one_line(plain: Whole, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [{name: x, action: block, items: [nothing]}]")
    for more, told in (
        (["--model", "none"], "no exported model there; export one"),
        (
            ["--model", "plain", "--rules", str(tmp_path / "rules.yaml")],
            "rule 'x': the catalogue has no item 'nothing'",
        ),
        (["--model", "plain", "--set", "app.rate=often"], "app.rate: 'often' is no rate"),
        (["--model", "plain", "--set", "app.store=mysql://x"], "names no store"),
        (["--model", "plain", "--data", str(tmp_path / "nowhere")], "no such folder"),
    ):
        options = ["--data", str(plain.data), "--models", str(plain.models), "--state", str(tmp_path / "s")]
        done = CliRunner().invoke(main, ["app", *options, "--target", "127.0.0.1:1", "--port", "0", *more])
        assert done.exit_code == 2, done.output
        assert told in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_app_needs_no_tensorflow() -> None:
    code = "import sys, pipelines.app, pipelines.webapp.agents, serving.app.store.redis, serving.app.store.sqlite; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0
