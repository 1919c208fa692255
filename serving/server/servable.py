"""One loaded version of a SavedModel, and how it is loaded: as TensorFlow Serving does.

The TensorFlow 1 style loader with tag "serve" into a graph and a session of its own, tensors found by the names in
the signatures. No Keras, none of our own layers: what loads here loads in any TensorFlow Serving.
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
from tensorflow_serving.apis import prediction_log_pb2

from serving.server import predict
from serving.wire import tensors
from serving.wire.layout import DESCRIPTION_FILE, EXTRA_FOLDER

TAG = tf.saved_model.SERVING
# Where TensorFlow Serving looks, and the most records it accepts there.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000
# Of the contract: what is "" in these, at whatever place, is skipped, and the shape of no output follows theirs.
BLANK_INPUTS = frozenset({"history_ids", "history_values", "history_times", "exclude_ids", "categories"})
# Feeds and fetches that are kept, one per combination of signature and output filter.
_CALLS = 64


@dataclass(frozen=True)
class _Call:
    """Feeds and fetches of a signature, looked up in the graph once."""

    feeds: Sequence[Any]
    fetches: Sequence[Any]


class Servable:
    """A version that can answer. Any number of threads may call `run` at the same time, none after `close`.

    Attributes:
      name: of the model.
      version: its number.
      signatures: name -> SignatureDef, as the SavedModel has them.
      blank_inputs: inputs that may be padded with "" or 0 behind the batch axis, and the answers stay the same.
    """

    def __init__(
        self,
        name: str,
        version: int,
        session: tf.compat.v1.Session,
        signatures: Mapping[str, Any],
        blank_inputs: frozenset[str],
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self.blank_inputs = blank_inputs
        self._session = session
        self._calls = functools.lru_cache(maxsize=_CALLS)(functools.partial(_look_up, session.graph))

    def run(
        self,
        signature: Any,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Computes outputs.

        Args:
          signature: one of `signatures`.
          inputs: input name -> array of the signature's element type and shape; every input of the signature.
          outputs: names of outputs of the signature.
          timeout: seconds after which the runtime gives up; None for never. Between two ops, that is: one that has
            begun is finished.

        Raises:
          tf.errors.OpError: what the graph raised; DeadlineExceededError after the timeout.
        """
        call = self._calls(
            tuple(signature.inputs[alias].name for alias in inputs),
            tuple(signature.outputs[alias].name for alias in outputs),
        )
        # What Session.run does at its end; the rest of it costs several times as much as a small graph.
        with _run_options(timeout) as options:
            values = self._session._call_tf_sessionrun(
                options, dict(zip(call.feeds, inputs.values(), strict=True)), call.fetches, [], None
            )
        # The runtime returns scalars bare, and numpy's bytes type would cut a string's trailing NULs.
        return {
            alias: value if isinstance(value, np.ndarray) else tensors.as_array(value)
            for alias, value in zip(outputs, values, strict=True)
        }

    def close(self) -> None:
        """Frees the session; its variables and tables go with it."""
        self._calls.cache_clear()
        self._session.close()


def load(path: Path, name: str, version: int) -> Servable:
    """Loads a SavedModel and runs its warm-up requests, if it has any.

    Args:
      path: the folder that holds `saved_model.pb`.
      name, version: what the servable is called.

    Raises:
      Exception: whatever the loader raises for what is wrong there (OSError, ValueError, tf.errors.OpError, ...).
      tf.errors.OpError: a warm-up request failed.
    """
    # Importing it registers the tokenizer ops that a text tower's graph holds; without that, such a graph does not
    # load. Stock TensorFlow Serving has them linked in. Not at the top, for only loading needs it.
    import tensorflow_text  # noqa: F401

    graph = tf.Graph()
    # The loader is deprecated for training code; it is what TensorFlow Serving's own loading amounts to.
    with graph.as_default(), deprecation.silence():
        session = tf.compat.v1.Session(graph=graph)
        try:
            meta_graph = tf.compat.v1.saved_model.load(session, [TAG], str(path))
        except BaseException:
            session.close()
            raise
    graph.finalize()
    # Only the contract of Triptych's own exports says what a blank is.
    ours = (path / EXTRA_FOLDER / DESCRIPTION_FILE).is_file()
    servable = Servable(name, version, session, meta_graph.signature_def, BLANK_INPUTS if ours else frozenset())
    try:
        warm_up(servable, path / WARMUP_FILE)
    except BaseException:
        servable.close()
        raise
    return servable


def warm_up(servable: Servable, file: Path) -> int:
    """Runs the recorded requests of a TFRecord file of PredictionLog; returns how many. No file: none.

    Raises:
      tf.errors.OpError: the file is not such a file, or a request failed.
    """
    if not file.is_file():
        return 0
    done = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            if done == MAX_WARMUP_RECORDS:
                raise tf.errors.InvalidArgumentError(
                    None, None, f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {file}"
                )
            _replay(servable, record, file)
            done += 1
    except tf.errors.DataLossError as error:
        raise tf.errors.DataLossError(
            None, None, f"{error.message}. Please verify your warmup data is in TFRecord format ({file})."
        ) from error
    return done


def _replay(servable: Servable, record: bytes, file: Path) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise tf.errors.InvalidArgumentError(None, None, f"Failed to parse warmup record from {file}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict.predict(servable, log.predict_log.request, limit_bytes=sys.maxsize)
    elif kind is not None:
        raise tf.errors.UnimplementedError(None, None, f"Unsupported log_type for warmup: {kind} (in {file})")


def _look_up(graph: tf.Graph, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Call:
    def outputs(names: tuple[str, ...]) -> list[Any]:
        return [graph.get_tensor_by_name(name)._as_tf_output() for name in names]

    return _Call(outputs(feeds), outputs(fetches))


@contextmanager
def _run_options(timeout: float | None) -> Iterator[Any]:
    """RunOptions as the runtime takes them. Freed here: the buffer belongs to whoever asked for it, not to Python."""
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
