"""The client: typed, small, without TensorFlow. Drives the embedded server and a real TensorFlow Serving alike.

    with Client("localhost:8500", "demo", timeout=5.0) as client:
        for item in client.recommend(history_ids=["1", "50"], k=10):
            print(item.id, item.score, item.because_id)

A client may be shared between threads; it keeps one connection. Errors: `serving.wire.errors`. For asyncio: `serving.client.aio`.
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
from serving.client.queries import Embeddings, Recommendation, Scored
from serving.wire.errors import ServingError
from serving.wire.metadata import Metadata

__all__ = ["Client", "Embeddings", "Recommendation", "Scored", "Tls", "VersionStatus"]

T = TypeVar("T")


class Client:
    """Calls one model on one server.

    Args:
      target: host:port of the server.
      model: its name there.
      timeout: seconds within which every call ends, its retries included. Where no server answers (UNAVAILABLE) a
        call is tried up to five times, with pauses that double and together take about half of the timeout.
      max_message_bytes: the largest request and response; None leaves gRPC's own limit (4 MiB for a response).
      tls: encrypts the connection; None: plain text.
      token: sent with every call as `authorization: Bearer <token>`. Without TLS whoever is on the way can read it.
      channel: a connection to use instead of making one (interceptors, tests); it stays the caller's to close, and
        its options are its own: `tls` is not for it, retries and message sizes neither.

    Raises:
      InvalidRequestError: a file of `tls` cannot be read, or `tls` goes with a `channel`.
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
        """Runs any signature.

        Args:
          signature: its name.
          inputs: input name -> array or nested lists; brought to the type that the model's metadata says.
          output_filter: the outputs to compute; none: all.
          version: of the model; None: the newest.

        Returns:
          Output name -> array; strings as object arrays of bytes.

        Raises:
          ServingError: see `serving.wire.errors`.
        """
        return self._drive(self._calls.predict(signature, inputs, output_filter, version))

    def metadata(self, version: int | None = None) -> Metadata:
        """The model's signatures. Asked for once, and again when another version has begun to answer."""
        return self._drive(self._calls.metadata(version))

    def status(self) -> list[VersionStatus]:
        """Every version of the model that the server has seen, newest first."""
        return self._drive(self._calls.status())

    def recommend(
        self,
        *,
        k: int,
        history_ids: Sequence[str] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        exclude_ids: Sequence[str] = (),
        categories: Sequence[str] = (),
        diversity: float = 0.0,
        **context: str | float,
    ) -> list[Recommendation]:
        """The k best items for one user, best first; fewer where no more are left.

        Args:
          k: how many.
          history_ids: what the user did, oldest first; unknown ids count as nothing.
          history_values: the value of each event (a rating, a play count); None, or NaN for one: unknown.
          history_times: unix seconds of each event; None: unknown.
          now: unix seconds of the request; None: the clock's.
          query: free text to steer by; "": none.
          exclude_ids: items not to return.
          categories: only items in one of these; none: all items.
          diversity: 0 (relevance alone) to 1.
          context: the model's own inputs, such as device="phone"; what is left out is sent as unknown.

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
        candidate_ids: Sequence[str],
        *,
        history_ids: Sequence[str] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        **context: str | float,
    ) -> list[Scored]:
        """Scores and labels of given items for one user, in the order of `candidate_ids`; see `recommend`."""
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

    def search(self, query: str, *, k: int) -> list[Scored]:
        """The k items nearest to a text, best first. Raises ServingError."""
        return self._drive(self._calls.search(query, k))

    def similar(self, item_id: str, *, k: int) -> list[Scored]:
        """The k items most like an item, best first. Raises ServingError."""
        return self._drive(self._calls.similar(item_id, k))

    def embed_items(self, **raw: Sequence[Any]) -> Embeddings:
        """Embeds items, also ones that the model has never seen.

        Args:
          raw: modality name -> one entry per item, None where the item lacks it: text (str), the bytes of an image
            file or of a WAV file, numbers for a vector, strings for categories. Modalities left out are missing;
            what the model cannot use (a broken file) is refused, with its name and row.

        Raises:
          ServingError: see `serving.wire.errors`.
        """
        return self._drive(self._calls.embed_items(raw))

    def close(self) -> None:
        """Closes the connection, if the client made it."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, call: Call[T]) -> T:
        ends = time.monotonic() + self._connection.timeout
        try:
            method, request = next(call)
            while True:
                try:
                    response = self._connection.call(method, request, ends - time.monotonic())
                except ServingError as error:
                    method, request = call.throw(error)
                else:
                    method, request = call.send(response)
        except StopIteration as done:
            return done.value
