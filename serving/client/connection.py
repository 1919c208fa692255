"""One gRPC connection to a server of TensorFlow Serving's API: deadlines, retries, message size, TLS, token, errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving.wire import stubs
from serving.wire.errors import InvalidRequestError, ServingError, from_status

# The most that gRPC allows, the first attempt included.
_ATTEMPTS = 5


@dataclass(frozen=True)
class Tls:
    """PEM files of an encrypted connection.

    Attributes:
      roots: root certificates for the server's certificate; None for those that gRPC ships.
      certificate: the client's certificate, for servers that require one (mutual TLS).
      key: the client's key; goes with `certificate`.
    """

    roots: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises InvalidRequestError if one cannot be read, or if certificate or key is missing."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequestError("tls: certificate and key go together; give both")
        return grpc.ssl_channel_credentials(_bytes(self.roots), _bytes(self.key), _bytes(self.certificate))


def _bytes(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"tls: {file}: cannot be read ({error.strerror})") from error
    if b"-----BEGIN" not in content:
        raise InvalidRequestError(f"tls: {file}: not a PEM file; convert it to PEM")
    return content


class _Settings:
    """Common part of both connections; the arguments are those of `serving.client.client.Client`."""

    def __init__(
        self,
        target: str,
        *,
        timeout: float,
        max_message_bytes: int | None,
        tls: Tls | None,
        token: str | None,
        channel: Any,
        grpc_module: Any,
    ) -> None:
        if tls is not None and channel is not None:
            raise InvalidRequestError("tls is for a connection that the client makes; secure the given channel itself")
        self._target = target
        self.timeout = timeout
        self._owned = channel is None
        self._metadata = None if token is None else (("authorization", f"Bearer {_checked(token)}"),)
        if channel is None:
            options = _options(timeout, max_message_bytes)
            if tls is None:
                channel = grpc_module.insecure_channel(target, options=options)
            else:
                channel = grpc_module.secure_channel(target, tls.credentials(), options=options)
        self._channel = channel
        self._methods = {name: stubs.method(channel, name) for name in stubs.METHODS}

    def _error(self, error: grpc.RpcError) -> ServingError:
        status: Any = error  # gRPC raises the finished call itself, which the type does not show
        return from_status(status.code().name, status.details() or "", target=self._target, timeout=self.timeout)


def _checked(token: str) -> str:
    """Strip and check a token for use in a header. Raises InvalidRequestError."""
    token = token.strip()  # token files end in a line feed
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidRequestError("token: must be printable ASCII and not empty")
    return token


class Connection(_Settings):
    """A connection for threads; thread-safe."""

    def __init__(self, target: str, **settings: Any) -> None:
        super().__init__(target, **settings, grpc_module=grpc)

    def call(self, method: str, request: Any, seconds: float) -> Any:
        """Call one of `serving.wire.stubs.METHODS` within `seconds`, including retries. Raises ServingError."""
        try:
            return self._methods[method](request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the channel if it was made here."""
        if self._owned:
            self._channel.close()


class AsyncConnection(_Settings):
    """A connection for one event loop."""

    def __init__(self, target: str, **settings: Any) -> None:
        super().__init__(target, **settings, grpc_module=grpc.aio)

    async def call(self, method: str, request: Any, seconds: float) -> Any:
        """Call one of `serving.wire.stubs.METHODS` within `seconds`, including retries. Raises ServingError."""
        try:
            return await self._methods[method](request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error

    async def close(self) -> None:
        """Close the channel if it was made here."""
        if self._owned:
            await self._channel.close()


def _options(timeout: float, max_message_bytes: int | None) -> list[tuple[str, Any]]:
    """Channel options, with retries by gRPC itself on UNAVAILABLE only.

    The four pauses (t, 2t, 4t, 8t, each plus or minus a fifth) sum to half of the timeout, so that the last attempt
    has the other half.
    """
    pause = timeout / 30
    policy = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": f"{pause:.3f}s",
        "maxBackoff": f"{8 * pause:.3f}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})),
        # By default gRPC reconnects only after a second; attempts before that would fail without being sent.
        ("grpc.initial_reconnect_backoff_ms", max(1, int(1000 * pause))),
        ("grpc.max_reconnect_backoff_ms", max(1, int(8000 * pause))),
    ]
    if max_message_bytes is not None:
        options += [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            # Larger requests are not kept for a retry; images and sounds exceed gRPC's default.
            ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        ]
    return options
