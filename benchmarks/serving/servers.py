"""Servers in processes of their own, and the requests that are sent to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.server.servable import WARMUP_FILE
from serving.wire.layout import latest_version

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ECHO = "/echo/Echo"
TIMEOUT = 60.0
# What gRPC itself takes: a server of the same kind that answers any request with the same bytes.
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
class Running:
    """A server: host:port of gRPC and, where it has one, of REST; its process id; a call of one open connection."""

    address: str
    rest: str | None
    pid: int
    channel: grpc.Channel

    def call(self, method: str, body: bytes) -> bytes:
        """Bytes to a method, and its bytes back. Raises grpc.RpcError."""
        return self.channel.unary_unary(method)(body, timeout=TIMEOUT)

    def megabytes(self) -> float:
        """What the process holds in memory. Raises SystemExit where it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except FileNotFoundError:
            status = ""
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        if found is None:
            raise SystemExit("the server has ended")
        return int(found[1]) / 1024


@contextmanager
def server(models: Path, *options: str, log: Path | None = None) -> Iterator[Running]:
    """`triptych serve` on free ports.

    Args:
      models: a folder of models, or of one model.
      options: of the command line.
      log: where its error output goes; None: nowhere.

    Raises:
      SystemExit: it did not start, or ended by itself.
    """
    command = ["-m", "pipelines.serve", "--models", str(models), "--port", "0", "--rest-port", "0", *options]
    with _process(command, log) as running:
        yield running


@contextmanager
def echo(reply: bytes) -> Iterator[Running]:
    """A server whose method `ECHO` answers `reply`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        with _process(["-c", _ECHO_SERVER, file.name], None) as running:
            yield running


@contextmanager
def _process(arguments: Sequence[str], log: Path | None) -> Iterator[Running]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(log or os.devnull, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.findall(r"127\.0\.0\.1:\d+", line)
            if not found:
                raise SystemExit(f"a server did not start: {line}")
            with grpc.insecure_channel(found[0]) as channel:
                yield Running(found[0], found[1] if len(found) > 1 else None, process.pid, channel)
            if process.poll() is not None:
                raise SystemExit(f"a server ended by itself with {process.returncode}")
        finally:
            process.terminate()
            process.communicate()  # waits, and closes the pipe


def recorded(model: Path) -> list[predict_pb2.PredictRequest]:
    """The warm-up requests of the newest version of a model's folder, addressed to whatever version is newest."""
    logs = tf.data.TFRecordDataset(str(model / str(latest_version(model)) / WARMUP_FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in logs]
    for request in requests:
        request.model_spec.name = model.name
        request.model_spec.ClearField("version")
    return requests
