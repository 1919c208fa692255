"""The client for asyncio, with the methods of `serving.client.client.Client` as coroutines.

    async with AsyncClient("localhost:8500", "demo", timeout=5.0) as client:
        recommendations = await client.recommend(history_ids=["1", "50"], k=10)

One client per event loop; any number of calls may run at the same time over its one connection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from serving.client.calls import Call, Calls, VersionStatus
from serving.client.connection import AsyncConnection, Tls
from serving.client.queries import Embeddings, NumResults, Recommendation, Scored
from serving.wire.errors import ServingError
from serving.wire.ids import ItemId
from serving.wire.metadata import Metadata

__all__ = ["AsyncClient", "Embeddings", "Recommendation", "Scored", "Tls", "VersionStatus"]

T = TypeVar("T")


class AsyncClient:
    """Calls one model on one server; must be made inside the event loop.

    Arguments, results and errors are those of `serving.client.client.Client`; `channel` is a `grpc.aio` channel.
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        timeout: float,
        max_message_bytes: int | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        self.target = target
        self.model = model
        self._calls = Calls(target, model)
        self._connection = AsyncConnection(
            target, timeout=timeout, max_message_bytes=max_message_bytes, tls=tls, token=token, channel=channel
        )

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        output_filter: Sequence[str] = (),
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """See `Client.predict`."""
        return await self._drive(self._calls.predict(signature, inputs, output_filter, version))

    async def metadata(self, version: int | None = None) -> Metadata:
        """See `Client.metadata`."""
        return await self._drive(self._calls.metadata(version))

    async def status(self) -> list[VersionStatus]:
        """See `Client.status`."""
        return await self._drive(self._calls.status())

    async def recommend(
        self,
        *,
        k: NumResults,
        history_ids: Sequence[ItemId] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        exclude_ids: Sequence[ItemId] = (),
        categories: Sequence[str] = (),
        diversity: float = 0.0,
        **context: str | float,
    ) -> list[Recommendation]:
        """See `Client.recommend`."""
        return await self._drive(
            self._calls.recommend(
                k,
                context,
                history_ids=history_ids,
                history_values=history_values,
                history_times=history_times,
                now=now,
                query=query,
                exclude_ids=exclude_ids,
                categories=categories,
                diversity=diversity,
            )
        )

    async def rank(
        self,
        candidate_ids: Sequence[ItemId],
        *,
        history_ids: Sequence[ItemId] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        **context: str | float,
    ) -> list[Scored]:
        """See `Client.rank`."""
        return await self._drive(
            self._calls.rank(
                candidate_ids,
                context,
                history_ids=history_ids,
                history_values=history_values,
                history_times=history_times,
                now=now,
                query=query,
            )
        )

    async def search(self, query: str, *, k: NumResults) -> list[Scored]:
        """See `Client.search`."""
        return await self._drive(self._calls.search(query, k))

    async def similar(self, item_id: ItemId, *, k: NumResults) -> list[Scored]:
        """See `Client.similar`."""
        return await self._drive(self._calls.similar(item_id, k))

    async def embed_items(self, **raw: Sequence[Any]) -> Embeddings:
        """See `Client.embed_items`."""
        return await self._drive(self._calls.embed_items(raw))

    async def close(self) -> None:
        """Close the connection if the client made it."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _drive(self, call: Call[T]) -> T:
        deadline = time.monotonic() + self._connection.timeout
        try:
            method, request = next(call)
            while True:
                try:
                    response = await self._connection.call(method, request, deadline - time.monotonic())
                except ServingError as error:
                    method, request = call.throw(error)
                else:
                    method, request = call.send(response)
        except StopIteration as done:
            return done.value
