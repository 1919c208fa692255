"""Sockets and signals of a serving process. No TensorFlow: the app's process uses them too."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.wire.errors import StartError


@contextmanager
def until_signal(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT within the block, in place of their former handlers. Main thread only."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening_socket(host: str, port: int, option: str) -> socket.socket:
    """Bind a TCP socket for an HTTP server.

    Args:
      host: address to listen at; IPv6 if it contains a colon, else IPv4.
      port: port to bind; 0 for any free one.
      option: command-line option that sets the port, for the error message.

    Raises:
      StartError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be explicit: asyncio disables Nagle's algorithm only for sockets that declare TCP, and without
    # that each response on a kept-alive connection waits some 40 ms for the acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen at {host}:{port} ({error.strerror}); is the port taken? give another one ({option})"
        ) from error
    return listener
