"""TensorFlow Serving's REST API and metrics page, as an ASGI application (Starlette).

    POST /v1/models/NAME[/versions/N|/labels/L]:predict|:classify|:regress
    GET  /v1/models/NAME[/versions/N|/labels/L][/metadata]

Paths, status codes and error objects are those of TensorFlow Serving (model_servers/http_rest_api_util.cc,
http_rest_api_handler.cc, http_server.cc).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any
from urllib.parse import unquote

import numpy as np
import tensorflow as tf
from google.protobuf import __version__ as protobuf_version
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from serving.server import example_methods, predict_util
from serving.server.access import TokenMiddleware, Tokens
from serving.server.rest_api import json_examples, json_tensors, json_values
from serving.server.servable import Servable
from serving.server.server_core import METADATA_FIELD, ServerCore
from serving.server.status import as_op_error, deadline_exceeded, http_code, invalid

_log = logging.getLogger(__name__)

_CHOICE = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(rf"(?i)/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<method>classify|regress|predict)")
_GET = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?")
_JSON = "application/json"
_LARGEST_VERSION = 2**63 - 1
# Fields that hold their default are printed too; protobuf 5 renamed the option.
_WITH_DEFAULTS: dict[str, Any] = {
    "including_default_value_fields"
    if protobuf_version.startswith("4.")
    else "always_print_fields_with_no_presence": True
}


class _TooLargeError(Exception):
    """The body is larger than the limit."""


def application(
    core: ServerCore,
    *,
    executor: Executor,
    timeout: float,
    max_body_bytes: int,
    prometheus_path: str | None,
    tokens: Tokens | None,
) -> Starlette:
    """Build the ASGI application.

    Args:
      core: request handling.
      executor: its threads handle the requests, so that the event loop stays free.
      timeout: seconds that a request may take before it is answered with 504.
      max_body_bytes: the largest body after decompression; a larger one is answered with 413.
      prometheus_path: path of the metrics page; None for none.
      tokens: requests must carry one of these; None: no authentication.
    """
    rest = _Rest(core, executor, timeout, max_body_bytes)
    routes = [Route("/{path:path}", rest.answer, methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])]
    if prometheus_path is not None:

        async def metrics(request: Request) -> Response:
            return PlainTextResponse(core.metrics.page())

        routes.insert(0, Route(prometheus_path, metrics, methods=["GET"]))
    middleware = [] if tokens is None else [Middleware(TokenMiddleware, tokens=tokens)]
    return Starlette(routes=routes, middleware=middleware)


class _Rest:
    def __init__(self, core: ServerCore, executor: Executor, timeout: float, max_body_bytes: int) -> None:
        self._core = core
        self._executor = executor
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes

    async def answer(self, request: Request) -> Response:
        # The undecoded path: a name may contain an escaped slash or colon.
        path = request.scope["raw_path"].decode("latin-1")
        if not path.lower().startswith("/v1/"):
            return PlainTextResponse("Not Found", 404)
        try:
            body = await _body(request, self._max_body_bytes)
        except _TooLargeError:
            return _error(413, f"the request is larger than {self._max_body_bytes} bytes")
        except zlib.error as error:
            return _error(400, f"the body is not gzip, as its Content-Encoding says: {error}")
        except ClientDisconnect:
            return Response(status_code=499)
        deadline = time.monotonic() + self._timeout
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, self._handle, request.method, path, body, deadline)
        try:
            # Slightly later than the deadline that the handler itself keeps, whose message is more precise.
            status, content = await asyncio.wait_for(asyncio.shield(work), self._timeout + 0.1)
        except asyncio.TimeoutError:
            late = deadline_exceeded(f"no answer within {self._timeout:g} s")
            return _error(http_code(late.error_code), late.message)
        return Response(content, status, media_type=_JSON)

    def _handle(self, method: str, path: str, body: bytes, deadline: float) -> tuple[int, bytes]:
        try:
            return 200, self._dispatch(method, path, body, deadline)
        except Exception as error:
            status = as_op_error(error)
            if status is not error:
                _log.exception("%s %s failed", method, path)
            return http_code(status.error_code), _error_body(status.message)

    def _dispatch(self, method: str, path: str, body: bytes, deadline: float) -> bytes:
        match = {"POST": _POST, "GET": _GET}[method].fullmatch(path) if method in ("POST", "GET") else None
        if match is None:
            raise invalid(f"Malformed request: {method} {path}")
        spec = _spec(match)
        if method == "GET":
            if not spec.name:
                raise invalid("Missing model name in request.")
            return self._metadata(spec) if match["metadata"] else self._status(spec)
        api = match["method"].lower()
        return self._counted(spec, api, lambda: self._post(spec, api, body, deadline))

    def _counted(self, spec: model_pb2.ModelSpec, api: str, work: Callable[[], bytes]) -> bytes:
        started = time.monotonic()
        try:
            content = work()
        except Exception as error:
            self._core.count(spec.name, as_op_error(error).error_code)
            raise
        self._core.count(spec.name, tf.errors.OK)
        self._core.metrics.request_latency.add((spec.name, api, "REST"), (time.monotonic() - started) * 1e6)
        return content

    def _post(self, spec: model_pb2.ModelSpec, api: str, body: bytes, deadline: float) -> bytes:
        document = json_values.parse(body)
        spec.signature_name = document.get("signature_name", "")
        if api != "predict":
            method = example_methods.CLASSIFY if api == "classify" else example_methods.REGRESS
            return json_examples.write_result(
                self._core.infer(spec, method, json_examples.read_examples(document), deadline)
            )
        layout = json_tensors.ROW

        def read(servable: Servable, name: str) -> tuple[Any, dict[str, np.ndarray]]:
            nonlocal layout
            signatures = servable.signatures
            if name not in signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            if not signatures[name].inputs:
                raise invalid(f"Failed to get input map for signature: {document.get('signature_name') or 'DEFAULT'}")
            layout, inputs = json_tensors.read_inputs(document, signatures[name])
            return signatures[name], predict_util.with_defaults(signatures[name], inputs, strict=servable.own_export)

        result = self._core.predict(spec, read, (), deadline)
        return json_tensors.write_outputs(result.outputs, layout)

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        response = self._core.status(spec)
        return json_format.MessageToJson(response, indent=1, **_WITH_DEFAULTS).encode()

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        response = self._core.metadata(spec, [METADATA_FIELD])
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[METADATA_FIELD].Unpack(signatures)
        document = {"model_spec": _as_dict(response.model_spec), "metadata": {METADATA_FIELD: _as_dict(signatures)}}
        return json.dumps(document, indent=1).encode()


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_unescaped(match["name"] or "", "model name"))
    if match["version"]:
        version = int(match["version"])
        if version > _LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = version
    elif match["label"]:
        spec.version_label = _unescaped(match["label"], "model version label")
    return spec


def _unescaped(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise invalid(f"Failed to decode {what}:{text}") from error


def _as_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **_WITH_DEFAULTS)


async def _body(request: Request, limit: int) -> bytes:
    """Read the body and decompress gzip. Raises _TooLargeError, ClientDisconnect."""
    unpack = zlib.decompressobj(31) if request.headers.get("content-encoding", "").lower() == "gzip" else None
    body = bytearray()
    async for chunk in request.stream():
        # Decompress at most one byte beyond the limit: a small body may expand to gigabytes.
        body += chunk if unpack is None else unpack.decompress(chunk, limit + 1 - len(body))
        if len(body) > limit:
            raise _TooLargeError
    return bytes(body)


def _error_body(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def _error(status: int, message: str) -> Response:
    return Response(_error_body(message), status, media_type=_JSON)
