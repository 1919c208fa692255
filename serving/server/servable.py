"""One loaded version of a SavedModel, loaded as TensorFlow Serving loads it.

The TensorFlow 1 loader with tag "serve" fills a graph and a session of the version's own; tensors are found by the
names in the signatures. It uses neither Keras nor our layers, so what loads here loads in TensorFlow Serving.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.util import deprecation
from tensorflow_serving.apis import inference_pb2, input_pb2, predict_pb2, prediction_log_pb2

from serving.server import example_methods, predict_util
from serving.server.example_methods import Plan
from serving.server.status import invalid, unimplemented
from serving.wire import layout, tensors
from serving.wire.layout import DESCRIPTION_FILE, EXTRA_FOLDER
from serving.wire.plain_path import plain_path

TAG = tf.saved_model.SERVING
# TensorFlow Serving's path of warm-up requests, and the most records it accepts in it.
WARMUP_FILE = Path(EXTRA_FOLDER) / layout.WARMUP_FILE
MAX_WARMUP_RECORDS = 1000
_EXAMPLE_LOGS = {"classify_log": example_methods.CLASSIFY, "regress_log": example_methods.REGRESS}
_CACHED_CALLS = 64  # combinations of signature and output filter

SignatureKey = str | tuple[str, ...]
"""Names a signature of a model, or several that are called as one (`serving.server.example_methods.united`)."""


@dataclass(frozen=True)
class _Call:
    """Feeds and fetches of a signature, resolved in the graph."""

    feeds: Sequence[Any]
    fetches: Sequence[Any]


class Servable:
    """A loaded version. Any number of threads may call `run` at the same time, none after `close`.

    Attributes:
      name: name of the model.
      version: version number.
      signatures: name -> SignatureDef of the SavedModel.
      own_export: it is an export of Triptych, whose contract fixes the types and shapes of inputs and says more about
        their values.
      paddable_inputs: inputs that may be padded with "" or 0 behind the batch axis without changing the outputs.
    """

    def __init__(
        self,
        name: str,
        version: int,
        session: tf.compat.v1.Session,
        signatures: Mapping[str, Any],
        own_export: bool,
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self.own_export = own_export
        # Padding is defined by the signatures of Triptych's own exports only.
        self.paddable_inputs = _open_inputs(signatures) if own_export else frozenset()
        self._session = session
        self._calls = functools.lru_cache(maxsize=_CACHED_CALLS)(functools.partial(_look_up, session.graph))
        self._united = functools.lru_cache(maxsize=_CACHED_CALLS)(functools.partial(example_methods.united, signatures))

    def signature(self, key: SignatureKey) -> Any:
        """The SignatureDef of a name, or of several names as one. Raises KeyError for an unknown name."""
        return self.signatures[key] if isinstance(key, str) else self._united(key)

    def run(
        self,
        signature: Any,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute outputs of a signature.

        Args:
          signature: one of `signatures`, or of `signature`.
          inputs: every input of the signature.
          outputs: names of outputs of the signature.
          timeout: seconds after which the runtime stops, between two ops; None for never.

        Raises:
          tf.errors.OpError: raised by the graph; DeadlineExceededError after the timeout.
        """
        call = self._calls(
            tuple(signature.inputs[alias].name for alias in inputs),
            tuple(signature.outputs[alias].name for alias in outputs),
        )
        # The last step of Session.run; its other steps cost several times as much as a small graph.
        with _run_options(timeout) as options:
            values = self._session._call_tf_sessionrun(
                options, dict(zip(call.feeds, inputs.values(), strict=True)), call.fetches, [], None
            )
        # The runtime returns scalars as plain Python values; numpy's bytes type would cut a string's trailing NULs.
        return {
            alias: value if isinstance(value, np.ndarray) else tensors.as_array(value)
            for alias, value in zip(outputs, values, strict=True)
        }

    def predict(self, request: predict_pb2.PredictRequest, *, limit_bytes: int) -> predict_pb2.PredictResponse:
        """Answer a request in this thread.

        Args:
          request: its signature name, inputs and output filter are read; the version that it asks for is ignored.
          limit_bytes: see `serving.wire.tensors.decode`.

        Raises:
          tf.errors.OpError: the request is invalid, or raised by the graph.
        """
        name = request.model_spec.signature_name or predict_util.DEFAULT_SIGNATURE
        signature = predict_util.find_signature(self.signatures, name)
        inputs = predict_util.decode_inputs(signature, request.inputs, limit_bytes=limit_bytes, strict=self.own_export)
        outputs = self.run(signature, inputs, predict_util.select_outputs(signature, request.output_filter))
        return predict_util.response(request.model_spec.name, name, self.version, outputs)

    def infer(self, plan: Plan, examples: input_pb2.Input) -> list[inference_pb2.InferenceResult]:
        """Evaluate signatures on Examples in this thread. Raises tf.errors.OpError."""
        inputs = plan.inputs(examples)
        outputs = self.run(self.signature(plan.names), inputs, plan.outputs)
        return plan.results(self.name, self.version, inputs, outputs)

    def close(self) -> None:
        """Free the session with its variables and tables."""
        self._calls.cache_clear()
        self._united.cache_clear()
        self._session.close()


