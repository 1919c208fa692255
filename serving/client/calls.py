"""The calls of both clients as generators, which yield requests and receive the responses.

    calls.recommend(...)  yields ("Predict", request)  <- response  ...  returns the result

`serving.client.client` and `serving.client.aio` drive the same generators, so that they differ only in how they wait.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from serving.client import queries
from serving.client.queries import Embeddings, NumResults, Recommendation, Scored
from serving.wire import stubs, tensors
from serving.wire.errors import FailedPreconditionError, InvalidRequestError, NotFoundError, ServerFailureError
from serving.wire.ids import ItemId
from serving.wire.metadata import Metadata, Signature, parse

T = TypeVar("T")
Call = Generator[tuple[str, Any], Any, T]

_LARGEST = 2**31  # the size limit of a protobuf message


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version ("AVAILABLE", "LOADING", ...); `error` is "" if nothing went wrong."""

    version: int
    state: str
    error: str


class Calls:
    """The calls of one model on one server, with its cached metadata.

    Arguments and results of the methods are those of `serving.client.client.Client`.
    """

    def __init__(self, target: str, model: str) -> None:
        self.target = target
        self.model = model
        self._metadata: dict[int | None, Metadata] = {}

    def predict(
        self, signature: str, inputs: Mapping[str, Any], output_filter: Sequence[str], version: int | None
    ) -> Call[dict[str, np.ndarray]]:
        definition = (yield from self.metadata(version)).signatures.get(signature)
        specs = definition.inputs if definition else {}
        arrays = {name: queries.convert(name, values, specs.get(name)) for name, values in inputs.items()}
        return (yield from self._predict(signature, queries.with_rows(arrays, specs), output_filter, version))

    def metadata(self, version: int | None) -> Call[Metadata]:
        # No lock: at worst two threads fetch the metadata at the same time.
        if version not in self._metadata:
            request = self._request("GetModelMetadata", version)
            request.metadata_field.append("signature_def")
            self._metadata[version] = parse((yield from self._call("GetModelMetadata", request)))
        return self._metadata[version]

    def status(self) -> Call[list[VersionStatus]]:
        response = yield from self._call("GetModelStatus", self._request("GetModelStatus", None))
        states = stubs.message("ModelVersionStatus").State
        return [
            VersionStatus(entry.version, states.Name(entry.state), entry.status.error_message)
            for entry in response.model_version_status
        ]

    def recommend(self, k: NumResults, context: Mapping[str, str | float], **user: Any) -> Call[list[Recommendation]]:
        inputs = queries.user_inputs(clock=int(time.time()), **user)
        outputs = yield from self._run("recommend", queries.with_context(inputs, context, {"k": k}), batch=1)
        return queries.recommendations(outputs)

    def rank(
        self, candidate_ids: Sequence[ItemId], context: Mapping[str, str | float], **user: Any
    ) -> Call[list[Scored]]:
        neutral: dict[str, Any] = {"exclude_ids": (), "categories": (), "diversity": 0.0}
        inputs = queries.user_inputs(clock=int(time.time()), **user, **neutral)
        candidates = queries.candidates(candidate_ids)
        inputs = queries.with_context(inputs, context, {"candidate_ids": [candidates]})
        outputs = yield from self._run("rank", inputs, batch=1)
        return queries.scored(outputs, candidates)

    def search(self, query: str, k: NumResults) -> Call[list[Scored]]:
        outputs = yield from self._run("search", queries.Inputs({"query": [query], "k": k}, {}), batch=1)
        return queries.scored(outputs, None)

    def similar(self, item_id: ItemId, k: NumResults) -> Call[list[Scored]]:
        outputs = yield from self._run("similar", queries.Inputs({"item_ids": [item_id], "k": k}, {}), batch=1)
        return queries.scored(outputs, None)

    def embed_items(self, raw: Mapping[str, Sequence[Any]]) -> Call[Embeddings]:
        inputs = queries.item_inputs((yield from self._signature("embed_items")), raw)
        outputs = yield from self._run("embed_items", inputs, batch=len(next(iter(raw.values()))))
        return queries.embeddings(outputs)

    def _signature(self, name: str) -> Call[Signature]:
        signatures = (yield from self.metadata(None)).signatures
        if name not in signatures:
            names = ", ".join(signatures) or "none"
            raise FailedPreconditionError(f"{self.target}: model {self.model} has no signature {name}; it has {names}")
        return signatures[name]

    def _run(self, signature: str, inputs: queries.Inputs, *, batch: int) -> Call[dict[str, np.ndarray]]:
        arrays = queries.complete(signature, (yield from self._signature(signature)), inputs, batch)
        return (yield from self._predict(signature, arrays, (), None))

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str], version: int | None
    ) -> Call[dict[str, np.ndarray]]:
        request = self._request("Predict", version)
        request.model_spec.signature_name = signature
        request.output_filter.extend(output_filter)
        for name, array in inputs.items():
            tensors.encode(array, request.inputs[name], content=True)
        response = yield from self._call("Predict", request)
        cached = self._metadata.get(version)
        if cached is not None and cached.version != response.model_spec.version.value:
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

    def _call(self, method: str, request: Any) -> Call[Any]:
        try:
            return (yield method, request)
        except (InvalidRequestError, NotFoundError, FailedPreconditionError):
            self._metadata.clear()  # another version with other inputs may answer now
            raise
