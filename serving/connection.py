"""One gRPC connection to a server of TensorFlow Serving's API: deadlines, retries, message size, errors."""

from __future__ import annotations

import json
from typing import Any

import grpc

from serving import stubs
from serving.errors import from_status

# The most that gRPC allows, the first attempt included.
_ATTEMPTS = 5


class Connection:
    """Calls methods of a server; thread-safe. Arguments: as those of `serving.client.Client`."""

    def __init__(
        self, target: str, *, timeout: float, max_message_bytes: int | None, channel: grpc.Channel | None
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._owned = channel is None
        self._channel = channel or grpc.insecure_channel(target, options=_options(timeout, max_message_bytes))
        self._methods = {name: stubs.method(self._channel, name) for name in stubs.METHODS}

    def call(self, method: str, request: Any) -> Any:
        """Calls one of `serving.stubs.METHODS`. Raises ServingError."""
        try:
            return self._methods[method](request, timeout=self._timeout)
        except grpc.RpcError as error:
            status: Any = error  # the error of a finished call is that call, too; its type does not say so
            raise from_status(
                status.code().name, status.details() or "", target=self._target, timeout=self._timeout
            ) from error

    def close(self) -> None:
        """Closes the channel, if it was made here."""
        if self._owned:
            self._channel.close()


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
