"""The client: typed, small, without TensorFlow. Drives the embedded server and a real TensorFlow Serving alike.

    with Client("localhost:8500", "demo", timeout=5.0) as client:
        for item in client.recommend(history_ids=["1", "50"], k=10):
            print(item.id, item.score, item.because_id)

A client may be shared between threads; it keeps one connection. Errors: `serving.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from serving import queries, stubs, tensors
from serving.connection import Connection
from serving.errors import FailedPreconditionError, InvalidRequestError, NotFoundError, ServerFailureError
from serving.metadata import Metadata, Signature, parse
from serving.queries import Embeddings, Recommendation, Scored

__all__ = ["Client", "Embeddings", "Recommendation", "Scored", "VersionStatus"]

# The largest message that protobuf has; no answer needs to unfold to more.
_LARGEST = 2**31


@dataclass(frozen=True)
class VersionStatus:
    """Where a version of the model stands: "AVAILABLE", "LOADING", ...; `error` is "" where nothing went wrong."""

    version: int
    state: str
    error: str


class Client:
    """Calls one model on one server.

    Args:
      target: host:port of the server.
      model: its name there.
      timeout: seconds within which every call ends, its retries included. Where no server answers (UNAVAILABLE) a
        call is tried up to five times, with pauses that double and together take about half of the timeout.
      max_message_bytes: the largest request and response; None leaves gRPC's own limit (4 MiB for a response).
      channel: a connection to use instead of making one (TLS, interceptors, tests); it stays the caller's to close,
        and its options are its own: the two above but the deadline do not apply.
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        timeout: float,
        max_message_bytes: int | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        self.target = target
        self.model = model
        self._connection = Connection(target, timeout=timeout, max_message_bytes=max_message_bytes, channel=channel)
        self._metadata: dict[int | None, Metadata] = {}

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
          ServingError: see `serving.errors`.
        """
        known = self.metadata(version).signatures.get(signature)
        specs = known.inputs if known else {}
        arrays = {name: queries.convert(name, values, specs.get(name)) for name, values in inputs.items()}
        return self._predict(signature, arrays, output_filter, version)

    def metadata(self, version: int | None = None) -> Metadata:
        """The model's signatures. Asked for once, and again when another version has begun to answer."""
        # A plain dict does for threads: at worst two of them ask at the same time.
        if version not in self._metadata:
            request = self._request("GetModelMetadata", version)
            request.metadata_field.append("signature_def")
            self._metadata[version] = parse(self._call("GetModelMetadata", request))
        return self._metadata[version]

    def status(self) -> list[VersionStatus]:
        """Every version of the model that the server has seen, newest first."""
        response = self._call("GetModelStatus", self._request("GetModelStatus", None))
        states = stubs.message("ModelVersionStatus").State
        return [
            VersionStatus(entry.version, states.Name(entry.state), entry.status.error_message)
            for entry in response.model_version_status
        ]

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
          ServingError: see `serving.errors`.
        """
        user = queries.user_inputs(
            history_ids=history_ids,
            history_values=history_values,
            history_times=history_times,
            now=now,
            clock=int(time.time()),
            query=query,
            exclude_ids=exclude_ids,
            categories=categories,
            diversity=diversity,
        )
        outputs = self._run("recommend", queries.with_context(user, context, {"k": k}), batch=1)
        return queries.recommendations(outputs)

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
        user = queries.user_inputs(
            history_ids=history_ids,
            history_values=history_values,
            history_times=history_times,
            now=now,
            clock=int(time.time()),
            query=query,
            exclude_ids=(),
            categories=(),
            diversity=0.0,
        )
        candidates = {"candidate_ids": [list(candidate_ids)]}
        outputs = self._run("rank", queries.with_context(user, context, candidates), batch=1)
        return queries.scored(outputs, candidate_ids)

    def search(self, query: str, *, k: int) -> list[Scored]:
        """The k items nearest to a text, best first. Raises ServingError."""
        return queries.scored(self._run("search", queries.Inputs({"query": [query], "k": k}, {}), batch=1), None)

    def similar(self, item_id: str, *, k: int) -> list[Scored]:
        """The k items most like an item, best first. Raises ServingError."""
        return queries.scored(self._run("similar", queries.Inputs({"item_ids": [item_id], "k": k}, {}), batch=1), None)

    def embed_items(self, **raw: Sequence[Any]) -> Embeddings:
        """Embeds items, also ones that the model has never seen.

        Args:
          raw: modality name -> one entry per item, None where the item lacks it: text (str), the bytes of an image
            file or of a WAV file, numbers for a vector, strings for categories. Modalities left out are missing.

        Raises:
          ServingError: see `serving.errors`.
        """
        inputs = queries.item_inputs(self._signature("embed_items"), raw)
        return queries.embeddings(self._run("embed_items", inputs, batch=len(next(iter(raw.values())))))

    def close(self) -> None:
        """Closes the connection, if the client made it."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _signature(self, name: str) -> Signature:
        signatures = self.metadata().signatures
        if name not in signatures:
            known = ", ".join(signatures) or "none"
            raise FailedPreconditionError(f"{self.target}: model {self.model} has no signature {name}; it has {known}")
        return signatures[name]

    def _run(self, signature: str, inputs: queries.Inputs, *, batch: int) -> dict[str, np.ndarray]:
        arrays = queries.complete(signature, self._signature(signature), inputs, batch)
        return self._predict(signature, arrays, (), None)

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str], version: int | None
    ) -> dict[str, np.ndarray]:
        request = self._request("Predict", version)
        request.model_spec.signature_name = signature
        request.output_filter.extend(output_filter)
        for name, array in inputs.items():
            tensors.encode(array, request.inputs[name], content=True)
        response = self._call("Predict", request)
        known = self._metadata.get(version)
        if known is not None and known.version != response.model_spec.version.value:
            self._metadata.pop(version, None)
        try:
            return {name: tensors.decode(proto, limit_bytes=_LARGEST) for name, proto in response.outputs.items()}
        except tensors.TensorError as error:
            raise ServerFailureError(f"{self.target}: unreadable answer ({error})") from error

    def _request(self, method: str, version: int | None) -> Any:
        request = stubs.message(f"{method}Request")()
        request.model_spec.name = self.model
        if version is not None:
            request.model_spec.version.value = version
        return request

    def _call(self, method: str, request: Any) -> Any:
        try:
            return self._connection.call(method, request)
        except (InvalidRequestError, NotFoundError, FailedPreconditionError):
            self._metadata.clear()  # perhaps another version answers now, with other inputs
            raise
