"""Clients of other projects: ovmsclient over gRPC and REST, and the health client of grpcio-health-checking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import ovmsclient
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ovmsclient.tfs_compat.base.errors import InvalidInputError, ModelNotFoundError
from toy_models import export_scale, place
from toy_server import connected, eventually, refused, running

from serving.server.server import RestOptions, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Model "scale", version 3, doubles."""
    folder = tmp_path_factory.mktemp("models")
    place(export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0), folder / "scale", 3)
    with running(folder, poll_seconds=0, rest=RestOptions(0, 30.0, None)) as server:
        yield server


X = np.array([[1, 2], [3, 4]], np.float32)


def test_ovmsclient_predicts_over_grpc(server: Server) -> None:
    client = ovmsclient.make_grpc_client(server.address)
    outputs = client.predict({"x": X}, "scale", 3)
    assert set(outputs) == {"y", "factor", "rows"}
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].tolist() == [[2, 4], [6, 8]]
    with pytest.raises(ModelNotFoundError, match=r"Specific\(scale, 4\)"):
        client.predict({"x": X}, "scale", 4)
    with pytest.raises(InvalidInputError, match="input size does not match signature"):
        client.predict({"x": X, "z": X}, "scale", 3)


def test_ovmsclient_reads_metadata_and_status_over_grpc(server: Server) -> None:
    client = ovmsclient.make_grpc_client(server.address)
    metadata = client.get_model_metadata("scale", 3)
    assert metadata["model_version"] == 3
    assert metadata["inputs"] == {"x": {"shape": [-1, 2], "dtype": "DT_FLOAT"}}
    assert metadata["outputs"]["y"] == {"shape": [-1, 2], "dtype": "DT_FLOAT"}
    assert client.get_model_status("scale", 3) == {3: {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
    with pytest.raises(ModelNotFoundError, match="Could not find version 9 of model scale"):
        client.get_model_status("scale", 9)


def test_ovmsclient_predicts_over_rest(server: Server) -> None:
    client = ovmsclient.make_http_client(server.rest_address)
    outputs = client.predict({"x": X}, "scale", 3)
    assert outputs["y"].tolist() == [[2, 4], [6, 8]]
    with pytest.raises(ModelNotFoundError, match=r"Specific\(scale, 4\)"):
        client.predict({"x": X}, "scale", 4)
    with pytest.raises(InvalidInputError, match="Missing named input: x"):
        client.predict({"z": X}, "scale", 3)


def test_ovmsclient_reads_metadata_and_status_over_rest(server: Server) -> None:
    client = ovmsclient.make_http_client(server.rest_address)
    # It knows OpenVINO's names of the keys and hands TensorFlow Serving's object through.
    signatures = client.get_model_metadata("scale", 3)["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert client.get_model_status("scale", 3) == {3: {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}


def test_version_0_is_a_version_and_not_the_newest_one(server: Server) -> None:
    # ovmsclient sends 0 where no version is given. That means the newest to OpenVINO, not to TensorFlow Serving.
    for client in (ovmsclient.make_grpc_client(server.address), ovmsclient.make_http_client(server.rest_address)):
        with pytest.raises(ModelNotFoundError, match=r"Specific\(scale, 0\)"):
            client.predict({"x": X}, "scale")


SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_the_standard_health_service_follows_what_is_served(tmp_path: Path) -> None:
    model = place(export_scale(tmp_path / "saved", 2.0), tmp_path / "models" / "scale", 1)
    with running(tmp_path / "models") as server, grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def health(service: str) -> int:
            return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

        assert health("") == SERVING
        assert health("tensorflow.serving.PredictionService") == SERVING
        assert refused(lambda: health("no.such.Service"))[0] == "NOT_FOUND"
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watched).status == SERVING
        model.rename(tmp_path / "gone")
        assert next(watched).status == NOT_SERVING
        eventually(lambda: health("tensorflow.serving.ModelService") == NOT_SERVING)


def test_a_stopping_server_says_so_before_it_refuses(tmp_path: Path) -> None:
    place(export_scale(tmp_path / "saved", 2.0), tmp_path / "models" / "scale", 1)
    with running(tmp_path / "models") as server, connected(server), grpc.insecure_channel(server.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watched).status == SERVING
        server.stop(grace=1.0)
        assert next(watched).status == NOT_SERVING
