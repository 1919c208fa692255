"""The app under load: time from an event to the changed list, and 200 requests per second for a minute.

    python -m benchmarks.app --model saved_models/demo --data work/demo/data [--rate 200] [--seconds 60] [--out FILE]

App and embedded server run in two processes, as `triptych app` starts them; the load comes from this one over persistent
connections. The load is open-loop: each request has a scheduled time from which its latency counts, so that a slow answer
does not hide the wait of the requests behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmarks.processes import ADDRESS, python_server
from benchmarks.results_file import command_line, write_result
from serving.wire import layout

NUM_CONNECTIONS, NUM_USERS, START_TIMEOUT = 64, 200, 180.0


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--changes", type=int, default=300, help="events whose next list is checked")
    parser.add_argument("--store", default="", help="redis://...; default: SQLite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    titles = layout.titles(options.model / str(layout.latest_version(options.model)))
    with running_app(options.model.resolve(), options.data.resolve(), options.store) as port:
        figures = asyncio.run(measure(port, sorted(titles), options))
    command = command_line(
        "app",
        f"--model DIR/{options.model.name} --data DIR --rate {options.rate:g} --seconds {options.seconds:g}",
        "--store redis://..." * bool(options.store),
    )
    print(json.dumps({"command": command, **figures}, indent=1))
    if options.out:
        write_result(options.out, {"command": command, **figures})


async def measure(port: int, items: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measure both figures after a few warm-up requests."""
    client = HttpClient(port)
    for number in range(50):
        await client.request("GET", f"/recommend?user=warm{number}&k=10")
    changed = await event_to_list(client, items, options.changes, random.Random(options.seed))
    load = await under_load(client, items, options.rate, options.seconds, random.Random(options.seed))
    return {"processors": os.cpu_count(), "items": len(items), "event_to_list": changed, "load": load}


async def event_to_list(client: HttpClient, items: Sequence[str], count: int, rng: random.Random) -> dict[str, Any]:
    """Measure the milliseconds from sending a like to having the next list, and count the lists without the liked item."""
    times, num_changed = [], 0
    for number in range(count):
        user = f"c{number % 20}"
        _, before = await client.request("GET", f"/recommend?user={user}&k=10")
        liked = rng.choice([item["id"] for item in before["items"]])
        started = time.perf_counter()
        await client.request("POST", "/events", {"user": user, "events": [{"kind": "like", "item": liked}]})
        _, after = await client.request("GET", f"/recommend?user={user}&k=10")
        times.append(1000 * (time.perf_counter() - started))
        num_changed += liked not in [item["id"] for item in after["items"]]
    return {**quantiles(times), "events": count, "lists_that_knew": num_changed}


async def under_load(
    client: HttpClient, items: Sequence[str], rate: float, seconds: float, rng: random.Random
) -> dict[str, Any]:
    """Send requests at a fixed rate: of ten, six lists, two events, a search and a profile, by `NUM_USERS` users."""
    start, times, statuses = time.perf_counter() + 0.2, [], Counter[int]()

    async def send(scheduled: float, method: str, path: str, body: Any) -> None:
        status, _ = await client.request(method, path, body)
        times.append(1000 * (time.perf_counter() - scheduled))
        statuses[status] += 1

    tasks = []
    for number in range(int(rate * seconds)):
        scheduled = start + number / rate
        await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
        tasks.append(asyncio.create_task(send(scheduled, *_request(number, items, rng))))
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - start
    return {
        **quantiles(times),
        "requests": len(times),
        "a_second": round(len(times) / seconds, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def _request(number: int, items: Sequence[str], rng: random.Random) -> tuple[str, str, Any]:
    user, turn = f"l{rng.randrange(NUM_USERS)}", number % 10
    if turn in (3, 7):
        return "POST", "/events", {"user": user, "events": [{"kind": "click", "item": rng.choice(items)}]}
    if turn == 5:
        return "GET", f"/search?k=10&turn={quote('something quiet by the sea')}", None
    if turn == 9:
        return "GET", f"/users/{user}", None
    return "GET", f"/recommend?user={user}&k=10", None


def quantiles(times: Sequence[float]) -> dict[str, float]:
    """Return quantiles of times in milliseconds."""
    return {f"p{q}_ms": round(float(np.percentile(times, q)), 2) for q in (50, 95, 99, 100)}


class HttpClient:
    """Minimal HTTP/1.1 client with persistent connections; a complete one would take CPU time from the measured processes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(NUM_CONNECTIONS)

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON of the answer."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        async with self._slots:
            message = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
            reader, writer, lines = await self._send(message)
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            answer = await reader.readexactly(length)
            self._free.append((reader, writer))
        return int(lines[0].split()[1]), json.loads(answer)

    async def _send(self, message: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, list[str]]:
        """Return the connection and the header lines of the answer.

        A reused connection that the app has closed while idle gives no byte; then the next one is tried, at last a new one.
        """
        while True:
            reused = bool(self._free)
            reader, writer = self._free.pop() if reused else await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(message)
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                writer.close()
                if not reused or getattr(error, "partial", b""):
                    raise
            else:
                return reader, writer, head.decode("latin-1").lower().split("\r\n")


@contextmanager
def running_app(model: Path, data: Path, store: str) -> Iterator[int]:
    """Run `triptych app` with its own model server, and yield its port."""
    with tempfile.TemporaryDirectory() as state:
        command = ["-m", "pipelines.app", "--model", model.name, "--models", str(model.parent), "--data", str(data)]
        command += ["--state", state, "--port", "0", "--set", "serve.port=1", "--set", f"app.store={store}"]
        with python_server(command, pattern=rf"http://({ADDRESS})") as (_, addresses):
            port = int(addresses[-1].rpartition(":")[2])
            asyncio.run(_ready(port))
            yield port


async def _ready(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            if (await HttpClient(port).request("GET", "/health/ready"))[0] == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.5)
    raise SystemExit(f"the app was not ready within {START_TIMEOUT:g} s")


if __name__ == "__main__":
    main()
