"""The socket that an HTTP server of ours takes requests at."""

from __future__ import annotations

import socket

from serving.wire.errors import StartError


def listening_socket(host: str, port: int, option: str) -> socket.socket:
    """A bound TCP socket, IPv4 or IPv6 by the form of the host; port 0: any free one.

    Args:
      option: of the command line that gives another port.

    Raises:
      StartError: one line, where it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its name: asyncio turns Nagle's algorithm off for sockets that say TCP alone, and with it each answer on a kept
    # connection waits some 40 ms for the acknowledgement of its head.
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
