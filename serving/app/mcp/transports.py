"""The server over stdio and over streamable HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any
from urllib.parse import urlsplit

import anyio
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app.http.errors import TOKEN_NEEDED, error_response
from serving.app.http.middleware import add_guards
from serving.app.mcp.caller import Caller, caller_of_request
from serving.app.mcp.server import AgentServer
from serving.app.mcp.tools import AgentSettings
from serving.app.state import AppComponents, AppOptions, AppState
from serving.wire.errors import StartError
from serving.wire.tokens import Tokens

_log = logging.getLogger(__name__)
PATH = "/mcp"
_LONGEST_LINE = 4 << 20  # bytes of a message over stdio, as the SDK's limit of a request over HTTP


class Gate:
    """Lets requests to the endpoint pass that come from no foreign page, and have a token where one is needed.

    A page of another site can send requests to an address of this machine; its browser says so in `origin`, which the
    protocol requires servers to check.

    Args:
      app: the endpoint.
      hosts: names whose pages may call, as those that the server answers to.
      tokens: None if anybody may call.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], tokens: Tokens | None) -> None:
        self._app, self._hosts, self._tokens = app, hosts, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "origin" in headers and not self._is_own(headers["origin"]):
            text = "pages of this origin may not call; name its host (app.hosts)"
            await error_response(403, text)(scope, receive, send)
        elif self._tokens is not None and not self._tokens.allow(headers.get("authorization", "")):
            await error_response(401, TOKEN_NEEDED, www_authenticate="Bearer")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_own(self, origin: str) -> bool:
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            return False
        return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self._hosts)


def create_agent_app(components: AppComponents, options: AppOptions, settings: AgentSettings) -> Starlette:
    """Create the HTTP application: the endpoint at /mcp, /health/live, /health/ready and /metrics.

    No session is kept between requests: a request has its user and token in its headers, and all turns in its arguments.

    Args:
      components: what the app is assembled from; the lifespan of the application opens and closes everything.
      options: hosts, tokens, limits of size and rate.
      settings: limits of the tools.
    """
    state = AppState(components, options)

    def identify(request: Any) -> Caller:
        address = request.client.host if request.client else ""
        return caller_of_request(request.headers, address, options)

    manager = StreamableHTTPSessionManager(
        AgentServer(state, settings, identify).protocol,
        json_response=True,
        stateless=True,
        security_settings=TransportSecuritySettings(
            enable_dns_rebinding_protection=False
        ),  # the gate and the guards do
        max_request_body_size=options.max_body_bytes,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with state.running(), manager.run():
            yield

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> Response:
        result = await state.ready()
        return JSONResponse(result.model_dump(), 200 if result.ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    endpoint = Gate(StreamableHTTPASGIApp(manager), options.hosts, options.read_tokens)
    routes = [
        Route(PATH, endpoint),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    add_guards(app, options, state.metrics)
    return app


async def serve_stdio(
    components: AppComponents,
    options: AppOptions,
    settings: AgentSettings,
    user: str,
    read_from: IO[bytes],
    write_to: IO[str],
) -> None:
    """Serve one client until it closes its end.

    Args:
      components: what the app is assembled from; opened and closed here.
      options: of the app; tokens and hosts mean nothing over stdio.
      settings: limits of the tools.
      user: of the connection.
      read_from: a pipe, socket or terminal.
      write_to: text stream that nothing else writes to.

    Raises:
      StartError: `read_from` is a file.
    """
    state = AppState(components, options)
    async with state.running(), _lines(read_from) as lines:
        server = AgentServer(state, settings, lambda _: Caller(user)).protocol
        async with stdio_server(lines, anyio.wrap_file(write_to)) as (incoming, outgoing):  # type: ignore[arg-type]
            await server.run(incoming, outgoing, server.create_initialization_options())


@asynccontextmanager
async def _lines(pipe: IO[bytes]) -> AsyncIterator[_Lines]:
    """Yield the lines of a pipe. The SDK's own reader blocks a thread in `read`, which no signal ends."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    try:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
    except ValueError as error:
        raise StartError("stdin is a file; an assistant starts this command with a pipe, or use --http") from error
    try:
        yield _Lines(reader)
    finally:
        transport.close()


class _Lines:
    """Iterates over the lines of a stream, as text."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:
            _log.warning("a message of more than %d bytes was dropped; send less at a time", _LONGEST_LINE)
            return await anext(self)
        if not line:
            raise StopAsyncIteration
        return line.decode("utf-8", "replace")
