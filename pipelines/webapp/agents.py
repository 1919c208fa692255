"""`triptych mcp`: the app as tools for language-model agents, over stdio or HTTP. No TensorFlow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from threadpoolctl import threadpool_limits

from pipelines.config.running import McpConfig
from pipelines.runs.progress import say
from pipelines.webapp.model_process import model_server
from pipelines.webapp.wiring import AppJob, address, make_components, make_options, serve_http
from serving.app.intake import UnprocessableRequest
from serving.app.mcp.caller import check_user
from serving.app.mcp.tools import AgentSettings
from serving.app.mcp.transports import PATH, create_agent_app, serve_stdio
from serving.app.rate import parse_rate
from serving.server.process import listening_socket
from tfrecs.errors import SpecError
from tfrecs.version import VERSION


@dataclass(frozen=True)
class AgentJob:
    """Arguments of `triptych mcp`.

    Attributes:
      app: those of the app; the sections `app`, `mcp` and `serve` of its configuration are used.
      http: serve streamable HTTP instead of stdio.
      user: of the connection over stdio; None makes one up.
      read_only: offer no tool that stores or deletes; the configuration can ask for it too.
    """

    app: AppJob
    http: bool = False
    user: str | None = None
    read_only: bool = False


def run(job: AgentJob) -> None:
    """Serve until the client is gone (stdio), or until SIGTERM or SIGINT. Raises TriptychError."""
    _check(job)
    if job.http:
        _run_http(job)
    else:
        _run_stdio(job)


def _run_http(job: AgentJob) -> None:
    app, config = job.app, job.app.config
    host = app.host or config.app.host
    with (
        listening_socket(host, config.mcp.port if app.port is None else app.port, "--port") as listening,
        threadpool_limits(1, user_api="blas"),  # as in the app
        model_server(app.model, app.models, app.target, config.serve.port) as target,
    ):
        application = create_agent_app(make_components(app, target), make_options(app, host), make_settings(job))
        url = address(host, listening)
        say(f"Tools for agents: {url}{PATH}   (profiles and events: {app.state}; Ctrl-C ends it)")
        serve_http(application, listening, config)


def _run_stdio(job: AgentJob) -> None:
    app = job.app
    user = job.user or secrets.token_hex(16)
    with (
        _protocol_streams() as (read_from, write_to),
        threadpool_limits(1, user_api="blas"),
        model_server(app.model, app.models, app.target, app.config.serve.port) as target,
    ):
        components, options = make_components(app, target), make_options(app, "localhost")
        say("Tools for agents are open over stdio; the end of the input ends them.")
        serving = serve_stdio(components, options, make_settings(job), user, read_from, write_to)
        # A signal ends it like the end of the input does: what is stored is whole, and the model server ends too.
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_until_signal(serving))


def make_settings(job: AgentJob) -> AgentSettings:
    """Create the settings of the tools; all but the version have the name of their key in the section `mcp`."""
    section: McpConfig = job.app.config.mcp
    values = section.model_dump(exclude={"port"})
    return AgentSettings(version=VERSION, **{**values, "read_only": section.read_only or job.read_only})


def _check(job: AgentJob) -> None:
    """Refuse what cannot work before anything starts. Raises SpecError, StartError."""
    parse_rate(job.app.config.mcp.rate, "mcp.rate")
    if job.http and job.user is not None:
        raise SpecError("--user is for stdio; with --http a request names its user in the header x-triptych-user")
    for option, value in (("--host", job.app.host), ("--port", job.app.port), ("--token-file", job.app.token_file)):
        if value is not None and not job.http:
            raise SpecError(f"{option} is for --http; over stdio whoever starts the command is the one client")
    if job.user is not None:
        try:
            check_user(job.user)
        except UnprocessableRequest as error:
            raise SpecError(f"--user: {error}") from error


async def _until_signal(serving: Any) -> None:
    task = asyncio.ensure_future(serving)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


@contextmanager
def _protocol_streams() -> Iterator[tuple[IO[bytes], IO[str]]]:
    """Yield stdin and stdout for the protocol alone: within the block everything else that is printed goes to stderr."""
    sys.stdout.flush()
    wire = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(0), "rb", 0) as read_from, open(wire, "w", encoding="utf-8", closefd=False) as write_to:
            yield read_from, write_to
    finally:
        sys.stdout.flush()
        os.dup2(wire, 1)
        os.close(wire)
