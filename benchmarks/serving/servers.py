"""Servers in processes of their own, and the recorded requests of an export."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from benchmarks.processes import python_server
from serving.server.servable import WARMUP_FILE
from serving.wire.layout import latest_version

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ECHO = "/echo/Echo"
TIMEOUT = 60.0
# The cost of gRPC itself: a server of the same kind that answers every request with the same bytes.
_ECHO_SERVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
reply = open(sys.argv[1], "rb").read()
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", {"Echo": handler})])
print(f"echo  version 0  127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
server.start()
server.wait_for_termination()
"""


@dataclass(frozen=True)
class RunningServer:
    """A server process with an open gRPC channel.

    Attributes:
      address: host:port of gRPC.
      rest: host:port of REST, or None.
      pid: process id.
      channel: to `address`.
    """

    address: str
    rest: str | None
    pid: int
    channel: grpc.Channel

    def call(self, method: str, body: bytes) -> bytes:
        """Send bytes to a method and return the bytes of its answer. Raises grpc.RpcError."""
        return self.channel.unary_unary(method)(body, timeout=TIMEOUT)

    def megabytes(self) -> float:
        """Return the resident memory of the process. Raises SystemExit if it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            status = ""
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        if resident is None:
            raise SystemExit("the server has ended")
        return int(resident[1]) / 1024


@contextmanager
def server(models: Path, *options: str, log: Path | None = None) -> Iterator[RunningServer]:
    """Run `triptych serve` on free ports.

    Args:
      models: a folder of models, or of one model.
      options: of the command line.
      log: file for its error output; None discards it.

    Raises:
      SystemExit: it did not start, or ended by itself.
    """
    command = ["-m", "pipelines.serve", "--models", str(models), "--port", "0", "--rest-port", "0", *options]
    with _running(command, log) as running:
        yield running


@contextmanager
def echo(reply: bytes) -> Iterator[RunningServer]:
    """Run a server whose method `ECHO` answers `reply`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        with _running(["-c", _ECHO_SERVER, file.name], None) as running:
            yield running


@contextmanager
def _running(arguments: Sequence[str], log: Path | None) -> Iterator[RunningServer]:
    with python_server(arguments, log=log) as (pid, addresses), grpc.insecure_channel(addresses[0]) as channel:
        yield RunningServer(addresses[0], addresses[1] if len(addresses) > 1 else None, pid, channel)


def recorded_requests(model: Path) -> list[predict_pb2.PredictRequest]:
    """Read the warm-up requests of the newest version of a model, without their version numbers."""
    logs = tf.data.TFRecordDataset(str(model / str(latest_version(model)) / WARMUP_FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in logs]
    for request in requests:
        request.model_spec.name = model.name
        request.model_spec.ClearField("version")
    return requests


def rest_document(request: Any) -> dict[str, Any]:
    """Convert a PredictRequest to the columnar format of REST."""

    def to_json(value: Any) -> Any:
        if isinstance(value, list):
            return [to_json(element) for element in value]
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    inputs = {name: to_json(tf.make_ndarray(request.inputs[name]).tolist()) for name in sorted(request.inputs)}
    return {"signature_name": request.model_spec.signature_name, "inputs": inputs}
