"""The gRPC face: TensorFlow Serving's PredictionService and ModelService over a ModelManager.

Each method resolves the version as TensorFlow Serving does (model_servers/server_core.cc), hands the work to the
rooms that know nothing of gRPC, and turns `tf.errors.OpError` into the status of the same number.
"""

# ruff: noqa: N802 (the methods are named by the protocol)
from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving import predict
from serving.models import ModelManager
from serving.servable import Servable

_log = logging.getLogger(__name__)

# As TensorFlow Serving cuts them (model_servers/grpc_status_util.cc): a status travels in a header of limited size.
_MESSAGE_LIMIT = 1024
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_METADATA_FIELD = "signature_def"


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """A servicer method whose `tf.errors.OpError` becomes the status of the call; nothing ends the server."""

    @functools.wraps(method)
    def handler(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except tf.errors.OpError as error:
            code, message = _STATUS[error.error_code], error.message
        except MemoryError:
            code, message = grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for this request"
        except Exception as error:
            _log.exception("%s failed", method.__name__)
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        if len(message) > _MESSAGE_LIMIT:
            message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
        context.abort(code, message)

    return handler


def _lease(manager: ModelManager, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
    if not spec.name:
        raise tf.errors.InvalidArgumentError(None, None, "ModelSpec has no name specified.")
    return manager.servable(spec.name, _version(spec))


def _version(spec: model_pb2.ModelSpec) -> int | None:
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise tf.errors.InvalidArgumentError(None, None, f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value if choice == "version" else None


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise tf.errors.InvalidArgumentError(None, None, "Missing ModelSpec")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the tf.Example methods are refused as TensorFlow Serving refuses them.

    Args:
      manager: where the models are.
      limit_bytes: see `serving.tensors.decode`.
    """

    def __init__(self, manager: ModelManager, *, limit_bytes: int) -> None:
        self._manager = manager
        self._limit_bytes = limit_bytes

    @_answers
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        _require_spec(request)
        with _lease(self._manager, request.model_spec) as servable:
            return predict.predict(servable, request, limit_bytes=self._limit_bytes)

    @_answers
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_spec(request)
        if not request.metadata_field:
            raise tf.errors.InvalidArgumentError(
                None, None, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for name in request.metadata_field:
            if name != _METADATA_FIELD:
                raise tf.errors.InvalidArgumentError(None, None, f"Metadata field {name} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with _lease(self._manager, request.model_spec) as servable:
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.metadata[_METADATA_FIELD].Pack(signatures)
        return response

    @_answers
    def Classify(self, request: classification_pb2.ClassificationRequest) -> NoReturn:
        self._refuse(request, "classification", predict.CLASSIFY_METHOD)

    @_answers
    def Regress(self, request: regression_pb2.RegressionRequest) -> NoReturn:
        self._refuse(request, "regression", predict.REGRESS_METHOD)

    @_answers
    def MultiInference(self, request: inference_pb2.MultiInferenceRequest) -> NoReturn:
        # The first task decides: whatever it asks for, there is a reason to refuse it.
        task = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
        name = task.model_spec.signature_name or predict.DEFAULT_SIGNATURE
        kinds = {predict.CLASSIFY_METHOD: "classification", predict.REGRESS_METHOD: "regression"}
        with _lease(self._manager, task.model_spec) as servable:
            if name not in servable.signatures:
                raise tf.errors.InvalidArgumentError(
                    None, None, f"Requested signature not found in model graph: {name}"
                )
            if task.method_name not in kinds:
                raise tf.errors.UnimplementedError(None, None, f"Unsupported signature method_name: {task.method_name}")
            _require_method(servable.signatures[name], kinds[task.method_name], task.method_name)

    def _refuse(self, request: Any, kind: str, method_name: str) -> NoReturn:
        _require_spec(request)
        with _lease(self._manager, request.model_spec) as servable:
            name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE
            if name not in servable.signatures:
                raise tf.errors.InvalidArgumentError(None, None, f"No signature was found with the name: {name}")
            _require_method(servable.signatures[name], kind, method_name)


def _require_method(signature: Any, kind: str, method_name: str) -> NoReturn:
    """Raises InvalidArgumentError for a signature of another method, UnimplementedError for one of this method."""
    if signature.method_name != method_name:
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"Expected {kind} signature method_name to be {method_name}. Was: {signature.method_name}",
        )
    raise tf.errors.UnimplementedError(None, None, f"this server does not run {kind} signatures; use Predict")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus. The models come from a folder, so there is no configuration to reload."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_answers
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_spec(request)
        name, version = request.model_spec.name, _version(request.model_spec)
        statuses = self._manager.statuses(name)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise tf.errors.NotFoundError(None, None, f"Could not find version {version} of model {name}")
        if not statuses:
            raise tf.errors.NotFoundError(None, None, f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            answer = response.model_version_status.add(version=status.version, state=int(status.state))
            if status.error is None:
                answer.status.error_code = tf.errors.OK
            else:
                answer.status.error_code = status.error.error_code
                answer.status.error_message = status.error.message
        return response

    @_answers
    def HandleReloadConfigRequest(self, request: model_management_pb2.ReloadConfigRequest) -> NoReturn:
        raise tf.errors.UnimplementedError(
            None, None, "this server takes its models from a folder; put a model there and it is served"
        )
