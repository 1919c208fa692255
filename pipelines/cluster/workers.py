"""The workers of a training run: the first, the chief, decides and writes, the others hear from it."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.cluster.meeting import meet
from pipelines.cluster.tf_config import Cluster, cluster_of
from pipelines.runs.progress import say
from tfrecs.errors import SpecError, TriptychError, WorkersError

# What TensorFlow raises in a worker whose peers are gone. Anything else is an error of the worker's own.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


_CONNECT = 120  # seconds


class Workers:
    """The processes that train one model, of which this is one.

    Every method is called by all workers, in the same order. Alone, a process is its own chief.

    Args:
      cluster: None where this process trains alone.
    """

    def __init__(self, cluster: Cluster | None = None):
        self.cluster = cluster
        self._strategy: tf.distribute.Strategy | None = None

    @property
    def index(self) -> int:
        """Of this worker; the chief has 0."""
        return 0 if self.cluster is None else self.cluster.index

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes."""
        return self.index == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.cluster is not None and len(self.cluster.addresses) > 1

    def start(self) -> tf.distribute.Strategy:
        """Start TensorFlow's server of this worker and connect it to the others: the strategy of all of them."""
        handler = signal.getsignal(signal.SIGTERM)
        if self.several:
            say(f"Connecting the workers; this one ends if that takes {_CONNECT} s, and all are to be started again.")
        # Of a worker that dies just now TensorFlow would wait for an hour, and out of reach of Python's own timers.
        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(_CONNECT, exit=True, file=nowhere)
            try:
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
            finally:
                faulthandler.cancel_dump_traceback_later()
        if threading.current_thread() is threading.main_thread():
            # TensorFlow catches SIGTERM to announce a preemption, which nothing here waits for: it would not end us.
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
        return self._strategy

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """What the chief makes, on all workers.

        Args:
          make: called on the chief alone; what it returns must be JSON.

        Raises:
          TriptychError: on all workers, where the chief's call raised one.
        """
        if not self.several:
            return make()
        message: dict[str, Any] = {}
        error: TriptychError | None = None
        if self.is_chief:
            try:
                message = {"value": make()}
            except TriptychError as raised:
                message, error = {"error": str(raised)}, raised
        message = json.loads(bytes(self._sum(self._encoded(message)).astype(np.uint8)))
        if "error" in message:
            raise error or SpecError(f"worker 0: {message['error']}")
        return message["value"]

    def wait(self) -> None:
        """Wait until every worker is here."""
        if self.several:
            self._sum(np.zeros(1, np.int32))

    def _encoded(self, message: Mapping[str, Any]) -> np.ndarray:
        """The bytes of a message of the chief; on the others as many zeros."""
        encoded = np.frombuffer(json.dumps(message).encode(), np.uint8).astype(np.int32)
        length = int(self._sum(np.full(1, len(encoded) if self.is_chief else 0, np.int32))[0])
        return encoded if self.is_chief else np.zeros(length, np.int32)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all workers of int32 [n]."""
        assert self._strategy is not None, "the workers have not been started"
        mine, local = tf.constant(values, tf.int32), iter([True])

        def value(_: Any) -> tf.Tensor:
            return mine if next(local, False) else tf.zeros_like(mine)

        replicas = self._strategy.experimental_distribute_values_from_function(value)
        return np.asarray(self._strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None))


@contextmanager
def joined(strategy: str, details: Callable[[], Mapping[str, Any]], limit: float) -> Iterator[Workers]:
    """Join the workers of this process's cluster for the length of a run.

    Args:
      strategy: of `train.strategy`.
      details: makes what must be the same on all workers, name -> JSON value; called where there are others.
      limit: seconds to wait for the others.

    Raises:
      SpecError: TF_CONFIG is not what it must be, or workers were started in different ways.
      WorkersError: the others did not come, or one was lost on the way.
    """
    workers = Workers(cluster_of(strategy))
    if workers.cluster is None or not workers.several:
        yield workers
        return
    count = len(workers.cluster.addresses)
    say(f"Worker {workers.index} of {count}; worker 0 writes the run, the others read it.")
    meet(workers.cluster, details(), limit)
    try:
        yield workers
    except _LOST as error:
        reason = re.sub(r"^{{.*?}}", "", str(error).splitlines()[0]).strip()  # what failed, not in which operation
        raise WorkersError(
            f"worker {workers.index}: lost another worker ({reason[:100]}); start all {count} workers again with the "
            "same command, the run goes on from its last finished epoch"
        ) from error
