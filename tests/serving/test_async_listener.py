"""The event loop of a server with batching: nothing blocks it, and models stay loaded while requests run."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2
from toy_models import export_scale, place
from toy_server import MEGABYTE, X, batches, connected, eventually, predict_request, refused, running, turns_for

from serving.server.access import Tokens
from serving.wire.errors import StartError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model "scale" doubles."""
    folder = tmp_path_factory.mktemp("models")
    place(export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0), folder / "scale", 1)
    return folder


def test_requests_of_any_size_are_answered_and_the_wrong_ones_refused(models: Path) -> None:
    """The large one is read in a thread of its own: 2 x 50,000 numbers are 400 kB."""
    large = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    with (
        running(models, batching=batches(max_batch_size=60_000, batch_timeout_micros=0)) as server,
        connected(server) as stubs,
    ):
        for rows in (X, large):
            request = predict_request("scale", x=rows)
            request.output_filter.append("y")  # the only output with a batch axis
            answer = stubs.prediction.Predict(request, timeout=30)
            np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), 2 * rows)
            request.inputs["x"].tensor_shape.dim[1].size = 3
            code, message = refused(lambda request=request: stubs.prediction.Predict(request, timeout=30))
            assert (code, message.split(" (")[0]) == ("INVALID_ARGUMENT", "tensor parsing error: x")
        assert ":tensorflow:serving:batching_session:processed_batch_size_count{} 2\n" in server.core.metrics.page()


@pytest.mark.slow
def test_other_methods_and_health_are_answered_while_the_model_computes(models: Path) -> None:
    with running(models, batching=batches()) as server, connected(server) as stubs, ThreadPoolExecutor(1) as pool:
        turns = turns_for(stubs, 2.0)
        slow = pool.submit(stubs.predict, "scale", "slow", turns=np.int32(turns))
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "scale"
        assert stubs.prediction.GetModelMetadata(request, timeout=30).model_spec.version.value == 1
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
            assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
            assert not slow.done()
            assert slow.result().outputs["factor"].float_val == [2.0]
            server.stop()
            assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.slow
def test_a_model_is_freed_only_when_what_clients_gave_up_has_ended(tmp_path: Path, models: Path) -> None:
    """The client goes while its request is computed; the version that computes it is replaced meanwhile."""
    folder, reports = tmp_path / "models", list[str]()
    version = export_scale(tmp_path / "doubling", 2.0)
    place(version, folder / "scale", 1)
    with running(folder, reports, batching=batches(batch_timeout_micros=0)) as server, connected(server) as stubs:
        call = stubs.prediction.Predict.future(
            predict_request("scale", "slow", turns=np.int32(turns_for(stubs, 3.0))), timeout=30
        )
        eventually(lambda: server.core._in_flight == 1)
        call.cancel()
        place(version, folder / "scale", 2)
        eventually(lambda: any("version 2 is served" in line for line in reports))
        assert server.core._in_flight == 1
        assert not any("no longer served" in line for line in reports)
        eventually(lambda: any("version 1 is no longer served" in line for line in reports))
        assert server.core._in_flight == 0
        assert tf.make_ndarray(stubs.predict("scale", "", x=X).outputs["y"]).shape == (1, 2)


def test_tokens_are_asked_for_by_the_loop_too(models: Path) -> None:
    options = batches(batch_timeout_micros=0)
    with running(models, batching=options, tokens=Tokens(("open",))) as server, connected(server) as stubs:
        assert refused(lambda: stubs.predict("scale", "scalar", text="a"))[0] == "UNAUTHENTICATED"
        request = predict_request("scale", "scalar", text="abc")
        answer = stubs.prediction.Predict(request, timeout=30, metadata=[("authorization", "Bearer open")])
        assert answer.outputs["length"].int_val == [3]


def test_a_taken_port_is_one_error_and_leaves_no_thread_behind(models: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(StartError, match="is the port taken"),
        running(models, batching=batches(), port=taken.getsockname()[1]),
    ):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "grpc-loop"]


def test_messages_beyond_the_limit_are_refused_by_the_loop_too(models: Path) -> None:
    options = batches(batch_timeout_micros=0)
    with running(models, batching=options, max_message_bytes=MEGABYTE) as server, connected(server) as stubs:
        x = np.zeros([MEGABYTE // 8 + 100, 2], np.float32)
        assert refused(lambda: stubs.predict("scale", "", x=x))[0] == "RESOURCE_EXHAUSTED"
