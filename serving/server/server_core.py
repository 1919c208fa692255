"""Request handling behind gRPC and REST, with TensorFlow Serving's order of checks.

Reference: model_servers/server_core.cc, get_model_status_impl.cc, model_service_impl.cc and servables/tensorflow/ of
TensorFlow Serving. Errors are `tf.errors.OpError`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server import example_methods, limits, predict_util, sources
from serving.server.batching.runners import PredictCall, Runner
from serving.server.example_methods import Plan
from serving.server.metrics import ServerMetrics
from serving.server.model_manager import ModelManager
from serving.server.servable import Servable
from serving.server.status import code_name, invalid, not_found, resource_exhausted

METADATA_FIELD = "signature_def"
_API = {example_methods.CLASSIFY: "Classify", example_methods.REGRESS: "Regress"}  # labels of metrics

InputReader = Callable[[Servable, str], tuple[Any, dict[str, np.ndarray]]]
"""The version that answers and a signature name -> that SignatureDef and the checked inputs of the request."""

Planner = Callable[[Mapping[str, Any]], Plan]
"""Signatures of a model -> the checked ones to evaluate."""


@dataclass(frozen=True)
class PredictResult:
    """Outputs, with the version and signature that computed them."""

    version: int
    signature: str
    outputs: dict[str, np.ndarray]


class ServerCore:
    """Answers requests with the models of a `ModelManager`.

    Args:
      models: the loaded models.
      runner: runs the model, directly or in batches.
      metrics: receives counts and times.
      limit_bytes: see `serving.wire.tensors.decode`.
      max_in_flight: predictions that may run or wait at the same time; one more is refused. None: no limit.
      request_limits: the largest request.
    """

    def __init__(
        self,
        models: ModelManager,
        runner: Runner,
        metrics: ServerMetrics,
        *,
        limit_bytes: int,
        max_in_flight: int | None,
        request_limits: limits.RequestLimits,
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.limit_bytes = limit_bytes
        self._limits = request_limits
        self._runner = runner
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._lock = threading.Lock()  # guards _in_flight

    def predict(
        self, spec: model_pb2.ModelSpec, read_inputs: InputReader, output_filter: Sequence[str], deadline: float | None
    ) -> PredictResult:
        """Run a signature.

        Args:
          spec: model, version or label, signature.
          read_inputs: reads the inputs once the version that answers is known.
          output_filter: names of the outputs to compute; empty for all.
          deadline: in seconds on the monotonic clock; None for none.

        Raises:
          tf.errors.OpError: the request is invalid, or raised by the graph.
        """
        with self._admit(), self._lease(spec) as servable:
            call = self._prepare(servable, spec, read_inputs, output_filter, deadline)
            started = time.monotonic()
            return self._finish(spec, call, self._runner.run(call), started)

    async def predict_async(
        self, spec: model_pb2.ModelSpec, read_inputs: InputReader, output_filter: Sequence[str], deadline: float | None
    ) -> PredictResult:
        """`predict` for an event loop, which reads the inputs; the model runs in another thread."""
        with self._admit(), self._lease(spec) as servable:
            call = self._prepare(servable, spec, read_inputs, output_filter, deadline)
            started = time.monotonic()
            return self._finish(spec, call, await self._runner.run_async(call), started)

    def _prepare(
        self,
        servable: Servable,
        spec: model_pb2.ModelSpec,
        read_inputs: InputReader,
        output_filter: Sequence[str],
        deadline: float | None,
    ) -> PredictCall:
        name = spec.signature_name or predict_util.DEFAULT_SIGNATURE
        signature, inputs = read_inputs(servable, name)
        limits.check(self._limits, name, signature, inputs, contract=servable.own_export)
        outputs = predict_util.select_outputs(signature, output_filter)
        return PredictCall(servable, name, inputs, tuple(outputs), deadline)

    def _finish(
        self, spec: model_pb2.ModelSpec, call: PredictCall, outputs: dict[str, np.ndarray], started: float
    ) -> PredictResult:
        self._ran(spec, "Predict", started)
        name = spec.signature_name or predict_util.DEFAULT_SIGNATURE
        return PredictResult(call.servable.version, name, outputs)

    def infer(
        self, spec: model_pb2.ModelSpec, method: str, examples: input_pb2.Input, deadline: float | None
    ) -> inference_pb2.InferenceResult:
        """Answer Classify or Regress.

        Args:
          spec: model, version or label, signature.
          method: CLASSIFY or REGRESS of `serving.server.example_methods`.
          examples: at least one.
          deadline: in seconds on the monotonic clock; None for none.

        Raises:
          tf.errors.OpError: the request is invalid, or raised by the graph.
        """
        planner = partial(example_methods.plan_method, spec=spec, method=method)
        (result,) = self._infer(spec, planner, examples, deadline, api=_API[method])
        return result

    def infer_tasks(
        self, tasks: Sequence[inference_pb2.InferenceTask], examples: input_pb2.Input, deadline: float | None
    ) -> list[inference_pb2.InferenceResult]:
        """Answer MultiInference with one version, that of the first task; see `infer`. Raises tf.errors.OpError."""
        spec = tasks[0].model_spec if tasks else model_pb2.ModelSpec()
        planner = partial(example_methods.plan_tasks, tasks=tasks)
        return self._infer(spec, planner, examples, deadline, api="MultiInference")

    def _infer(
        self,
        spec: model_pb2.ModelSpec,
        planner: Planner,
        examples: input_pb2.Input,
        deadline: float | None,
        *,
        api: str,
    ) -> list[inference_pb2.InferenceResult]:
        with self._admit(), self._lease(spec) as servable:
            plan = planner(servable.signatures)
            inputs = plan.inputs(examples)
            # The strings are serialized Examples, of which the contract of our exports says nothing.
            limits.check(self._limits, "", servable.signature(plan.names), inputs, contract=False)
            call = PredictCall(servable, plan.names, inputs, tuple(plan.outputs), deadline)
            started = time.monotonic()
            outputs = self._runner.run(call)
            self._ran(spec, api, started)
            return plan.results(spec.name, servable.version, inputs, outputs)

    def _ran(self, spec: model_pb2.ModelSpec, api: str, started: float) -> None:
        self.metrics.runtime_latency.add((spec.name, api, "TF1"), (time.monotonic() - started) * 1e6)

    def metadata(
        self, spec: model_pb2.ModelSpec, fields: Sequence[str]
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answer GetModelMetadata: the signatures of a version. Raises tf.errors.OpError."""
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
        """Answer GetModelStatus: the state of every version of a model. Raises tf.errors.OpError."""
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
            entry = response.model_version_status.add(version=status.version, state=int(status.state))
            if status.error is None:
                entry.status.error_code = tf.errors.OK
            else:
                entry.status.error_code = status.error.error_code
                entry.status.error_message = status.error.message
        return response

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serve the models of a configuration; see `ModelManager.reload`. Raises tf.errors.OpError."""
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        self.models.reload(sources.from_proto(config))

    def count(self, model: str, code: int) -> None:
        """Count a request that ended with a canonical code.

        Model names that were never served count as "", so that clients cannot create any number of time series.
        """
        self.metrics.request_count.add((model if model in self.models.names() else "", code_name(code)))

    @contextmanager
    def _admit(self) -> Iterator[None]:
        with self._lock:
            if self._max_in_flight is not None and self._in_flight >= self._max_in_flight:
                raise resource_exhausted(
                    f"the server is full: {self._in_flight} requests are being answered or wait for it; try again later"
                )
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def _lease(self, spec: model_pb2.ModelSpec) -> AbstractContextManager[Servable]:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        return self.models.servable(spec.name, self._version(spec))

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            return self.models.version_of(spec.name, spec.version_label)
        return spec.version.value if choice == "version" else None
