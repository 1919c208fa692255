"""The gRPC face: TensorFlow Serving's PredictionService and ModelService, and the standard health service.

Each method hands its request to `serving.server.core`, and turns `tf.errors.OpError` into the status of the same number.
"""

# ruff: noqa: N802 (the methods are named by the protocol)
from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, NoReturn

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

from serving.server import predict
from serving.server.core import Core, ReadInputs
from serving.server.status import GRPC_CODES, as_op_error, invalid

_log = logging.getLogger(__name__)

# As TensorFlow Serving cuts them (model_servers/grpc_status_util.cc): a status travels in a header of limited size.
_MESSAGE_LIMIT = 1024
# Bytes of a request from which on reading it takes longer than handing it to another thread by far.
_LARGE = 1 << 18
_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
# From here on a deadline is none: gRPC gives centuries where the client gave nothing, and the runtime takes an int64.
_FOREVER = 10 * 365 * 86400.0


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """A servicer method whose `tf.errors.OpError` becomes the status of the call; nothing ends the server."""

    @functools.wraps(method)
    def handler(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except Exception as error:
            code, message = _status(method.__name__, error)
        context.abort(code, message)

    return handler


def _status(method: str, error: Exception) -> tuple[grpc.StatusCode, str]:
    """What the client is told; the log is told of what should not have happened."""
    status = as_op_error(error)
    if status is not error:
        _log.error("%s failed", method, exc_info=error)
    message = status.message
    if len(message) > _MESSAGE_LIMIT:
        message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
    return GRPC_CODES[status.error_code], message


@contextmanager
def _counting(core: Core, name: str, api: str) -> Iterator[None]:
    """The request of the block is counted by model and status, and timed where it succeeds."""
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
    """Predict and GetModelMetadata; the tf.Example methods are refused as TensorFlow Serving refuses them."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @_answers
    @_counted
    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        return self._predict(request, _deadline(context))

    def _predict(self, request: predict_pb2.PredictRequest, deadline: float | None) -> predict_pb2.PredictResponse:
        _require_spec(request)
        answer = self.core.predict(request.model_spec, self._reader(request), request.output_filter, deadline)
        return predict.response(request.model_spec.name, answer.signature, answer.version, answer.outputs)

    def _reader(self, request: predict_pb2.PredictRequest) -> ReadInputs:
        def read(signatures: Mapping[str, Any], name: str) -> tuple[Any, dict[str, np.ndarray]]:
            signature = predict.find_signature(signatures, name)
            return signature, predict.decode_inputs(signature, request.inputs, limit_bytes=self.core.limit_bytes)

        return read

    @_answers
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_spec(request)
        return self.core.metadata(request.model_spec, request.metadata_field)

    @_answers
    @_counted
    def Classify(self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext) -> NoReturn:
        _require_spec(request)
        self.core.refuse(request.model_spec, predict.CLASSIFY_METHOD)

    @_answers
    @_counted
    def Regress(self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext) -> NoReturn:
        _require_spec(request)
        self.core.refuse(request.model_spec, predict.REGRESS_METHOD)

    @_answers
    def MultiInference(self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext) -> NoReturn:
        # The first task decides: whatever it asks for, there is a reason to refuse it.
        self.core.refuse_task(request.tasks[0] if request.tasks else inference_pb2.InferenceTask())


class AsyncPredictionService(PredictionService):
    """The same in an event loop. Predict waits there; the other methods are called in threads of the server's pool.

    Args:
      executor: for requests so large that reading them would hold up all others.
    """

    def __init__(self, core: Core, executor: Executor) -> None:
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
                answer = await self.core.predict_soon(
                    request.model_spec, self._reader(request), request.output_filter, deadline
                )
                return predict.response(name, answer.signature, answer.version, answer.outputs)
        except Exception as error:
            code, message = _status("Predict", error)
        await context.abort(code, message)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @_answers
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_spec(request)
        return self.core.status(request.model_spec)

    @_answers
    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        self.core.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = tf.errors.OK
        return response


class Health(health.HealthServicer):
    """grpc.health.v1: SERVING as long as at least one model is, for "" and for both services by name."""

    def __init__(self) -> None:
        super().__init__()
        self.update(serving=False)

    def update(self, *, serving: bool) -> None:
        """Says from now on that requests can be answered, or that they cannot."""
        for name in _SERVICES:
            self.set(name, _health(serving))


def _health(serving: bool) -> int:
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING


class AsyncHealth(health.aio.HealthServicer):
    """The same in an event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._server_status = dict.fromkeys(_SERVICES, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def update(self, *, serving: bool) -> None:
        """See `Health.update`."""
        for name in _SERVICES:
            await self.set(name, _health(serving))
