"""A running server on the loopback, and a client as someone else would write it, for the tests of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.batching.batches import BatchingOptions
from serving.server.server import Server, ServerOptions
from serving.server.sources import Source, folder_source

MEGABYTE = 1 << 20


def server_options(**changes: Any) -> ServerOptions:
    """Any free port, no polling, gRPC only."""
    options = {"host": None, "port": 0, "poll_seconds": 0, "threads": 2, "max_message_bytes": 1 << 24, "grace": 1.0}
    return ServerOptions(**(options | changes))


def silent(line: str) -> None:
    """A report that goes nowhere."""


@contextmanager
def running(models: Path | Source, reports: list[str] | None = None, **changes: Any) -> Iterator[Server]:
    """A server of the models in a folder, or of a source; what it reports goes into `reports`.

    `changes`: to options under which new versions are found quickly and eight requests run at a time.
    """
    defaults = {"poll_seconds": 0.05, "threads": 8, "max_message_bytes": 4 * MEGABYTE, "grace": 10.0}
    options = server_options(**(defaults | changes))
    source = folder_source(models) if isinstance(models, Path) else models
    with Server(source, options, silent if reports is None else reports.append) as server:
        yield server


def batches(**changes: Any) -> BatchingOptions:
    """One thread, at most four rows a batch, which wait for each other for five seconds."""
    options: dict[str, Any] = {
        "max_batch_size": 4,
        "batch_timeout_micros": 5_000_000,
        "max_enqueued_batches": 10,
        "num_batch_threads": 1,
        "thread_pool_name": "pool",
        "allowed_batch_sizes": (),
        "pad_variable_length_inputs": False,
        "enable_large_batch_splitting": False,
        "max_execution_batch_size": changes.get("max_batch_size", 4),
    }
    return BatchingOptions(**{**options, **changes})


class Stubs:
    """What a client written by someone else has: the package's own stubs on a plain channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, name: str, signature: str = "", version: int | None = None, **inputs: Any) -> Any:
        return self.prediction.Predict(predict_request(name, signature, version, **inputs), timeout=30)

    def states(self, name: str) -> dict[int, int]:
        answer = self.model.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec={"name": name}))
        return {status.version: status.state for status in answer.model_version_status}


@contextmanager
def connected(server: Server) -> Iterator[Stubs]:
    with grpc.insecure_channel(server.address) as channel:
        yield Stubs(channel)


def predict_request(name: str, signature: str = "", version: int | None = None, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.02)


def status_of(call: Callable[[], Any]) -> str:
    """The name of the gRPC status that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


X = floats([1, 2])


def turns_for(stubs: Stubs, seconds: float) -> int:
    """How many turns of the slow signature take that long here, or longer."""
    stubs.predict("scale", "slow", turns=np.int32(1))

    def timed() -> float:
        begin = time.monotonic()
        stubs.predict("scale", "slow", turns=np.int32(20))
        return time.monotonic() - begin

    # The fastest of some: one that had to wait for the machine would make the turns too few.
    return max(1, int(seconds * 20 / min(timed() for _ in range(3))))
