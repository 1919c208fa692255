"""The event log: columns of the data set, rotation, deletion of users, and group commit."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from app_parts import RETENTION, columns

from serving.app.store.base import Event, StoreError
from serving.app.store.event_log import EventLog
from serving.app.store.event_writer import EventWriter
from serving.app.store.impression_log import ImpressionLog
from serving.app.store.open import open_store


def like(number: int, kind: str = "like", value: float | None = None) -> Event:
    return Event(f"e{number}", kind, 1000.9 + number, f"i{number}", value, context={"device": "phone"})


def rows(log: EventLog) -> list[dict[str, Any]]:
    return [json.loads(line) for path in log.files() for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_has_the_columns_of_the_data_set_and_queries_are_not_logged(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", columns(), 1000)
    query = Event("q", "query", 1.0, text="a secret")
    assert (
        log.append([("ann", like(1)), ("ann", query), ("bob", like(2, "rating", 2.0)), ("bob", like(3, "click"))]) == 3
    )
    assert rows(log) == [
        {"user_id": "ann", "item_id": "i1", "timestamp": 1001, "rating": 5.0, "device": "phone", "_event": "like",
         "_id": "e1", "_list": ""},
        {"user_id": "bob", "item_id": "i2", "timestamp": 1002, "rating": 2.0, "device": "phone", "_event": "rating",
         "_id": "e2", "_list": ""},
        {"user_id": "bob", "item_id": "i3", "timestamp": 1003, "rating": None, "device": "phone", "_event": "click",
         "_id": "e3", "_list": ""},
    ]  # fmt: skip
    assert oct(log.files()[0].stat().st_mode & 0o777) == "0o600"


def test_a_full_file_is_never_written_again_and_a_new_process_continues_the_newest(tmp_path: Path) -> None:
    log = EventLog(tmp_path, columns(), 300)
    for number in range(5):
        log.append([("ann", like(number))])
    names = [path.name for path in log.files()]
    assert names == ["interactions-00000001.jsonl", "interactions-00000002.jsonl"]  # three lines fill one
    EventLog(tmp_path, columns(), 300).append([("ann", like(9))])
    assert [row["_id"] for row in rows(log)] == ["e0", "e1", "e2", "e3", "e4", "e9"]
    assert [path.name for path in log.files()] == names


def test_a_truncated_line_does_not_damage_the_next_one(tmp_path: Path) -> None:
    log = EventLog(tmp_path, columns(), 10_000)
    log.append([("ann", like(1))])
    with log.files()[0].open("a") as file:
        file.write('{"user_id": "bo')
    log.append([("ann", like(2))])
    lines = log.files()[0].read_text().splitlines()
    assert [json.loads(lines[0])["_id"], json.loads(lines[2])["_id"]] == ["e1", "e2"]
    assert log.forget("ann") == 2
    assert log.files()[0].read_text() == '{"user_id": "bo\n'


def test_forget_removes_a_user_from_every_file_and_keeps_the_others(tmp_path: Path) -> None:
    log = EventLog(tmp_path, columns(), 300)
    for number in range(6):
        log.append([("ann" if number % 2 else "bob", like(number))])
    assert log.forget("ann") == 3
    assert log.forget("ann") == 0
    assert [row["_id"] for row in rows(log)] == ["e0", "e2", "e4"]
    assert not [path for path in tmp_path.iterdir() if b"ann" in path.read_bytes()]
    log.append([("bob", like(7))])
    assert [row["_id"] for row in rows(log)][-1] == "e7"


def test_concurrent_events_are_stored_and_logged(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(f"sqlite:{tmp_path / 's.sqlite'}", RETENTION, 2.0)
        log = EventLog(tmp_path / "events", columns(), 10_000)
        event_writer = EventWriter(store, log, 10)
        event_writer.start()
        await asyncio.gather(*(event_writer.put(f"u{number % 4}", [like(number)]) for number in range(50)))
        assert sorted(row["_id"] for row in rows(log)) == sorted(f"e{number}" for number in range(50))
        assert [one.id for one in await store.read("u1")] == [f"e{number}" for number in range(1, 50, 4)]
        assert await event_writer.forget("u1") == (13, 13)
        last = asyncio.create_task(event_writer.put("u9", [like(99)]))
        await asyncio.sleep(0)
        await event_writer.stop()
        await last
        assert [one.id for one in await store.read("u9")] == ["e99"]
        await store.close()

    asyncio.run(run())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_reported_and_a_repeated_event_is_stored_once(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(f"sqlite:{tmp_path / 's.sqlite'}", RETENTION, 2.0)
        log = EventLog(tmp_path / "events", columns(), 10_000)
        full = log.folder / "interactions-00000001.jsonl"
        os.symlink("/dev/full", full)
        event_writer = EventWriter(store, log, 10)
        event_writer.start()
        with pytest.raises(StoreError, match="the log cannot be written"):
            await event_writer.put("ann", [like(1)])
        full.unlink()
        await event_writer.put("ann", [like(1)])
        assert len(await store.read("ann")) == len(rows(log)) == 1
        await event_writer.stop()
        await store.close()

    asyncio.run(run())


def test_processes_share_the_files_of_shown_lists_and_delete_none_that_another_writes(tmp_path: Path) -> None:
    async def show(*names: str) -> None:
        logs = [ImpressionLog(tmp_path, 100, 2) for _ in names]
        for log, name in zip(logs, names, strict=True):
            log.add(list=name, items=["x" * 40])
            log.start()
        await asyncio.gather(*(log.stop() for log in logs))

    for number in range(4):  # lines of 65 bytes: two fill a file
        asyncio.run(show(f"{number}a", f"{number}b"))
    shown = {path.name: [json.loads(line)["list"][0] for line in path.read_text().splitlines()]
             for path in sorted(tmp_path.glob("served-*.jsonl"))}  # fmt: skip
    assert shown == {"served-00000003.jsonl": ["2", "2"], "served-00000004.jsonl": ["3", "3"]}
