"""Tests of both stores: acknowledged events are not lost, deleted events leave no trace."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from app_parts import RETENTION, redis_server

from serving.app.store.base import Event, Retention, Store, StoreError
from serving.app.store.open import open_store
from serving.wire.errors import StartError

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """A store's address, and the folder that all of its files are in."""

    address: str
    files: Path


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:{tmp_path / 'store' / 'profiles.sqlite'}", tmp_path / "store")
        return
    with redis_server(tmp_path / "redis") as port:
        yield Place(f"redis://127.0.0.1:{port}/0", tmp_path / "redis")


def with_store(place: Place, work: Callable[[Store], Awaitable[None]], retention: Retention = RETENTION) -> None:
    async def run() -> None:
        store = await open_store(place.address, retention, 2.0)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def event(number: int, at: float | None = None, text: str = "") -> Event:
    return Event(
        f"e{number}", "query" if text else "like", at if at is not None else 1000.0 + number, f"i{number}", text=text
    )


def test_events_are_read_unchanged_and_oldest_first_by_their_user_only(place: Place) -> None:
    async def work(store: Store) -> None:
        first = Event("x1", "rating", 5.5, "ö/{1}", 4.0, "", "item", "0" * 32, {"device": "phone", "n": 1.5})
        assert await store.append([("ann", event(2)), ("ann", first), ("bob {x}", event(3))]) == 3
        assert await store.read("ann") == [first, event(2)]
        assert await store.read("bob {x}") == [event(3)]
        assert await store.read("nobody") == []

    with_store(place, work)


def test_a_repeated_event_is_stored_once_even_with_another_time(place: Place) -> None:
    async def work(store: Store) -> None:
        assert await store.append([("ann", event(1))]) == 1
        assert await store.append([("ann", event(1, at=2000.0)), ("bob", event(1))]) == 1
        assert await store.read("ann") == [event(1)]

    with_store(place, work)


def test_only_the_newest_events_of_a_user_are_kept(place: Place) -> None:
    async def work(store: Store) -> None:
        await store.append([("ann", event(number)) for number in (4, 1, 2)] + [("bob", event(9))])
        await store.append([("ann", event(number)) for number in (5, 3)])
        assert [one.id for one in await store.read("ann")] == ["e3", "e4", "e5"]
        assert [one.id for one in await store.read("bob")] == ["e9"]

    with_store(place, work, Retention(3, RETENTION.seconds))


def test_expired_events_are_not_read_and_are_deleted(place: Place) -> None:
    now = time.time()

    async def work(store: Store) -> None:
        await store.append([("ann", event(1, now - 3600)), ("ann", event(2, now))])
        assert [one.id for one in await store.read("ann")] == ["e2"]
        assert await store.delete("ann") == 1

    with_store(place, work, Retention(10, 60.0))


def test_a_deleted_user_is_in_no_file(place: Place) -> None:
    secret = "umbrella-in-the-attic"

    async def work(store: Store) -> None:
        await store.append([("ann-7f3", event(number, text=f"{secret} {number}")) for number in range(60)])
        await store.append([("bob-99", event(1, text="kept"))])
        assert await store.delete("ann-7f3") == 60
        assert await store.delete("ann-7f3") == 0
        assert await store.read("ann-7f3") == []
        deadline = time.monotonic() + 20  # Redis writes its files anew in the background
        while left := [
            path for path in place.files.rglob("*") if path.is_file() and _holds(path, b"ann-7f3", secret.encode())
        ]:
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.1)
        assert [one.text for one in await store.read("bob-99")] == ["kept"]

    with_store(place, work)
    assert any(_holds(path, b"bob-99", b"bob-99") for path in place.files.rglob("*") if path.is_file())


def _holds(path: Path, *words: bytes) -> bool:
    content = path.read_bytes()
    return any(word in content for word in words)


def test_concurrent_processes_lose_no_events(place: Place) -> None:
    code = (
        "import asyncio, sys\n"
        "from serving.app.store.base import Event, Retention\nfrom serving.app.store.open import open_store\n"
        "async def main(address, mine):\n"
        "    store = await open_store(address, Retention(10000, 1e10), 20.0)\n"
        "    for n in range(40):\n"
        "        await store.append([('ann', Event(f'{mine}-{n}', 'like', 1000.0 + n, 'i'))])\n"
        "    await store.close()\n"
        "asyncio.run(main(sys.argv[1], sys.argv[2]))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, place.address, str(n)], cwd=REPO) for n in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]

    async def work(store: Store) -> None:
        found = {one.id for one in await store.read("ann")}
        assert found == {f"{mine}-{n}" for mine in range(3) for n in range(40)}

    with_store(place, work, Retention(10000, 1e10))


def test_acknowledged_events_survive_a_killed_process(place: Place) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from serving.app.store.base import Event, Retention\nfrom serving.app.store.open import open_store\n"
        "async def main():\n"
        "    store = await open_store(sys.argv[1], Retention(10000, 1e10), 20.0)\n"
        "    n = 0\n"
        "    while True:\n"
        "        await store.append([('ann', Event(f'k{n}', 'like', 1000.0 + n, 'i'))])\n"
        "        print(n, flush=True)\n"
        "        n += 1\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, place.address], cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(25)]
    process.kill()
    told += [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()

    async def work(store: Store) -> None:
        assert {f"k{n}" for n in told} <= {one.id for one in await store.read("ann")}

    with_store(place, work, Retention(10000, 1e10))


def test_an_unavailable_redis_is_reported_in_one_line_and_found_again(tmp_path: Path) -> None:
    async def run() -> None:
        with redis_server(tmp_path / "redis") as port:
            store = await open_store(
                f"redis://user:secret@127.0.0.1:{port}/0".replace("user:secret@", ""), RETENTION, 1.0
            )
            await store.append([("ann", event(1))])
        for call in (store.read("ann"), store.append([("ann", event(2))]), store.delete("ann"), store.ping()):
            with pytest.raises(StoreError, match=rf"redis at 127\.0\.0\.1:{port}: the store does not answer") as error:
                await call
            assert "\n" not in str(error.value)
        with redis_server(tmp_path / "redis", port):
            assert await store.read("ann") == [event(1)]
            await store.close()

    asyncio.run(run())


def test_an_unknown_address_is_rejected() -> None:
    with pytest.raises(StartError, match="names no store; give sqlite:PATH or redis"):
        asyncio.run(open_store("mysql://x", RETENTION, 1.0))


def test_a_sqlite_file_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"profiles\.sqlite: cannot be created"):
        asyncio.run(open_store(f"sqlite:{tmp_path / 'file' / 'profiles.sqlite'}", RETENTION, 1.0))
