"""An ASGI application on a port, in a thread of its own (uvicorn)."""

from __future__ import annotations

import math
import ssl
import threading

import uvicorn
from starlette.applications import Starlette

from serving.server.process import listening_socket


class HttpServer:
    """An HTTP server in its own thread.

    Args:
      host: address to listen at.
      port: port to bind; 0 for any free one.
      grace: seconds that requests under way get to finish when the server stops.

    Attributes:
      port: the bound port; connections to it wait until `start`.

    Raises:
      StartError: the port is taken.
    """

    def __init__(self, *, host: str, port: int, grace: float) -> None:
        self._socket = listening_socket(host, port, "--rest-port")
        self.port: int = self._socket.getsockname()[1]
        self._grace = grace
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, application: Starlette, tls: ssl.SSLContext | None = None) -> None:
        """Begin to answer with the application, over TLS if there is a context."""
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(self._grace),
        )
        config.load()
        # uvicorn itself makes contexts only from files, and keeps the result here.
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse new connections, let requests under way finish, and return."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()
