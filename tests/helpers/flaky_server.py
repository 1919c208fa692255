"""A gRPC server that fails as often as it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


class Flaky(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Fails so many times with a status, then answers nothing but an empty response; or never answers in time."""

    def __init__(self, code: grpc.StatusCode, failures: int, seconds: float = 0.0) -> None:
        self.code, self.failures, self.seconds = code, failures, seconds
        self.calls = 0

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        time.sleep(self.seconds)
        if self.calls <= self.failures:
            context.abort(self.code, "not now\nsecond line")
        return predict_pb2.PredictResponse()

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response


@contextmanager
def listening(servicer: Flaky) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
