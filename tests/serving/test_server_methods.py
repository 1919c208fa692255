"""The embedded server's methods other than Predict: metadata and status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2
from toy_models import export_scale, place
from toy_server import Stubs, connected, refused, running


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0)


@pytest.fixture(scope="module")
def served(doubling: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """Model "scale", version 3, doubles."""
    folder = tmp_path_factory.mktemp("models")
    place(doubling, folder / "scale", 3)
    with running(folder, poll_seconds=0) as server, connected(server) as stubs:
        yield stubs


def test_metadata_is_the_saved_model_s_own(served, doubling):
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec={"name": "scale"}, metadata_field=["signature_def"]
    )
    response = served.prediction.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = tf.compat.v1.saved_model.load(session, ["serve"], str(doubling)).signature_def
    assert dict(found.signature_def) == dict(expected)
    assert response.model_spec.name == "scale"
    assert response.model_spec.version.value == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["assets"], "Metadata field assets is not supported"),
    ],
)
def test_metadata_of_anything_else_is_refused(served, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": "scale"}, metadata_field=fields)
    assert refused(lambda: served.prediction.GetModelMetadata(request)) == ("INVALID_ARGUMENT", message)


def test_status_tells_that_the_version_is_available(served):
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "scale"})
    (status,) = served.model.GetModelStatus(request).model_version_status
    assert (status.version, status.state) == (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert status.status.error_code == 0


def test_status_of_what_was_never_seen_is_not_found(served):
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "other"})
    assert refused(lambda: served.model.GetModelStatus(request)) == (
        "NOT_FOUND",
        "Could not find any versions of model other",
    )
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "scale", "version": {"value": 4}})
    assert refused(lambda: served.model.GetModelStatus(request)) == (
        "NOT_FOUND",
        "Could not find version 4 of model scale",
    )