def load(path: Path, name: str, version: int) -> Servable:
    """Load a SavedModel and run its warm-up requests, if any.

    Args:
      path: the folder that holds `saved_model.pb`.
      name: name of the model.
      version: version number.

    Raises:
      Exception: whatever the loader raises for invalid files (OSError, ValueError, tf.errors.OpError, ...).
      tf.errors.OpError: a warm-up request failed.
    """
    # Registers the tokenizer ops in the graph of a text tower, which stock TensorFlow Serving has linked in. Imported
    # here because only loading needs it.
    import tensorflow_text  # noqa: F401

    graph = tf.Graph()
    # Deprecated for training code, but equivalent to TensorFlow Serving's own loading.
    with graph.as_default(), deprecation.silence():
        session = tf.compat.v1.Session(graph=graph)
        try:
            meta_graph = tf.compat.v1.saved_model.load(session, [TAG], str(plain_path(path)))
        except BaseException:
            session.close()
            raise
    graph.finalize()
    own_export = (path / EXTRA_FOLDER / DESCRIPTION_FILE).is_file()
    servable = Servable(name, version, session, meta_graph.signature_def, own_export)
    try:
        warm_up(servable, path / WARMUP_FILE)
    except BaseException:
        servable.close()
        raise
    return servable


def _open_inputs(signatures: Mapping[str, Any]) -> frozenset[str]:
    """The inputs of a Triptych export that are lists of any length: "" (with its value and time) counts as none in all."""
    infos = [(alias, info) for signature in signatures.values() for alias, info in signature.inputs.items()]
    return frozenset(alias for alias, info in infos if any(dim.size < 0 for dim in info.tensor_shape.dim[1:]))


def warm_up(servable: Servable, file: Path) -> int:
    """Run the recorded requests of a TFRecord file of PredictionLog.

    Returns:
      The number of requests; 0 if the file does not exist.

    Raises:
      tf.errors.OpError: the file is invalid, or a request failed.
    """
    if not file.is_file():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            if count == MAX_WARMUP_RECORDS:
                raise tf.errors.InvalidArgumentError(
                    None, None, f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {file}"
                )
            _replay(servable, record, file)
            count += 1
    except tf.errors.DataLossError as error:
        raise tf.errors.DataLossError(
            None, None, f"{error.message}. Please verify your warmup data is in TFRecord format ({file})."
        ) from error
    return count


def _replay(servable: Servable, record: bytes, file: Path) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise tf.errors.InvalidArgumentError(None, None, f"Failed to parse warmup record from {file}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        servable.predict(log.predict_log.request, limit_bytes=sys.maxsize)
    elif kind in _EXAMPLE_LOGS:
        request = getattr(log, kind).request
        plan = example_methods.plan_method(servable.signatures, request.model_spec, _EXAMPLE_LOGS[kind])
        servable.infer(plan, request.input)
    elif kind == "multi_inference_log":
        tasks = log.multi_inference_log.request.tasks
        servable.infer(example_methods.plan_tasks(servable.signatures, tasks), log.multi_inference_log.request.input)
    elif kind is not None:
        raise unimplemented(f"Unsupported log_type for warmup: {kind} (in {file})")


def _look_up(graph: tf.Graph, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
    def outputs(names: tuple[str, ...]) -> list[Any]:
        found = []
        for name in names:
            try:
                found.append(graph.get_tensor_by_name(name)._as_tf_output())
            except (KeyError, ValueError) as error:  # not in the graph; an operation without outputs
                raise invalid(f'the signature names "{name}", which is no tensor of the graph') from error
        return found

    return _Call(outputs(feeds), outputs(fetches))


@contextmanager
def _run_options(timeout: float | None) -> Iterator[Any]:
    """RunOptions as a buffer of the runtime, which Python does not own and so must be freed here."""
    if timeout is None:
        yield None
        return
    # Whole milliseconds, and 0 means never to the runtime.
    options = config_pb2.RunOptions(timeout_in_ms=max(1, math.ceil(1000 * timeout)))
    buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
    try:
        yield buffer
    finally:
        pywrap_tf_session.TF_DeleteBuffer(buffer)
