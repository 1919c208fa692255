"""A typed client without TensorFlow, for the embedded server and for TensorFlow Serving.

    with Client("localhost:8500", "demo", timeout=5.0) as client:
        for item in client.recommend(history_ids=["1", "50"], k=10):
            print(item.id, item.score, item.because_id)

A client keeps one connection and may be shared between threads. Errors are those of `serving.wire.errors`. The client
for asyncio is in `serving.client.aio`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from serving.client.calls import Call, Calls, VersionStatus
from serving.client.connection import Connection, Tls
from serving.client.queries import Embeddings, NumResults, Recommendation, Scored
from serving.wire.errors import ServingError
from serving.wire.ids import ItemId
from serving.wire.metadata import Metadata

__all__ = ["Client", "Embeddings", "Recommendation", "Scored", "Tls", "VersionStatus"]

T = TypeVar("T")


class Client:
    """Calls one model on one server.

    Args:
      target: host:port of the server.
      model: name of the model.
      timeout: seconds that a call may take, including retries. If no server answers (UNAVAILABLE), a call is tried up
        to five times, with pauses that double and together take about half of the timeout.
      max_message_bytes: the largest request and response; None for gRPC's own limit (4 MiB for a response).
      tls: encrypts the connection; None: plain text.
      token: sent with every call as `authorization: Bearer <token>`. Without TLS it can be read on the way.
      channel: a connection to use instead of making one (for interceptors and tests). The caller closes it; `tls`,
        retries and `max_message_bytes` do not apply to it.

    Raises:
      InvalidRequestError: a file of `tls` cannot be read, or `tls` is given with a `channel`.
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
        channel: grpc.Channel | None = None,
    ) -> None:
        self.target = target
        self.model = model
        self._calls = Calls(target, model)
        self._connection = Connection(
            target, timeout=timeout, max_message_bytes=max_message_bytes, tls=tls, token=token, channel=channel
        )

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        output_filter: Sequence[str] = (),
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Run any signature.

        Args:
          signature: name of the signature.
          inputs: input name -> array or nested lists, converted to the type in the model's metadata; `k` is one number for
            all rows, or one for each.
          output_filter: the outputs to compute; empty for all.
          version: version of the model; None for the newest.

        Returns:
          Output name -> array; strings as object arrays of bytes.

        Raises:
          ServingError: see `serving.wire.errors`.
        """
        return self._drive(self._calls.predict(signature, inputs, output_filter, version))

    def metadata(self, version: int | None = None) -> Metadata:
        """Fetch the model's signatures; cached until another version answers."""
        return self._drive(self._calls.metadata(version))

    def status(self) -> list[VersionStatus]:
        """Fetch the states of all versions of the model, newest first."""
        return self._drive(self._calls.status())

    def recommend(
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
        """Recommend items to one user.

        Args:
          k: number of items; here and in the other calls, which are for one row, [10] is 10.
          history_ids: items of the user's events, oldest first; unknown ids are ignored. Ids are strings, here and in
            all calls; whole numbers (7, or 7.0 as tables with gaps have it) are taken as such ("7"), bools are not.
          history_values: value of each event (a rating, a play count, a weight below 0 for a dislike); None, or NaN for one
            event, if unknown.
          history_times: unix seconds of each event, 0 for an unknown one; None if unknown. Times are from 1971 to 2099.
          now: unix seconds of the request; None for the current time.
          query: free text that the items should match; "" for none.
          exclude_ids: items not to return.
          categories: only items in one of these; empty for all items.
          diversity: 0 (relevance alone) to 1.
          context: further inputs of the model, such as device="phone"; those left out are sent as unknown.

        Returns:
          At most k items, best first.

        Raises:
          ServingError: see `serving.wire.errors`.
        """
        return self._drive(
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

    def rank(
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
        """Score given items for one user, in the order of `candidate_ids`; the arguments are those of `recommend`."""
        return self._drive(
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

    def search(self, query: str, *, k: NumResults) -> list[Scored]:
        """Find the k items that match a text best, best first. Raises ServingError."""
        return self._drive(self._calls.search(query, k))

    def similar(self, item_id: ItemId, *, k: NumResults) -> list[Scored]:
        """Find the k items most similar to an item, best first. Raises ServingError."""
        return self._drive(self._calls.similar(item_id, k))

    def embed_items(self, **raw: Sequence[Any]) -> Embeddings:
        """Embed items by their content, including items that the model has never seen.

        Args:
          raw: modality name -> one entry per item, None if the item lacks it: text (str), the bytes of an image file
            (JPEG, PNG, GIF, BMP; WebP, which no server reads, is sent as PNG if Pillow is installed) or of a WAV file,
            numbers for a vector, strings for categories. Modalities left out count as missing.
            Unusable content, such as a broken file, is refused with its name and row.

        Raises:
          ServingError: see `serving.wire.errors`.
        """
        return self._drive(self._calls.embed_items(raw))

    def close(self) -> None:
        """Close the connection if the client made it."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, call: Call[T]) -> T:
        deadline = time.monotonic() + self._connection.timeout
        try:
            method, request = next(call)
            while True:
                try:
                    response = self._connection.call(method, request, deadline - time.monotonic())
                except ServingError as error:
                    method, request = call.throw(error)
                else:
                    method, request = call.send(response)
        except StopIteration as done:
            return done.value
