"""The client for asyncio returns what the client for threads returns, and runs many calls at a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from flaky_server import Flaky, listening
from toy_models import export_scale, export_shop, place
from toy_server import MEGABYTE, running

from serving.client.aio import AsyncClient
from serving.client.client import Client
from serving.server.server import Server
from serving.wire import errors


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models")
    place(export_shop(base / ".shop"), base / "shop", 1)
    place(export_scale(base / ".scale", 2.0), base / "scale", 4)
    with running(base, max_message_bytes=8 * MEGABYTE) as server:
        yield server


CALLS: dict[str, dict[str, Any]] = {
    "recommend": {"k": 3, "history_ids": ["x", "y"], "exclude_ids": ["b"], "device": "phone"},
    "rank": {"candidate_ids": ["c", 7], "history_ids": [1, "x"]},
    "search": {"query": "d", "k": 2},
    "similar": {"item_id": "e", "k": 1},
    "embed_items": {"text": ["four", None], "timbre": [[1, 2, 3], None]},
    "metadata": {},
    "status": {},
}


def plain(value: Any) -> Any:
    """Results compare by their fields; arrays have no one truth."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return {name: plain(one) for name, one in vars(value).items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_every_call_gives_what_the_client_for_threads_gives(server: Server) -> None:
    async def ask() -> dict[str, Any]:
        async with AsyncClient(server.address, "shop", timeout=10.0) as client:
            return {name: plain(await getattr(client, name)(**arguments)) for name, arguments in CALLS.items()}

    with Client(server.address, "shop", timeout=10.0) as client:
        expected = {name: plain(getattr(client, name)(**arguments)) for name, arguments in CALLS.items()}
    assert asyncio.run(ask()) == expected
    assert [row["id"] for row in expected["recommend"]] == ["a", "c", "d"]


def test_both_clients_have_the_same_calls_with_the_same_arguments() -> None:
    def arguments(kind: type) -> dict[str, Any]:
        methods = {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}
        return {name: inspect.signature(value) for name, value in methods.items()}

    assert arguments(Client) == arguments(AsyncClient)
    assert set(CALLS) | {"predict", "close"} == set(arguments(Client))


def test_many_calls_are_under_way_at_a_time_over_one_connection() -> None:
    seconds, calls = 0.5, 8

    async def ask(target: str) -> float:
        async with AsyncClient(target, "m", timeout=20.0) as client:
            await client.metadata()
            begin = time.monotonic()
            await asyncio.gather(*(client.predict("any", {}) for _ in range(calls)))
            return time.monotonic() - begin

    # The server has four threads: eight calls of half a second are two rounds, where one after the other takes four.
    with listening(Flaky(grpc.StatusCode.OK, 0, seconds=seconds)) as target:
        assert asyncio.run(ask(target)) < seconds * calls / 2


def test_unavailable_is_tried_again_and_nothing_else_is() -> None:
    async def ask(target: str) -> dict[str, np.ndarray]:
        async with AsyncClient(target, "m", timeout=5.0) as client:
            return await client.predict("any", {})

    flaky = Flaky(grpc.StatusCode.UNAVAILABLE, failures=3)
    with listening(flaky) as target:
        assert asyncio.run(ask(target)) == {}
    assert flaky.calls == 4
    full = Flaky(grpc.StatusCode.RESOURCE_EXHAUSTED, failures=1)
    with listening(full) as target, pytest.raises(errors.ResourceExhaustedError):
        asyncio.run(ask(target))
    assert full.calls == 1


def test_refusals_and_deadlines_are_the_same_exceptions(server: Server) -> None:
    async def wrong() -> None:
        async with AsyncClient(server.address, "scale", timeout=5.0) as client:
            await client.predict("serving_default", {"z": [[1, 2]]})

    with pytest.raises(errors.InvalidRequestError, match=r"Sent extra: \{z\}"):
        asyncio.run(wrong())

    async def late(target: str) -> None:
        async with AsyncClient(target, "m", timeout=0.5) as client:
            await client.predict("any", {})

    with listening(Flaky(grpc.StatusCode.OK, 0, seconds=2.0)) as target, pytest.raises(errors.DeadlineExceededError):
        asyncio.run(late(target))


class SlowMetadata(Flaky):
    """Each of the two requests that a first call makes takes this long."""

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        time.sleep(self.seconds)
        return super().GetModelMetadata(request, context)


def test_the_timeout_is_of_the_whole_call_not_of_each_of_its_requests() -> None:
    with listening(SlowMetadata(grpc.StatusCode.OK, 0, seconds=0.7)) as target:
        with Client(target, "m", timeout=1.0) as client:
            begin = time.monotonic()
            with pytest.raises(errors.DeadlineExceededError, match=r"no answer within 1 s"):
                client.predict("any", {})
            assert time.monotonic() - begin < 1.35
        with Client(target, "m", timeout=5.0) as client:
            assert client.predict("any", {}) == {}
