"""The tools for agents over the small catalogue of `app_parts`, and a client of the SDK for them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from app_parts import TinyModel, options, parts
from mcp import Client
from mcp_types import CallToolResult

from serving.app.mcp.caller import Caller
from serving.app.mcp.server import AgentServer
from serving.app.mcp.tools import AgentSettings
from serving.app.mcp.transports import serve_stdio
from serving.app.state import AppState


def agent_settings(**changes: Any) -> AgentSettings:
    values: dict[str, Any] = {
        "version": "1.2.3",
        "rate": "100000/second",
        "max_k": 6,
        "list_chars": 100,
        "item_chars": 1000,
        "shown_items": 2,
        "start_wait": 0.0,
        "read_only": False,
    }
    return AgentSettings(**{**values, **changes})


@asynccontextmanager
async def state(folder: Path, model: TinyModel | None = None, **changes: Any) -> AsyncIterator[AppState]:
    standing = await anyio.to_thread.run_sync(lambda: parts(folder, model or TinyModel(), **changes))
    async with AppState(standing, options()).running() as running:
        yield running


def client_of(standing: AppState, user: str = "", mode: str = "auto", client: Any = None, **changes: Any) -> Client:
    """A client in this process whose connection has this user."""
    server = AgentServer(standing, agent_settings(**changes), lambda _: Caller(user))
    return Client(server.protocol, mode=mode, **(client or {}))


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert not result.is_error, result.content
    structured: dict[str, Any] = result.structured_content
    return structured


async def refusal(client: Client, tool: str, arguments: dict[str, Any] | None = None) -> str:
    """The one line that a tool refuses a call with."""
    result = await client.call_tool(tool, arguments or {})
    assert isinstance(result, CallToolResult)
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    (content,) = result.content
    assert content.type == "text"
    assert "\n" not in content.text
    return content.text


async def like(client: Client, *items: str, kind: str = "like") -> None:
    await answer(client, "feedback", events=[{"kind": kind, "item": item} for item in items])


async def listed(client: Client, tool: str = "recommend", **arguments: Any) -> list[str]:
    return [item["id"] for item in (await answer(client, tool, **arguments))["items"]]


if __name__ == "__main__":  # the server of the tests over stdio: FOLDER USER
    folder, user = Path(sys.argv[1]), sys.argv[2]
    standing = parts(folder, TinyModel())
    anyio.run(serve_stdio, standing, options(), agent_settings(), user, sys.stdin.buffer, sys.stdout)
