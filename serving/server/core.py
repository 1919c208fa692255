"""What the server does, whichever face (gRPC, REST) is asked: the order of steps is TensorFlow Serving's.

Reference: model_servers/server_core.cc, get_model_status_impl.cc, model_service_impl.cc and servables/tensorflow/ of
TensorFlow Serving. Errors are `tf.errors.OpError`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server import limits, predict, sources
from serving.server.batching.runners import Runner
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.servable import Servable
from serving.server.status import code_name, invalid, not_found, resource_exhausted, unimplemented

METADATA_FIELD = "signature_def"
_KINDS = {predict.CLASSIFY_METHOD: "classification", predict.REGRESS_METHOD: "regression"}

# The SignatureDefs of the model and the name asked for -> the SignatureDef and its inputs, checked.
ReadInputs = Callable[[Mapping[str, Any], str], tuple[Any, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Answer:
    """Outputs, and which version and signature computed them."""

    version: int
    signature: str
    outputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Job:
    """What the model is asked: signature, checked inputs, outputs; since when, on the monotonic clock."""

    name: str
    inputs: dict[str, np.ndarray]
    outputs: list[str]
    started: float


class Core:
    """Answers requests over a ModelManager.

    Args:
      models: what is served.
      runner: how the model is called.
      metrics: gets counts and times.
      limit_bytes: see `serving.wire.tensors.decode`.
      request_limits: what a request may be.
      room: predictions that are answered or wait at the same time; one more is refused. None: no bound.
    """

    def __init__(
        self,
        models: ModelManager,
        runner: Runner,
        metrics: Metrics,
        *,
        limit_bytes: int,
        room: int | None,
        request_limits: limits.Limits,
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.limit_bytes = limit_bytes
        self._limits = request_limits
        self._runner = runner
        self._room = room
        self._inside = 0
        self._lock = threading.Lock()  # guards _inside

    def predict(
        self, spec: model_pb2.ModelSpec, read: ReadInputs, output_filter: Sequence[str], deadline: float | None
    ) -> Answer:
        """Runs a signature.

        Args:
          spec: model, version or label, signature.
          read: makes the inputs, once it is known which version answers.
          output_filter: names of the outputs to compute; none: all.
          deadline: on the monotonic clock, in seconds; None for none.

        Raises:
          tf.errors.OpError: what is wrong with the request, or what the graph raised.
        """
        with self._admitted(), self._lease(spec) as servable:
            job = self._job(servable, spec, read, output_filter)
            computed = self._runner.run(servable, job.name, job.inputs, job.outputs, deadline)
            return self._answered(spec, servable, job, computed)

    async def predict_soon(
        self, spec: model_pb2.ModelSpec, read: ReadInputs, output_filter: Sequence[str], deadline: float | None
    ) -> Answer:
        """`predict` in an event loop: the inputs are read in its thread, the model is called in another."""
        with self._admitted(), self._lease(spec) as servable:
            job = self._job(servable, spec, read, output_filter)
            computed = await self._runner.run_soon(servable, job.name, job.inputs, job.outputs, deadline)
            return self._answered(spec, servable, job, computed)

    def _job(
        self, servable: Servable, spec: model_pb2.ModelSpec, read: ReadInputs, output_filter: Sequence[str]
    ) -> _Job:
        name = spec.signature_name or predict.DEFAULT_SIGNATURE
        signature, inputs = read(servable.signatures, name)
        limits.check(self._limits, name, signature, inputs, contract=bool(servable.blank_inputs))
        return _Job(name, inputs, predict.select_outputs(signature, output_filter), time.monotonic())

    def _answered(
        self, spec: model_pb2.ModelSpec, servable: Servable, job: _Job, computed: dict[str, np.ndarray]
    ) -> Answer:
        self.metrics.runtime_latency.add((spec.name, "Predict", "TF1"), (time.monotonic() - job.started) * 1e6)
        return Answer(servable.version, job.name, computed)

    def metadata(
        self, spec: model_pb2.ModelSpec, fields: Sequence[str]
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version. Raises tf.errors.OpError."""
        if not fields:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in fields:
            if name != METADATA_FIELD:
                raise invalid(f"Metadata field {name} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._lease(spec) as servable:
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.metadata[METADATA_FIELD].Pack(signatures)
        return response

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """Where the versions of a model stand. Raises tf.errors.OpError."""
        name, version = spec.name, self._version(spec)
        statuses = self.models.statuses(name)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise not_found(f"Could not find version {version} of model {name}")
        if not statuses:
            raise not_found(f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            answer = response.model_version_status.add(version=status.version, state=int(status.state))
            if status.error is None:
                answer.status.error_code = tf.errors.OK
            else:
                answer.status.error_code = status.error.error_code
                answer.status.error_message = status.error.message
        return response

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves what a configuration says, see `ModelManager.reload`. Raises tf.errors.OpError."""
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        self.models.reload(sources.from_proto(config))

    def refuse(self, spec: model_pb2.ModelSpec, method_name: str) -> NoReturn:
        """Classify and Regress: refuses a signature in TensorFlow Serving's words. Raises tf.errors.OpError."""
        with self._lease(spec) as servable:
            name = spec.signature_name or predict.DEFAULT_SIGNATURE
            if name not in servable.signatures:
                raise invalid(f"No signature was found with the name: {name}")
            _require_method(servable.signatures[name], method_name)

    def refuse_task(self, task: inference_pb2.InferenceTask) -> NoReturn:
        """MultiInference: refuses a task in TensorFlow Serving's words. Raises tf.errors.OpError."""
        name = task.model_spec.signature_name or predict.DEFAULT_SIGNATURE
        with self._lease(task.model_spec) as servable:
            if name not in servable.signatures:
                raise invalid(f"Requested signature not found in model graph: {name}")
            if task.method_name not in _KINDS:
                raise unimplemented(f"Unsupported signature method_name: {task.method_name}")
            _require_method(servable.signatures[name], task.method_name)

    def count(self, model: str, code: int) -> None:
        """Counts a request that ended with a canonical code.

        Names that were never served count under "": whoever asks for a million of them must not make as many series.
        """
        self.metrics.request_count.add((model if model in self.models.names() else "", code_name(code)))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        with self._lock:
            if self._room is not None and self._inside >= self._room:
                raise resource_exhausted(
                    f"the server is full: {self._inside} requests are being answered or wait for it; try again later"
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    def _lease(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        return self.models.servable(spec.name, self._version(spec))

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            return self.models.version_of(spec.name, spec.version_label)
        return spec.version.value if choice == "version" else None


def _require_method(signature: Any, method_name: str) -> NoReturn:
    """Raises InvalidArgumentError for a signature of another method, UnimplementedError for one of this method."""
    kind = _KINDS[method_name]
    if signature.method_name != method_name:
        raise invalid(f"Expected {kind} signature method_name to be {method_name}. Was: {signature.method_name}")
    raise unimplemented(f"this server does not run {kind} signatures; use Predict")
