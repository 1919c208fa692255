"""The embedded server: SavedModels over gRPC and REST, as TensorFlow Serving would serve them.

    with Server(folder(Path("saved_models")), host=None, port=8500, ...) as server:
        print(server.address)

`serve` is the same as one blocking call, for the command line.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from serving.server.access import ServerTls, Tokens
from serving.server.batching.batches import BatchingOptions
from serving.server.batching.runners import BatchingRunner, DirectRunner, Runner
from serving.server.core import Core
from serving.server.grpc_api.listeners import GrpcFace, LoopFace, ThreadedFace
from serving.server.limits import UNLIMITED, Limits
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager, Report, Source, State
from serving.server.rest_api import rest
from serving.server.rest_api.http_server import HttpServer
from serving.server.signals import until_signal
from serving.wire.errors import StartError

_LOOPBACK = "127.0.0.1"
# Threads beyond those that predictions can hold, so that status, metadata and refusals find one when it is full.
_SPARE_THREADS = 8


@dataclass(frozen=True)
class RestOptions:
    """The REST face.

    Attributes:
      port: 0 for any free one.
      timeout: seconds that a request may take.
      prometheus_path: where the metrics are; None: nowhere.
    """

    port: int
    timeout: float
    prometheus_path: str | None


class Server:
    """A gRPC server, and an HTTP server if wanted, over a ModelManager.

    Args:
      source: what to serve, such as `serving.server.sources.folder(path)`.
      host: the address to listen at; None is the loopback, which only this machine reaches.
      port: of gRPC; 0 for any free one.
      poll_seconds: time between two looks for new versions; 0 for one look only, at the start.
      threads: requests that the models work on at the same time, apart from batches.
      max_message_bytes: the largest request and the largest gRPC response.
      grace: seconds that requests under way get to finish when the server stops.
      report: told one readable line for every version that is loaded, freed or failed.
      queue: predictions that may wait for their turn or in a batch; one more is refused with RESOURCE_EXHAUSTED.
        None: no bound but that of the threads that wait.
      rest: None for no REST.
      batching: None for a call of the model for each request.
      tls: None for plain connections.
      tokens: one of which requests must have; None: anyone who gets here may ask.
      limits: what a request may be, besides `max_message_bytes`.
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
        queue: int | None = None,
        rest: RestOptions | None = None,
        batching: BatchingOptions | None = None,
        tls: ServerTls | None = None,
        tokens: Tokens | None = None,
        limits: Limits = UNLIMITED,
    ) -> None:
        self._report = report
        self.models = ModelManager(source, poll_seconds=poll_seconds, report=self._changed)
        self._host = host or _LOOPBACK
        self._wanted_port = port
        self._port = 0
        self._grace = grace
        self._max_message_bytes = max_message_bytes
        self._rest, self._tls, self._tokens = rest, tls, tokens
        self._http: HttpServer | None = None
        self._answering = False
        room = None if queue is None else threads + queue
        self._executor = ThreadPoolExecutor((room or threads) + _SPARE_THREADS, thread_name_prefix="request")
        metrics, direct = Metrics(), DirectRunner(threads, self._executor)
        self._runner: Runner = direct if batching is None else BatchingRunner(batching, direct, metrics)
        self.core = Core(
            self.models, self._runner, metrics, limit_bytes=max_message_bytes, room=room, request_limits=limits
        )
        face: type[ThreadedFace] | type[LoopFace] = ThreadedFace if batching is None else LoopFace
        self._grpc: GrpcFace = face(self.core, self._executor, tokens, max_message_bytes)

    @property
    def port(self) -> int:
        """The port that was bound; 0 before `start`."""
        return self._port

    @property
    def address(self) -> str:
        """host:port, as a client takes it."""
        return _address(self._host, self._port)

    @property
    def rest_address(self) -> str | None:
        """host:port of REST; None where there is none, or before `start`."""
        return None if self._http is None else _address(self._host, self._http.port)

    @property
    def _scheme(self) -> str:
        return "http://" if self._tls is None else "https://"

    def start(self) -> None:
        """Binds the ports, loads every model, then answers. A request that comes while models load waits.

        A model that fails to load does not stop the others; `models.statuses` tells.

        Raises:
          StartError: a port is taken, or what to serve cannot be read.
        """
        try:
            self._bind()
            self._load()
        except BaseException:
            self.stop()
            raise
        self._grpc.start()
        if self._http is not None and self._rest is not None:
            self._http.start(
                rest.application(
                    self.core,
                    executor=self._executor,
                    timeout=self._rest.timeout,
                    max_body_bytes=self._max_message_bytes,
                    prometheus_path=self._rest.prometheus_path,
                    tokens=self._tokens,
                ),
                None if self._tls is None else self._tls.context(),
            )
        self._answering = True
        self._update_health()

    def _bind(self) -> None:
        wanted = _address(self._host, self._wanted_port)
        try:
            self._port = self._grpc.bind(wanted, None if self._tls is None else self._tls.credentials())
        except RuntimeError as error:
            raise StartError(f"cannot listen at {wanted}; is the port taken? give another one (--port)") from error
        if self._rest is not None:
            self._http = HttpServer(host=self._host, port=self._rest.port, grace=self._grace)

    def _load(self) -> None:
        try:
            self.models.start()
        except OSError as error:
            raise StartError(f"cannot read the models: {error}; check the folder (--models)") from error

    def _changed(self, line: str) -> None:
        self._update_health()
        self._report(line)

    def _update_health(self) -> None:
        self._grpc.update_health(serving=self._answering and bool(self.models.available()))

    def stop(self, grace: float | None = None) -> None:
        """Refuses new requests, lets those under way finish for `grace` seconds (None: as constructed), frees all."""
        self._answering = False
        stopped = self._grpc.stop(self._grace if grace is None else grace)
        if self._http is not None:
            self._http.stop()
        stopped.wait()
        self._runner.close()
        self.models.stop()
        self._grpc.close()
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
        addresses = self.address if self.rest_address is None else f"{self.address}  {self._scheme}{self.rest_address}"
        for name in self.models.names():
            for status in self.models.statuses(name):
                if status.state is State.AVAILABLE:
                    lines.append(f"{name}  version {status.version}  {addresses}")
                elif status.error is not None:
                    why = status.error.message.splitlines()[0]
                    lines.append(f"{name}  version {status.version}  not served: {why}")
        return lines


