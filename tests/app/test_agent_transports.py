"""The tools for agents over streamable HTTP and over stdio: users and tokens in headers, what is refused, how it ends."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from agent_parts import agent_settings, answer, like, listed, refusal
from app_parts import TinyModel, options, parts
from click.testing import CliRunner
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

from pipelines.cli import main
from serving.app.mcp.transports import create_agent_app, serve_stdio
from serving.wire.errors import StartError
from serving.wire.tokens import Tokens

REPO = Path(__file__).resolve().parents[2]
HELPER = REPO / "tests" / "helpers" / "agent_parts.py"
TOKEN = {"authorization": "Bearer t0k3n"}
ENDPOINT = "http://testserver/mcp"

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[Starlette]:
    standing = await anyio.to_thread.run_sync(lambda: parts(folder, TinyModel()))
    app = create_agent_app(standing, options(**changes), agent_settings())
    async with app.router.lifespan_context(app):
        yield app


def http(app: Starlette, **headers: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://testserver", headers={"host": "testserver", **headers}
    )


@asynccontextmanager
async def client_over_http(app: Starlette, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    async with (
        http(app, **headers) as transport,
        Client(streamable_http_client(ENDPOINT, http_client=transport), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_two_users_talk_over_http_at_once(tmp_path: Path, mode: str) -> None:
    async with opened(tmp_path) as app, AsyncExitStack() as stack:
        ann = await stack.enter_async_context(client_over_http(app, mode, **{"x-triptych-user": "ann"}))
        bob = await stack.enter_async_context(client_over_http(app, mode, **{"x-triptych-user": "bob"}))
        nobody = await stack.enter_async_context(client_over_http(app, mode))
        await asyncio.gather(like(ann, "c"), like(bob, "a"))
        lists = await asyncio.gather(*(listed(client, k=2) for client in (ann, bob, nobody)))
        assert list(lists) == [["e", "d"], ["b", "d"], ["a", "b"]]
        assert await listed(ann, turns=["ghost", "no comedies"], k=2) == ["b", "a"]
        assert (await answer(ann, "forget"))["events"] == 1
        assert [(await answer(client, "profile"))["events"] for client in (ann, bob)] == [0, 1]
        assert "send the header x-triptych-user" in await refusal(nobody, "profile")


async def test_an_agent_cannot_choose_the_user_and_a_header_can_be_wrong(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        async with client_over_http(app, **{"x-triptych-user": "ann"}) as ann:
            assert "user: Extra inputs are not permitted" in await refusal(ann, "profile", {"user": "bob"})
        async with client_over_http(app, **{"x-triptych-user": "x" * 129}) as long:
            line = "recommend: user: a user id has 1 to 128 characters and no control characters"
            assert await refusal(long, "recommend") == line


async def test_storing_and_deleting_need_a_token_where_there_is_one(tmp_path: Path) -> None:
    user = {"x-triptych-user": "ann"}
    events = {"events": [{"kind": "like", "item": "c"}]}
    async with opened(tmp_path, write_tokens=Tokens(("t0k3n",))) as app:
        for wrong in ({}, {"authorization": "Bearer no"}):
            async with client_over_http(app, **user, **wrong) as client:
                line = "a token is needed: send the header authorization: Bearer <token>"
                assert await refusal(client, "feedback", events) == f"feedback: {line}"
                assert await refusal(client, "forget") == f"forget: {line}"
                assert (await answer(client, "profile"))["events"] == 0
        async with client_over_http(app, **user, **TOKEN) as client:
            await like(client, "c")
            assert (await answer(client, "forget"))["events"] == 1


async def test_reading_needs_a_token_too_where_that_is_asked(tmp_path: Path) -> None:
    tokens = Tokens(("t0k3n",))
    async with opened(tmp_path, write_tokens=tokens, read_tokens=tokens) as app:
        async with http(app) as plain:
            refused = await plain.post("/mcp", json={})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert (await plain.get("/health/ready")).json() == {"ready": True, "model": "ok", "store": "ok"}
            assert (await plain.get("/health/live")).status_code == 200
        async with client_over_http(app, **TOKEN) as client:
            assert await listed(client, k=1) == ["a"]


async def test_foreign_hosts_pages_and_sizes_are_refused_as_by_the_app(tmp_path: Path) -> None:
    async with opened(tmp_path, max_body_bytes=2000, hosts=("testserver", "*.example.org")) as app:
        async with http(app) as plain:
            for origin, status in (
                ("https://evil.example", 403), ("null", 403), ("http://[", 403), ("http://testserver.evil.example", 403)
            ):  # fmt: skip
                assert (await plain.post("/mcp", json={}, headers={"origin": origin})).status_code == status, origin
            for origin in ("http://testserver:8765", "https://shop.example.org"):
                assert (await plain.post("/mcp", json={}, headers={"origin": origin})).status_code == 400, origin
            assert (await plain.post("/mcp", json={}, headers={"host": "evil.example"})).status_code == 400
            large = await plain.post("/mcp", content=b"x" * 2001, headers={"content-type": "application/json"})
            assert (large.status_code, "2,000 bytes" in large.json()["error"]) == (413, True)
            for body in (b"", b"{", b"[1]", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": 7}'):
                answered = await plain.post("/mcp", content=body, headers={"content-type": "application/json"})
                assert 400 <= answered.status_code < 500, body
        async with client_over_http(app) as client:
            assert await listed(client)
            assert (await client.call_tool("search", {"turns": ["ghost"]})).structured_content


async def test_an_address_is_limited_and_metrics_name_tools_and_no_users(tmp_path: Path) -> None:
    async with opened(tmp_path, rate="6/minute") as app, http(app, **{"x-triptych-user": "ann"}) as plain:
        async with Client(streamable_http_client(ENDPOINT, http_client=plain)) as client:
            await listed(client)
        codes = [(await plain.post("/mcp", json={})).status_code for _ in range(6)]
        assert codes[-1] == 429
        text = (await plain.get("/metrics")).text
        assert 'triptych_app_tool_calls_total{outcome="answered",tool="recommend"} 1.0' in text
        assert "ann" not in text


def stdio(folder: Path, user: str) -> StdioServerParameters:
    paths = os.pathsep.join([str(REPO), str(HELPER.parent), os.environ.get("PYTHONPATH", "")])
    return StdioServerParameters(
        command=sys.executable, args=[str(HELPER), str(folder), user], env={**os.environ, "PYTHONPATH": paths}
    )


@pytest.mark.slow
async def test_two_assistants_over_stdio_share_a_store_and_no_user(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    async with Client(stdio(tmp_path, "ann")) as ann, Client(stdio(tmp_path, "bob"), mode="legacy") as bob:
        assert len((await ann.list_tools()).tools) == 8
        await asyncio.gather(like(ann, "c"), like(bob, "a"))
        assert await asyncio.gather(listed(ann, k=2), listed(bob, k=2)) == [["e", "d"], ["b", "d"]]
        assert await listed(ann, turns=["ghost", "no comedies"], k=2) == ["b", "a"]
        assert await refusal(ann, "recommend", {"k": 10**9}) == "recommend: k: at most 6 (mcp.max_k)"
        assert (await answer(ann, "forget"))["events"] == 1
    async with Client(stdio(tmp_path, "bob")) as again:
        assert (await answer(again, "profile"))["events"] == 1


@pytest.mark.slow
def test_a_signal_ends_the_process_while_it_waits_for_input(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from agent_parts import *; from pipelines.webapp.agents import _until_signal\n"
        "standing = parts(Path(sys.argv[1]), TinyModel())\n"
        "serving = serve_stdio(standing, options(), agent_settings(), 'ann', sys.stdin.buffer, sys.stdout)\n"
        "try: asyncio.run(_until_signal(serving))\nexcept asyncio.CancelledError: sys.exit(3)\n"
    )
    parameters = stdio(tmp_path, "ann")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=parameters.env,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"no JSON\n" + b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
    process.stdin.flush()
    assert b'"id":1' in process.stdout.readline()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 3
    assert time.monotonic() - started < 5
    process.stdin.close()
    process.stdout.close()


async def test_a_file_as_input_is_refused(tmp_path: Path) -> None:
    standing = await anyio.to_thread.run_sync(lambda: parts(tmp_path, TinyModel()))
    with HELPER.open("rb") as file, pytest.raises(StartError, match="stdin is a file; an assistant starts"):
        await serve_stdio(standing, options(), agent_settings(), "ann", file, io.StringIO())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--user", "ann", "--http"], "--user is for stdio; with --http a request names its user in the header"),
        (["--port", "1"], "--port is for --http; over stdio whoever starts the command is the one client"),
        (["--token-file", "x"], "--token-file is for --http"),
        (["--user", "a\nb"], "--user: a user id has 1 to 128 characters"),
        (["--set", "mcp.rate=often"], "mcp.rate: 'often' is no rate; write it as 100/second"),
        (["--set", "mcp.max_k=0"], "mcp.max_k: Input should be greater than or equal to 1"),
        (["--set", "mcp.maxk=5"], "no option mcp.maxk; did you mean 'max_k'?"),
        (["--target", "127.0.0.1:1"], "data: no such folder"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    folders = ["--data", str(tmp_path / "data"), "--state", str(tmp_path / "state"), "--models", str(tmp_path)]
    result = CliRunner().invoke(main, ["mcp", "--model", "none", *folders, *arguments])
    assert result.exit_code == 2, result.output
    assert line in result.output
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_without_the_sdk_the_remedy_is_named() -> None:
    code = "import sys; sys.modules['mcp'] = None; from pipelines.cli import main; main(['mcp', '--model', 'demo'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPO)
    assert done.returncode == 2
    assert done.stderr == "triptych: mcp needs the package mcp: pip install -c constraints.txt -e '.[mcp]'\n"
