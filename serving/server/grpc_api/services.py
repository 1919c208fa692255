"""gRPC services: TensorFlow Serving's PredictionService and ModelService, and the standard health service.

Each method passes its request to `serving.server.server_core` and turns `tf.errors.OpError` into the status of the same
number.
"""

# ruff: noqa: N802 (the methods are named by the protocol)
from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server import example_methods, predict_util
from serving.server.servable import Servable
from serving.server.server_core import InputReader, ServerCore
from serving.server.status import GRPC_CODES, as_op_error, invalid

_log = logging.getLogger(__name__)

# TensorFlow Serving's limit (model_servers/grpc_status_util.cc): a status travels in a header of limited size.
_MESSAGE_LIMIT = 1024
# Requests of more bytes are read in another thread: reading them takes far longer than the handover.
_LARGE = 1 << 18
_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
# Longer deadlines count as none: gRPC reports centuries if the client gave none, and the runtime takes an int64.
_FOREVER = 10 * 365 * 86400.0


def _with_status(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a servicer method: any exception becomes the status of the call."""

    @functools.wraps(method)
    def handler(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except Exception as error:
            code, message = _status(method.__name__, error)
        context.abort(code, message)

    return handler


def _status(method: str, error: Exception) -> tuple[grpc.StatusCode, str]:
    """Code and message for the client; unexpected exceptions are logged."""
    status = as_op_error(error)
    if status is not error:
        _log.error("%s failed", method, exc_info=error)
    message = status.message
    if len(message) > _MESSAGE_LIMIT:
        message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
    return GRPC_CODES[status.error_code], message


@contextmanager
def _counting(core: ServerCore, name: str, api: str) -> Iterator[None]:
    """Count the request of the block by model and status, and record its latency if it succeeds."""
    started = time.monotonic()
    try:
        yield
    except Exception as error:
        core.count(name, as_op_error(error).error_code)
        raise
    core.count(name, tf.errors.OK)
    core.metrics.request_latency.add((name, api, "GRPC"), (time.monotonic() - started) * 1e6)


def _counted(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def counter(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        with _counting(self.core, request.model_spec.name, method.__name__):
            return method(self, request, context)

    return counter


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _deadline(context: grpc.ServicerContext | grpc.aio.ServicerContext) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > _FOREVER else time.monotonic() + seconds


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, core: ServerCore) -> None:
        self.core = core

    @_with_status
    @_counted
    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        return self._predict(request, _deadline(context))

    def _predict(self, request: predict_pb2.PredictRequest, deadline: float | None) -> predict_pb2.PredictResponse:
        _require_spec(request)
        result = self.core.predict(request.model_spec, self._reader(request), request.output_filter, deadline)
        return predict_util.response(request.model_spec.name, result.signature, result.version, result.outputs)

    def _reader(self, request: predict_pb2.PredictRequest) -> InputReader:
        def read(servable: Servable, name: str) -> tuple[Any, dict[str, np.ndarray]]:
            signature = predict_util.find_signature(servable.signatures, name)
            return signature, predict_util.decode_inputs(
                signature, request.inputs, limit_bytes=self.core.limit_bytes, strict=servable.own_export
            )

        return read

    @_with_status
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_spec(request)
        return self.core.metadata(request.model_spec, request.metadata_field)

    @_with_status
    @_counted
    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        _require_spec(request)
        answer = self.core.infer(request.model_spec, example_methods.CLASSIFY, request.input, _deadline(context))
        return classification_pb2.ClassificationResponse(
            model_spec=answer.model_spec, result=answer.classification_result
        )

    @_with_status
    @_counted
    def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        _require_spec(request)
        answer = self.core.infer(request.model_spec, example_methods.REGRESS, request.input, _deadline(context))
        return regression_pb2.RegressionResponse(model_spec=answer.model_spec, result=answer.regression_result)

    @_with_status
    def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        answers = self.core.infer_tasks(request.tasks, request.input, _deadline(context))
        return inference_pb2.MultiInferenceResponse(results=answers)


class AsyncPredictionService(PredictionService):
    """PredictionService for an event loop: Predict is a coroutine, the other methods run in the server's threads.

    Args:
      core: request handling.
      executor: its threads read large requests, which would block the loop.
    """

    def __init__(self, core: ServerCore, executor: Executor) -> None:
        super().__init__(core)
        self._executor = executor

    async def Predict(  # type: ignore[override]
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        name = request.model_spec.name
        try:
            with _counting(self.core, name, "Predict"):
                deadline = _deadline(context)
                if request.ByteSize() > _LARGE:
                    work = asyncio.get_running_loop().run_in_executor(self._executor, self._predict, request, deadline)
                    return await work
                _require_spec(request)
                result = await self.core.predict_async(
                    request.model_spec, self._reader(request), request.output_filter, deadline
                )
                return predict_util.response(name, result.signature, result.version, result.outputs)
        except Exception as error:
            code, message = _status("Predict", error)
        await context.abort(code, message)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, core: ServerCore) -> None:
        self.core = core

    @_with_status
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_spec(request)
        return self.core.status(request.model_spec)

    @_with_status
    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        self.core.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = tf.errors.OK
        return response


class Health(health.HealthServicer):
    """grpc.health.v1: SERVING while at least one model is available, for "" and for both services by name."""

    def __init__(self) -> None:
        super().__init__()
        self.update(serving=False)

    def update(self, *, serving: bool) -> None:
        """Set the status of all services."""
        for name in _SERVICES:
            self.set(name, _health(serving))


def _health(serving: bool) -> int:
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING


class AsyncHealth(health.aio.HealthServicer):
    """The health service for an event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._server_status = dict.fromkeys(_SERVICES, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def update(self, *, serving: bool) -> None:
        """See `Health.update`."""
        for name in _SERVICES:
            await self.set(name, _health(serving))
