"""The app under load: from an event to the changed list, and 200 requests a second for a minute.

    python -m benchmarks.app --model saved_models/demo --data work/demo/data [--rate 200] [--seconds 60] [--out FILE]

App and embedded server are started as `triptych app` starts them, two processes; the load comes from this one, over
kept connections. Load is open: each request has its moment and its time counts from there, so that a slow answer does
not make the ones behind it look fast.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from serving.wire import layout

CONNECTIONS, USERS, START = 64, 200, 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--changes", type=int, default=300, help="events whose lists are looked at")
    parser.add_argument("--store", default="", help="redis://...; default: SQLite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    titles = layout.titles(options.model / str(layout.latest_version(options.model)))
    with app(options.model.resolve(), options.data.resolve(), options.store) as port:
        figures = asyncio.run(measure(port, sorted(titles), options))
    command = f"python -m benchmarks.app --model DIR/{options.model.name} --data DIR --rate {options.rate:g}"
    command += f" --seconds {options.seconds:g}" + " --store redis://..." * bool(options.store)
    text = json.dumps({"command": command, **figures}, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


async def measure(port: int, items: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Both figures, after a few requests that warm everything up."""
    pool = Pool(port)
    for number in range(50):
        await pool.ask("GET", f"/recommend?user=warm{number}&k=10")
    changed = await changes(pool, items, options.changes, random.Random(options.seed))
    load = await under_load(pool, items, options.rate, options.seconds, random.Random(options.seed))
    return {"processors": os.cpu_count(), "items": len(items), "event_to_list": changed, "load": load}


async def changes(pool: Pool, items: Sequence[str], count: int, rng: random.Random) -> dict[str, Any]:
    """Milliseconds from sending an event to having the list that knows of it; each is checked to know."""
    times, knew = [], 0
    for number in range(count):
        user = f"c{number % 20}"
        _, before = await pool.ask("GET", f"/recommend?user={user}&k=10")
        liked = rng.choice([item["id"] for item in before["items"]])
        started = time.perf_counter()
        await pool.ask("POST", "/events", {"user": user, "events": [{"kind": "like", "item": liked}]})
        _, after = await pool.ask("GET", f"/recommend?user={user}&k=10")
        times.append(1000 * (time.perf_counter() - started))
        knew += liked not in [item["id"] for item in after["items"]]
    return {**quantiles(times), "events": count, "lists_that_knew": knew}


async def under_load(
    pool: Pool, items: Sequence[str], rate: float, seconds: float, rng: random.Random
) -> dict[str, Any]:
    """Of ten requests: six lists, two events, a search, a profile; by `USERS` users."""
    begun, times, statuses = time.perf_counter() + 0.2, [], Counter[int]()

    async def one(at: float, method: str, path: str, body: Any) -> None:
        status, _ = await pool.ask(method, path, body)
        times.append(1000 * (time.perf_counter() - at))
        statuses[status] += 1

    under_way = []
    for number in range(int(rate * seconds)):
        at = begun + number / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        under_way.append(asyncio.create_task(one(at, *_request(number, items, rng))))
    await asyncio.gather(*under_way)
    took = time.perf_counter() - begun
    return {
        **quantiles(times),
        "requests": len(times),
        "a_second": round(len(times) / took, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def _request(number: int, items: Sequence[str], rng: random.Random) -> tuple[str, str, Any]:
    user, turn = f"l{rng.randrange(USERS)}", number % 10
    if turn in (3, 7):
        return "POST", "/events", {"user": user, "events": [{"kind": "click", "item": rng.choice(items)}]}
    if turn == 5:
        return "GET", f"/search?k=10&turn={quote('something quiet by the sea')}", None
    if turn == 9:
        return "GET", f"/users/{user}", None
    return "GET", f"/recommend?user={user}&k=10", None


def quantiles(times: Sequence[float]) -> dict[str, float]:
    """Of milliseconds."""
    return {f"p{q}_ms": round(float(np.percentile(times, q)), 2) for q in (50, 95, 99, 100)}


class Pool:
    """HTTP/1.1 over kept connections, as little of it as the load needs: a full client would take the cores measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        async with self._slots:
            request = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
            reader, writer, lines = await self._sent(request)
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            answer = await reader.readexactly(length)
            self._free.append((reader, writer))
        return int(lines[0].split()[1]), json.loads(answer)

    async def _sent(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, list[str]]:
        """The connection and the head of the answer. A kept connection that the app has closed meanwhile, as it does with
        idle ones, gives no byte: then the next, at last a new one."""
        while True:
            kept = bool(self._free)
            reader, writer = self._free.pop() if kept else await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                writer.close()
                if not kept or getattr(error, "partial", b""):
                    raise
            else:
                return reader, writer, head.decode("latin-1").lower().split("\r\n")


@contextmanager
def app(model: Path, data: Path, store: str) -> Iterator[int]:
    """`triptych app` on a free port, with a server of its own."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "pipelines.cli", "app", "--model", model.name, "--models", str(model.parent)]
        command += [
            "--data",
            str(data),
            "--state",
            state,
            "--port",
            "0",
            "--set",
            "serve.port=1",
            "--set",
            f"app.store={store}",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            told = next((line for line in process.stdout if "http://" in line), None)
            if told is None:
                raise SystemExit("the app has ended")
            port = int(told.split("http://", 1)[1].split("/", 1)[0].rpartition(":")[2])
            asyncio.run(_ready(port))
            yield port
        finally:
            process.terminate()
            process.wait()


async def _ready(port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        try:
            if (await Pool(port).ask("GET", "/health/ready"))[0] == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.5)
    raise SystemExit(f"the app was not ready within {START:g} s")


if __name__ == "__main__":
    main()
