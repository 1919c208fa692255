"""Two gRPC listeners: one with a thread per request, one with an event loop.

Without batching, a thread per request is as good as anything: it waits in the runtime. With batching, such threads
would only wait, and waking eight of them for every batch costs more than their work. Then one event loop reads, queues
and answers all requests, and wakes once per batch.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.server.access import AsyncTokenInterceptor, TokenInterceptor, Tokens
from serving.server.grpc_api.services import (
    AsyncHealth,
    AsyncPredictionService,
    Health,
    ModelService,
    PredictionService,
)
from serving.server.server_core import ServerCore
from serving.wire.errors import StartError

T = TypeVar("T")
# Time for cancelled requests to release their model: about the length of a call of the model.
_DRAIN_SECONDS = 10.0


ChannelArguments = Mapping[str, int | str]
"""Arguments of gRPC's core by name, such as grpc.max_connection_age_ms."""


class GrpcListener(Protocol):
    """A gRPC server of PredictionService, ModelService and the health service."""

    def bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Listen at host:port or unix:path, without encryption if there are no credentials, and return the bound port.

        May be called for several addresses.

        Raises:
          RuntimeError: the address is taken or cannot be bound.
        """

    def start(self) -> None:
        """Begin to answer."""

    def update_health(self, *, serving: bool) -> None:
        """Change what the health service answers; no effect after `close`."""

    def stop(self, grace: float) -> threading.Event:
        """Refuse new requests and cancel those under way after `grace` seconds. May be called again.

        Returns:
          An event that is set when all requests have ended.
        """

    def close(self) -> None:
        """Free everything, once no request is under way. May be called again."""


class ThreadedGrpcListener:
    """Answers each request in a thread of `executor`."""

    def __init__(
        self, core: ServerCore, executor: ThreadPoolExecutor, tokens: Tokens | None, arguments: ChannelArguments
    ) -> None:
        self._health = Health()
        self._server = grpc.server(
            executor,
            interceptors=() if tokens is None else (TokenInterceptor(tokens),),
            options=tuple(arguments.items()),
        )
        _register(self._server, PredictionService(core), ModelService(core), self._health)

    def bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        return _add_port(self._server, address, credentials)

    def start(self) -> None:
        self._server.start()

    def update_health(self, *, serving: bool) -> None:
        self._health.update(serving=serving)

    def stop(self, grace: float) -> threading.Event:
        self._health.enter_graceful_shutdown()
        return self._server.stop(grace)

    def close(self) -> None:
        """Do nothing: `stop` has freed everything."""


class AsyncGrpcListener:
    """Answers all requests in one event loop with its own thread; `executor` runs what would block the loop."""

    def __init__(
        self, core: ServerCore, executor: Executor, tokens: Tokens | None, arguments: ChannelArguments
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc-loop", daemon=True)
        self._thread.start()

        async def build() -> tuple[Any, AsyncHealth]:
            # A grpc.aio server belongs to the loop in which it is made.
            health = AsyncHealth()
            server = grpc.aio.server(
                executor,
                interceptors=() if tokens is None else (AsyncTokenInterceptor(tokens),),
                options=tuple(arguments.items()),
            )
            _register(server, AsyncPredictionService(core, executor), ModelService(core), health)
            return server, health

        self._server, self._health = self._run(build())

    def bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        async def add() -> int:
            return _add_port(self._server, address, credentials)

        return self._run(add())

    def start(self) -> None:
        self._run(self._server.start())

    def update_health(self, *, serving: bool) -> None:
        # Without waiting: the loop itself may call this, when it frees the last request's model.
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._health.update(serving=serving), self._loop)

    def stop(self, grace: float) -> threading.Event:
        ended = threading.Event()
        if self._loop.is_closed():
            ended.set()
            return ended

        async def stop() -> None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)

        stopping = asyncio.run_coroutine_threadsafe(stop(), self._loop)
        stopping.add_done_callback(lambda done: ended.set())
        return ended

    def close(self) -> None:
        if self._loop.is_closed():
            return

        async def drain() -> None:
            # Requests that were cancelled after the grace period still have to release the model.
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=_DRAIN_SECONDS)

        self._run(drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def channel_arguments(max_message_bytes: int, more: ChannelArguments) -> dict[str, int | str]:
    """The arguments of a server of that message size; those in `more` come before its own."""
    return {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
        # Else two servers share a port on Linux and each gets some of the requests.
        "grpc.so_reuseport": 0,
        **more,
    }


def read_channel_arguments(text: str) -> dict[str, int | str]:
    """Parse TensorFlow Serving's `--grpc_channel_arguments`: NAME=VALUE, separated by commas.

    Returns:
      Arguments by name, whole numbers of 32 bits as such. gRPC ignores those that it does not know.

    Raises:
      StartError: a part has no name or no "=".
    """
    arguments: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise StartError(
                f'--grpc_channel_arguments: "{part}" is not NAME=VALUE; write grpc.max_connection_age_ms=2000'
            )
        number = int(value) if re.fullmatch(r"[+-]?\d+", value) else None
        arguments[name] = number if number is not None and -(2**31) <= number < 2**31 else value
    return arguments


def _register(server: Any, prediction: Any, model: Any, health: Any) -> None:
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(model, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)


def _add_port(server: Any, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)
