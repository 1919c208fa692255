"""The embedded server: SavedModels from a folder, over gRPC, as TensorFlow Serving would serve them.

    with Server(folder(Path("saved_models")), host=None, port=8500, ...) as server:
        print(server.address)

`serve` is the same as one blocking call, for the command line.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.errors import StartError
from serving.models import ModelManager, Report, Source, State, folder
from serving.services import ModelService, PredictionService

_LOOPBACK = "127.0.0.1"


class Server:
    """A gRPC server over a ModelManager.

    Args:
      source: what to serve, such as `serving.models.folder(path)`.
      host: the address to listen at; None is the loopback, which only this machine reaches.
      port: 0 for any free one.
      poll_seconds: time between two looks for new versions; 0 for one look only, at the start.
      threads: requests that are worked on at the same time.
      max_message_bytes: the largest request and the largest response.
      grace: seconds that requests under way get to finish when the server stops.
      report: told one readable line for every version that is loaded, freed or failed.
    """

    def __init__(
        self,
        source: Source,
        *,
        host: str | None,
        port: int,
        poll_seconds: float,
        threads: int,
        max_message_bytes: int,
        grace: float,
        report: Report,
    ) -> None:
        self.models = ModelManager(source, poll_seconds=poll_seconds, report=report)
        self._host = host or _LOOPBACK
        self._wanted_port = port
        self._port = 0
        self._grace = grace
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="grpc")
        self._grpc = grpc.server(
            self._executor,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                # Else two servers share a port on Linux and each gets some of the requests.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self.models, limit_bytes=max_message_bytes), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.models), self._grpc)

    @property
    def port(self) -> int:
        """The port that was bound; 0 before `start`."""
        return self._port

    @property
    def address(self) -> str:
        """host:port, as a client takes it."""
        return _address(self._host, self._port)

    def start(self) -> None:
        """Binds the port, loads every model, then answers. A request that comes while models load waits.

        A model that fails to load does not stop the others; `models.statuses` tells.

        Raises:
          StartError: the port is taken, or the model folder cannot be read.
        """
        wanted = _address(self._host, self._wanted_port)
        try:
            self._port = self._grpc.add_insecure_port(wanted)
        except RuntimeError as error:
            self.stop()
            raise StartError(f"cannot listen at {wanted}; is the port taken? give another one (--port)") from error
        try:
            self.models.start()
        except OSError as error:
            self.stop()
            raise StartError(f"cannot read the models: {error}; check the folder (--models)") from error
        self._grpc.start()

    def stop(self, grace: float | None = None) -> None:
        """Refuses new requests, lets those under way finish for `grace` seconds (None: as constructed), frees all."""
        self._grpc.stop(self._grace if grace is None else grace).wait()
        self.models.stop()
        self._executor.shutdown(wait=False)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def describe(self) -> list[str]:
        """One line per model: its version and address, or why it is not served."""
        lines = []
        for name in self.models.names():
            for status in self.models.statuses(name):
                if status.state is State.AVAILABLE:
                    lines.append(f"{name}  version {status.version}  {self.address}")
                elif status.error is not None:
                    why = status.error.message.splitlines()[0]
                    lines.append(f"{name}  version {status.version}  not served: {why}")
        return lines


def serve(
    models: Path,
    *,
    host: str | None,
    port: int,
    poll_seconds: float,
    threads: int,
    max_message_bytes: int,
    grace: float,
    echo: Report,
) -> None:
    """Serves the models of a folder until SIGTERM or SIGINT, then drains and returns. For the main thread.

    Args:
      models: the folder, see `serving.models.folder`.
      echo: prints one line: one for every model and its address, later one for every change.
      The others: see `Server`.

    Raises:
      StartError: the server cannot start, or no model in the folder can be served.
    """
    stop = threading.Event()
    started = threading.Event()

    def report(line: str) -> None:
        if started.is_set():  # before, the summary below says it
            echo(line)

    server = Server(
        folder(models),
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        threads=threads,
        max_message_bytes=max_message_bytes,
        grace=grace,
        report=report,
    )
    with _until_signal(stop), server:
        lines = server.describe()
        if not server.models.available():
            found = lines[0] if lines else "no <model>/<version>/saved_model.pb there"
            raise StartError(f"{models}: nothing to serve ({found}); write a model with: triptych export")
        for line in lines:
            echo(line)
        started.set()
        stop.wait()
        echo("stopping: requests under way may finish")


@contextmanager
def _until_signal(stop: threading.Event) -> Iterator[None]:
    """Within the block SIGTERM and SIGINT set `stop` instead of what they did before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
