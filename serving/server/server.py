"""The embedded server: SavedModels over gRPC and REST, compatible with TensorFlow Serving.

    with Server(folder(Path("saved_models")), ServerOptions(host=None, port=8500, ...), report=print) as server:
        print(server.address)

`serve` does the same as one blocking call, for the command line.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

from serving.server.access import ServerTls, Tokens
from serving.server.batching.batches import BatchingOptions
from serving.server.batching.runners import BatchingRunner, DirectRunner, Runner
from serving.server.grpc_api.listeners import (
    AsyncGrpcListener,
    ChannelArguments,
    GrpcListener,
    ThreadedGrpcListener,
    channel_arguments,
)
from serving.server.limits import UNLIMITED, RequestLimits
from serving.server.metrics import ServerMetrics
from serving.server.model_manager import ModelManager, Report, VersionState
from serving.server.process import until_signal
from serving.server.rest_api import rest
from serving.server.rest_api.http_server import HttpServer
from serving.server.server_core import ServerCore
from serving.server.sources import Source
from serving.wire.errors import StartError

_LOOPBACK = "127.0.0.1"
# Threads beyond those that predictions can occupy, so that status, metadata and refusals find one on a full server.
_SPARE_THREADS = 8
_RETRY_LOOK = 0.05  # seconds between two looks for the outcome of loading again


@dataclass(frozen=True)
class RestOptions:
    """Options of the REST API.

    Attributes:
      port: 0 for any free one.
      timeout: seconds that a request may take.
      prometheus_path: path of the metrics page; None for none.
    """

    port: int
    timeout: float
    prometheus_path: str | None


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of a server.

    Attributes:
      host: the address to listen at; None is the loopback, which only this machine reaches.
      port: gRPC port; 0 for any free one.
      poll_seconds: time between two polls for new versions; 0 to look only once, at the start.
      threads: requests that the models work on at the same time, apart from batches.
      max_message_bytes: the largest request and the largest gRPC response.
      grace: seconds that requests under way get to finish when the server stops.
      queue: predictions that may wait for a thread or in a batch; one more is refused with RESOURCE_EXHAUSTED. None:
        limited by the number of waiting threads only.
      rest: options of the REST API; None for gRPC only.
      batching: how requests are batched; None to run the model once per request.
      tls: key and certificate; None for plain connections.
      tokens: requests must carry one of these; None: no authentication.
      limits: largest request, besides `max_message_bytes`.
      socket_path: gRPC listens at this Unix socket too; None for the port alone.
      channel_arguments: further arguments of gRPC's server, by name.
      load_retries: how often a version that failed to load is tried again; its changed files are tried in any case.
      load_retry_seconds: time between two of these tries.
    """

    host: str | None
    port: int
    poll_seconds: float
    threads: int
    max_message_bytes: int
    grace: float
    queue: int | None = None
    rest: RestOptions | None = None
    batching: BatchingOptions | None = None
    tls: ServerTls | None = None
    tokens: Tokens | None = None
    limits: RequestLimits = UNLIMITED
    socket_path: str | None = None
    channel_arguments: ChannelArguments = field(default_factory=dict)
    load_retries: int = 0
    load_retry_seconds: float = 0.0


