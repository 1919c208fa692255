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
    """Files, PEM, of an encrypted connection.

    Attributes:
      roots: certificates of who may vouch for the server; None: those that gRPC brings.
      certificate, key: who the client is, for servers that want to know (mutual TLS); both or none.
    """

    roots: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InvalidRequestError where a file cannot be read, or only one of certificate and key is given."""
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
    """What the connections for threads and for asyncio share. Arguments: as those of `serving.client.client.Client`."""

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
        status: Any = error  # the error of a finished call is that call, too; its type does not say so
        return from_status(status.code().name, status.details() or "", target=self._target, timeout=self.timeout)


def _checked(token: str) -> str:
    """As it goes into a header. Raises InvalidRequestError."""
    token = token.strip()  # files end in a line feed
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidRequestError("token: must be printable ASCII and not empty")
    return token


class Connection(_Settings):
    """Calls methods of a server; thread-safe."""

    def __init__(self, target: str, **settings: Any) -> None:
        super().__init__(target, **settings, grpc_module=grpc)

    def call(self, method: str, request: Any, seconds: float) -> Any:
        """Calls one of `serving.wire.stubs.METHODS`, which has that long, retries included. Raises ServingError."""
        try:
            return self._methods[method](request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Closes the channel, if it was made here."""
        if self._owned:
            self._channel.close()


class AsyncConnection(_Settings):
    """Calls methods of a server from one event loop."""

    def __init__(self, target: str, **settings: Any) -> None:
        super().__init__(target, **settings, grpc_module=grpc.aio)

    async def call(self, method: str, request: Any, seconds: float) -> Any:
        """Calls one of `serving.wire.stubs.METHODS`, which has that long, retries included. Raises ServingError."""
        try:
            return await self._methods[method](request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error

    async def close(self) -> None:
        """Closes the channel, if it was made here."""
        if self._owned:
            await self._channel.close()


def _options(timeout: float, max_message_bytes: int | None) -> list[tuple[str, Any]]:
    """Channel options: retries by gRPC itself, on UNAVAILABLE alone.

    The four pauses (t, 2t, 4t, 8t, each give or take a fifth) sum to half of the timeout, so that the last attempt
    still has the other half to be answered in.
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
        # gRPC connects anew at its own pace, one second at first: an attempt in between would fail unsent.
        ("grpc.initial_reconnect_backoff_ms", max(1, int(1000 * pause))),
        ("grpc.max_reconnect_backoff_ms", max(1, int(8000 * pause))),
    ]
    if max_message_bytes is not None:
        options += [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            # Larger requests than this are not kept for a retry; pictures and sound are larger than gRPC's default.
            ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        ]
    return options
