"""An ASGI application on a port, in a thread of its own (uvicorn)."""

from __future__ import annotations

import math
import ssl
import threading

import uvicorn
from starlette.applications import Starlette

from serving.server.rest_api.listening import listening_socket


class HttpServer:
    """A running HTTP server.

    Args:
      host, port: where to listen; port 0 for any free one.
      grace: seconds that requests under way get to finish when the server stops.

    Attributes:
      port: the one that is bound; connections to it wait until `start`.

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
        """Answers with the application from now on, over TLS where there is a context for it."""
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(self._grace),
        )
        config.load()
        # uvicorn makes contexts from files only; this is where it keeps them.
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Takes no new connections, lets requests under way finish, and returns."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()