def serve(
    source: Source,
    *,
    what: str,
    host: str | None,
    port: int,
    poll_seconds: float,
    threads: int,
    max_message_bytes: int,
    grace: float,
    echo: Report,
    queue: int | None = None,
    rest: RestOptions | None = None,
    batching: BatchingOptions | None = None,
    tls: ServerTls | None = None,
    tokens: Tokens | None = None,
    limits: Limits = UNLIMITED,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. For the main thread.

    Args:
      what: the folder or file that `source` reads, for messages.
      echo: prints one line: one for every model and its addresses, later one for every change.
      The others: see `Server`.

    Raises:
      StartError: the server cannot start, or there is no model that can be served.
    """
    stop = threading.Event()
    started = threading.Event()

    def report(line: str) -> None:
        if started.is_set():  # before, the summary below says it
            echo(line)

    server = Server(
        source,
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        threads=threads,
        max_message_bytes=max_message_bytes,
        grace=grace,
        report=report,
        queue=queue,
        rest=rest,
        batching=batching,
        tls=tls,
        tokens=tokens,
        limits=limits,
    )
    with until_signal(stop), server:
        lines = server.describe()
        if not server.models.available():
            found = lines[0] if lines else "no <model>/<version>/saved_model.pb there"
            raise StartError(f"{what}: nothing to serve ({found}); write a model with: triptych export")
        for line in lines:
            echo(line)
        started.set()
        stop.wait()
        echo("stopping: requests under way may finish")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