class Server:
    """A gRPC server, and optionally an HTTP server, over a `ModelManager`.

    Args:
      source: the models to serve, such as `serving.server.sources.folder(path)`.
      options: ports, threads, limits.
      report: called with one readable line for every version that is loaded, unloaded or failed.

    Attributes:
      models: the loaded models.
      core: request handling.
    """

    def __init__(self, source: Source, options: ServerOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self.models = ModelManager(
            source,
            poll_seconds=options.poll_seconds,
            report=self._changed,
            load_retries=options.load_retries,
            load_retry_seconds=options.load_retry_seconds,
        )
        self._host = options.host or _LOOPBACK
        self._port = 0
        self._http: HttpServer | None = None
        self._answering = False
        max_in_flight = None if options.queue is None else options.threads + options.queue
        self._executor = ThreadPoolExecutor(
            (max_in_flight or options.threads) + _SPARE_THREADS, thread_name_prefix="request"
        )
        metrics, direct = ServerMetrics(), DirectRunner(options.threads, self._executor)
        self._runner: Runner = direct if options.batching is None else BatchingRunner(options.batching, direct, metrics)
        self.core = ServerCore(
            self.models,
            self._runner,
            metrics,
            limit_bytes=options.max_message_bytes,
            max_in_flight=max_in_flight,
            request_limits=options.limits,
        )
        listener: type[ThreadedGrpcListener] | type[AsyncGrpcListener] = (
            ThreadedGrpcListener if options.batching is None else AsyncGrpcListener
        )
        arguments = channel_arguments(options.max_message_bytes, options.channel_arguments)
        self._grpc: GrpcListener = listener(self.core, self._executor, options.tokens, arguments)

    @property
    def port(self) -> int:
        """The bound gRPC port; 0 before `start`."""
        return self._port

    @property
    def address(self) -> str:
        """host:port of gRPC, as a client takes it."""
        return _address(self._host, self._port)

    @property
    def rest_address(self) -> str | None:
        """host:port of REST; None where there is none, or before `start`."""
        return None if self._http is None else _address(self._host, self._http.port)

    @property
    def _scheme(self) -> str:
        return "http://" if self._options.tls is None else "https://"

    def start(self) -> None:
        """Bind the ports, load every model, then answer. Requests that arrive while models load wait.

        A model that fails to load does not stop the others; see `models.statuses`.

        Raises:
          StartError: a port is taken, or the models cannot be read.
        """
        try:
            self._bind()
            self._load()
        except BaseException:
            self.stop()
            raise
        self._grpc.start()
        options = self._options
        if self._http is not None and options.rest is not None:
            self._http.start(
                rest.application(
                    self.core,
                    executor=self._executor,
                    timeout=options.rest.timeout,
                    max_body_bytes=options.max_message_bytes,
                    prometheus_path=options.rest.prometheus_path,
                    tokens=options.tokens,
                ),
                None if options.tls is None else options.tls.context(),
            )
        self._answering = True
        self._update_health()

    def _bind(self) -> None:
        options = self._options
        credentials = None if options.tls is None else options.tls.credentials()
        wanted = _address(self._host, options.port)
        try:
            self._port = self._grpc.bind(wanted, credentials)
        except RuntimeError as error:
            raise StartError(f"cannot listen at {wanted}; is the port taken? give another one (--port)") from error
        if options.socket_path is not None:
            try:
                self._grpc.bind(f"unix:{options.socket_path}", credentials)
            except RuntimeError as error:
                raise StartError(
                    f"cannot listen at the socket {options.socket_path}; give the path of a socket, or of nothing yet, in "
                    "a folder that exists, of at most 107 bytes (--grpc_socket_path)"
                ) from error
        if options.rest is not None:
            self._http = HttpServer(host=self._host, port=options.rest.port, grace=options.grace)

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
        """Refuse new requests, let those under way finish for `grace` seconds (None: the option's), free everything."""
        self._answering = False
        stopped = self._grpc.stop(self._options.grace if grace is None else grace)
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
        """One line per version: its address, or why it is not served; and one per model that cannot be looked for."""
        lines = []
        addresses = self.address
        if self._options.socket_path is not None:
            addresses += f"  unix:{self._options.socket_path}"
        if self.rest_address is not None:
            addresses += f"  {self._scheme}{self.rest_address}"
        for name in self.models.names():
            for status in self.models.statuses(name):
                if status.state is VersionState.AVAILABLE:
                    lines.append(f"{name}  version {status.version}  {addresses}")
                elif status.error is not None:
                    reason = status.error.message.splitlines()[0]
                    lines.append(f"{name}  version {status.version}  not served: {reason}")
        return lines + self.models.problems()


def serve(source: Source, options: ServerOptions, *, source_name: str, echo: Report) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. Main thread only.

    Args:
      source: the models to serve.
      options: ports, threads, limits.
      source_name: the folder or file that `source` reads, for messages.
      echo: prints one line: one for every model and its addresses, later one for every change.

    Raises:
      StartError: the server cannot start, or there is no model to serve.
    """
    stop = threading.Event()
    started = threading.Event()

    def report(line: str) -> None:
        if started.is_set():  # the summary below covers everything before that
            echo(line)

    server = Server(source, options, report)
    with until_signal(stop), server:
        lines = server.describe()
        if not server.models.available() and server.models.retrying():
            for line in lines:
                echo(line)
            started.set()
            while not server.models.available() and server.models.retrying() and not stop.wait(_RETRY_LOOK):
                pass
            lines = server.describe()
        if not server.models.available() and not stop.is_set():
            reason = lines[0] if lines else "no <model>/<version>/saved_model.pb there"
            raise StartError(f"{source_name}: nothing to serve ({reason}); write a model with: triptych export")
        for line in lines:
            echo(line)
        started.set()
        stop.wait()
        echo("stopping: requests under way may finish")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
