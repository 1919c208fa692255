"""Training windows made by the workers of a tf.data service (Audibert et al., 2023, arXiv:2210.14826)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.errors import DataError

_BATCH = 256  # Windows that the service sends at a time; one by one, the calls would cost more than the reading.
_TIMEOUT = 5.0  # s


def served(windows: tf.data.Dataset, service: str) -> tf.data.Dataset:
    """Let the workers of a tf.data service make the windows; they are the same, in the same order.

    Dynamic sharding distributes the files, so that each window comes once, but in an order that depends on the workers.
    Restoring the order needs all windows of an epoch in memory, as shuffling them does anyway.

    Args:
      windows: with `number` int64 [2], the position of each.
      service: address of the dispatcher, host:port.

    Raises:
      DataError: nothing listens there.
    """
    check_service(service)
    parts = windows.batch(_BATCH).apply(
        tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.DYNAMIC, f"grpc://{service.removeprefix('grpc://')}"
        )
    )

    def ordered(window: dict[str, Any]) -> dict[str, Any]:
        record, part = window["number"][:, 0], window["number"][:, 1]
        by_part = tf.argsort(part, stable=True)
        order = tf.gather(by_part, tf.argsort(tf.gather(record, by_part), stable=True))
        return {
            key: {name: tf.gather(inner, order) for name, inner in value.items()}
            if isinstance(value, Mapping)
            else tf.gather(value, order)
            for key, value in window.items()
        }

    return parts.unbatch().batch(np.iinfo(np.int64).max).map(ordered).unbatch()


def check_service(address: str) -> None:
    """Raise DataError where nothing listens at `host:port`; TensorFlow itself would wait for ever."""
    host, colon, port = address.removeprefix("grpc://").rpartition(":")
    if not colon or not port.isdigit():
        raise DataError(f"data service {address!r}: write it as host:port")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
    except OSError as error:
        raise DataError(
            f"data service {address!r}: no dispatcher answers ({error.strerror or error}); start it, or leave the option away"
        ) from error
