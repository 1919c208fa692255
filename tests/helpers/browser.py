"""A headless Chromium and the app that it opens, for tests/test_app_page.py."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from toy_server import server_options, silent
from whole import Whole

from pipelines.webapp.wiring import AppJob, make_components, make_options
from serving.app.http.service import create_app
from serving.server.server import Server
from serving.server.sources import folder_source
from serving.wire import layout

EVIL = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"


def chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


def with_evil_title(whole: Whole, root: Path) -> tuple[Path, Path, str]:
    """Copies of the data folder and of what an export tells of its items, where one item's title and text are HTML.

    Returns:
      Data folder, models folder, the item's id.
    """
    data, models = root / "data", root / "models"
    shutil.copytree(whole.data, data)
    version = str(layout.latest_version(whole.models / "demo"))
    extra = models / "demo" / version / layout.EXTRA_FOLDER
    shutil.copytree(whole.models / "demo" / version / layout.EXTRA_FOLDER, extra)
    rows = [json.loads(line) for line in (data / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0] |= {"title": EVIL, "description": f"{EVIL} {rows[0]['description']}"}
    (data / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    titles = layout.titles(models / "demo" / version) | {rows[0]["item_id"]: EVIL}
    (extra / layout.TITLES_FILE).write_text(json.dumps(titles), encoding="utf-8")
    return data, models, rows[0]["item_id"]


def model_server(whole: Whole) -> Server:
    """The embedded server of the small model, not started."""
    return Server(folder_source(whole.models), server_options(grace=0.1), silent)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def relay(port: int, target: int) -> Iterator[None]:
    """Passes connections to `port` on to the server at `target`: a server that comes and goes, and is loaded once."""
    listening = socket.create_server(("127.0.0.1", port))
    ends: list[socket.socket] = []

    def pipe(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # cut at the end of the block, or by one of the two
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                pair = (listening.accept()[0], socket.create_connection(("127.0.0.1", target)))
                ends.extend(pair)
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=pipe, args=(one, other), daemon=True).start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
        listening.close()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class Running:
    """An app that answers: its address, the item with the evil title, and the port of its model server."""

    url: str
    evil: str
    model_port: int


@contextmanager
def running(
    whole: Whole, root: Path, model_port: int, timeout: float, token: str | None = None, starting: bool = False
) -> Iterator[Running]:
    """The app on a port of its own, in a thread: the test's own thread has the browser's event loop.

    Args:
      token: what POST and DELETE must bring.
      starting: the model server counts as one that is still loading until it answers.
    """
    data, models, evil = with_evil_title(whole, root)
    settings = whole.config.app.model_copy(update={"timeout": timeout})
    target = f"127.0.0.1:{model_port}"
    tokens = None if token is None else root / "tokens"
    if tokens is not None:
        tokens.write_text(f"{token}\n", encoding="utf-8")
        tokens.chmod(0o600)
    config = whole.config.model_copy(update={"app": settings})
    job = AppJob(config, "demo", data, models, root / "state", target, token_file=tokens)
    listening = socket.create_server(("127.0.0.1", 0))
    failure: list[BaseException] = []
    server: list[uvicorn.Server] = []

    def serve() -> None:
        try:
            parts = replace(make_components(job, target), is_starting=lambda: starting)
            options = make_options(job, "127.0.0.1")
            server.append(uvicorn.Server(uvicorn.Config(create_app(parts, options), log_level="warning")))
            asyncio.run(server[0].serve(sockets=[listening]))
        except BaseException as error:
            failure.append(error)
            raise

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not (server and server[0].started):
            assert not failure, failure
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}/", evil, model_port)
    finally:
        if server:
            server[0].should_exit = True
        thread.join(30)
        listening.close()
