"""The embedded server, driven by the stubs of tensorflow-serving-api over real sockets."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from toy_models import add_warm_up, export_scale, place

from serving import models
from serving.errors import StartError
from serving.models import ModelManager, State
from serving.server import Server, serve

REPO = Path(__file__).resolve().parent.parent
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0)


@pytest.fixture(scope="module")
def tripling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "tripling", 3.0)


@contextmanager
def running(folder: Path, reports: list[str] | None = None, poll_seconds: float = 0.05) -> Iterator[Server]:
    report = (lambda line: None) if reports is None else reports.append
    with Server(
        models.folder(folder),
        host=None,
        port=0,
        poll_seconds=poll_seconds,
        threads=8,
        max_message_bytes=4 * MEGABYTE,
        grace=10.0,
        report=report,
    ) as server:
        yield server


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


@pytest.fixture(scope="module")
def served(doubling: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """Model "scale", version 3, doubles."""
    folder = tmp_path_factory.mktemp("models")
    place(doubling, folder / "scale", 3)
    with running(folder, poll_seconds=0) as server, connected(server) as stubs:
        yield stubs


def predict_request(name: str, signature: str = "", version: int | None = None, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for alias, value in inputs.items():
        proto = value if isinstance(value, tf.make_tensor_proto(0).__class__) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.02)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


# --- Predict


def test_predict_answers_with_the_model_s_outputs_and_the_version_that_computed_them(served):
    response = served.predict("scale", x=floats([1, 2], [3, 4]))
    assert response.model_spec == model_pb2.ModelSpec(
        name="scale", signature_name="serving_default", version=wrappers_pb2.Int64Value(value=3)
    )
    assert set(response.outputs) == {"y", "factor", "rows"}
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [[2, 4], [6, 8]]
    assert tf.make_ndarray(response.outputs["rows"]).tolist() == 2


def test_numbers_come_in_the_typed_fields_where_client_code_looks(served):
    response = served.predict("scale", x=floats([1, 2]))
    assert list(response.outputs["y"].float_val) == [2, 4]
    assert list(response.outputs["rows"].int_val) == [1]


def test_strings_tables_and_named_signatures_work(served):
    response = served.predict("scale", "echo", word=[b"a", b"\xff\x00", b"b"], shout=True)
    assert tf.make_ndarray(response.outputs["word"]).tolist() == [b"a!", b"\xff\x00!", b"b!"]
    assert tf.make_ndarray(response.outputs["id"]).tolist() == [1, -1, 2]
    assert response.model_spec.signature_name == "echo"


def test_a_string_of_rank_0_keeps_every_byte(served):
    response = served.predict("scale", "scalar", text=b"\x00\xff\x00\x00")
    assert tf.make_ndarray(response.outputs["text"]).tolist() == b"\x00\xff\x00\x00"
    assert tf.make_ndarray(response.outputs["length"]).tolist() == 4


def test_output_filter_returns_only_what_it_names(served):
    request = predict_request("scale", x=floats([1, 2]))
    request.output_filter[:] = ["factor"]
    assert set(served.prediction.Predict(request).outputs) == {"factor"}


def test_an_empty_batch_is_a_batch(served):
    response = served.predict("scale", x=np.empty((0, 2), np.float32))
    assert tf.make_ndarray(response.outputs["y"]).shape == (0, 2)


def with_filter(*names: str) -> Any:
    request = predict_request("scale", x=floats([1, 2]))
    request.output_filter[:] = names
    return request


def with_label() -> Any:
    request = predict_request("scale", x=floats([1, 2]))
    request.model_spec.version_label = "stable"
    return request


def shaped(*sizes: int, **fields: Any) -> Any:
    proto = tf.make_tensor_proto(0).__class__(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


X = floats([1, 2])


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_request("other", x=X), "NOT_FOUND", "Servable not found for request: Latest(other)"),
        (predict_request("scale", "", 7, x=X), "NOT_FOUND", "Servable not found for request: Specific(scale, 7)"),
        (predict_request("scale", "nope", x=X), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            predict_request("scale", "__saved_model_init_op"),
            "INTERNAL",
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            "tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
        ),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict_request("", x=X), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (with_label(), "INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
        (
            predict_request("scale"),
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            predict_request("scale", z=X, x=X),
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            predict_request("scale", x=np.array([[1, 2]], np.int64)),
            "INVALID_ARGUMENT",
            'Expects input "x" to be float but int64 is provided',
        ),
        (
            predict_request("scale", x=floats([1, 2, 3])),
            "INVALID_ARGUMENT",
            'Expects input "x" to be of shape [?,2] but [1,3] is provided',
        ),
        (
            predict_request("scale", x=np.float32(1)),
            "INVALID_ARGUMENT",
            'Expects input "x" to be of shape [?,2] but [] is provided',
        ),
        (
            with_filter("y", "nope"),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nope Outputs expected to be in the set {factor,rows,y}.",
        ),
        (with_filter("y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        (
            predict_request("scale", x=shaped(1, 2, dtype=1, tensor_content=b"123")),
            "INVALID_ARGUMENT",
            "tensor parsing error: x (3 bytes of content for shape [1, 2] of float)",
        ),
        (
            predict_request("scale", x=shaped(2**40, 2, dtype=1, float_val=[1])),
            "INVALID_ARGUMENT",
            f"tensor parsing error: x (1 values for shape [{2**40}, 2]: filled up, it would exceed {1 << 22} bytes)",
        ),
        (
            predict_request("scale", x=shaped(-1, 2, dtype=1)),
            "INVALID_ARGUMENT",
            "tensor parsing error: x (shape [-1, 2] has a negative size)",
        ),
    ],
)
def test_a_wrong_request_gets_tensorflow_serving_s_status(served, request_, code, message):
    assert refused(lambda: served.prediction.Predict(request_)) == (code, message)


def test_what_the_graph_refuses_is_the_status_of_the_call(served):
    code, message = refused(lambda: served.predict("scale", "strict", size=np.array([1, 0], np.int32)))
    assert code == "INVALID_ARGUMENT"
    assert "size must be positive" in message


def test_long_messages_are_cut_where_tensorflow_serving_cuts_them(served):
    code, message = refused(lambda: served.predict("scale", **{"x" * 3000: X}))
    assert code == "INVALID_ARGUMENT"
    assert len(message) == 1024 + len("...TRUNCATED")
    assert message.endswith("...TRUNCATED")


def test_the_server_lives_on_after_bytes_that_are_no_request(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for garbage in (b"\xff\xff\xff", b"\x0a\x05abc", b"\x12\x06\x0a\x02\xff\xfe\x12\x00"):
            assert refused(functools.partial(raw, garbage))[0] == "INTERNAL"
        too_large = predict_request("scale", x=np.zeros((MEGABYTE, 2), np.float32)).SerializeToString()
        assert refused(lambda: raw(too_large))[0] == "RESOURCE_EXHAUSTED"
        assert tf.make_ndarray(Stubs(channel).predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]


def test_messages_up_to_the_limit_pass_both_ways(served):
    rows = 4 * MEGABYTE // 8 - 100
    request = predict_request("scale", x=np.ones((rows, 2), np.float32))
    request.output_filter[:] = ["y"]
    assert tf.make_ndarray(served.prediction.Predict(request, timeout=30).outputs["y"]).sum() == 4 * rows


# --- the other methods


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


WAS = "Was: tensorflow/serving/predict"


def test_classify_and_regress_refuse_a_prediction_signature(served):
    request = classification_pb2.ClassificationRequest(model_spec={"name": "scale"})
    assert refused(lambda: served.prediction.Classify(request)) == (
        "INVALID_ARGUMENT",
        f"Expected classification signature method_name to be tensorflow/serving/classify. {WAS}",
    )
    request = regression_pb2.RegressionRequest(model_spec={"name": "scale"})
    assert refused(lambda: served.prediction.Regress(request)) == (
        "INVALID_ARGUMENT",
        f"Expected regression signature method_name to be tensorflow/serving/regress. {WAS}",
    )
    request.model_spec.signature_name = "nope"
    assert refused(lambda: served.prediction.Regress(request)) == (
        "INVALID_ARGUMENT",
        "No signature was found with the name: nope",
    )


@pytest.mark.parametrize(
    ("task", "code", "message"),
    [
        ({}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"model_spec": {"name": "other"}}, "NOT_FOUND", "Servable not found for request: Latest(other)"),
        (
            {"model_spec": {"name": "scale"}, "method_name": "tensorflow/serving/predict"},
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            {"model_spec": {"name": "scale"}, "method_name": "tensorflow/serving/regress"},
            "INVALID_ARGUMENT",
            f"Expected regression signature method_name to be tensorflow/serving/regress. {WAS}",
        ),
        (
            {"model_spec": {"name": "scale", "signature_name": "nope"}},
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: nope",
        ),
    ],
)
def test_multi_inference_refuses_prediction_signatures(served, task, code, message):
    request = inference_pb2.MultiInferenceRequest(tasks=[task])
    assert refused(lambda: served.prediction.MultiInference(request)) == (code, message)


def test_reloading_a_configuration_is_not_implemented(served):
    call = served.model.HandleReloadConfigRequest
    assert refused(lambda: call(model_management_pb2.ReloadConfigRequest()))[0] == "UNIMPLEMENTED"


# --- versions


def test_the_newest_version_is_served_and_folders_of_other_names_are_not(doubling, tripling, tmp_path):
    place(tripling, tmp_path / "scale", 10)
    place(doubling, tmp_path / "scale", 9)
    place(doubling, tmp_path / "scale", 11).rename(tmp_path / "scale" / "11.tmp")
    (tmp_path / "notes").mkdir()
    with running(tmp_path) as server, connected(server) as stubs:
        assert server.models.available() == [("scale", 10)]
        assert server.describe() == [f"scale  version 10  {server.address}"]
        assert refused(lambda: stubs.predict("scale", "", 9, x=X))[0] == "NOT_FOUND"
        assert tf.make_ndarray(stubs.predict("scale", "", 10, x=X).outputs["y"]).tolist() == [[3, 6]]


def test_a_model_s_own_folder_may_be_given_and_models_may_come_later(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "first", 1)
    with running(tmp_path / "first") as server:
        assert server.models.available() == [("first", 1)]
    with running(tmp_path) as server, connected(server) as stubs:
        place(tripling, tmp_path / "second", 1)
        eventually(lambda: ("second", 1) in server.models.available())
        assert tf.make_ndarray(stubs.predict("second", x=X).outputs["y"]).tolist() == [[3, 6]]
        assert tf.make_ndarray(stubs.predict("first", x=X).outputs["y"]).tolist() == [[2, 4]]


def test_a_swap_under_load_fails_no_request_and_mixes_no_answer(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    wrong: list[Any] = []
    seen: set[int] = set()
    enough = threading.Event()

    def hammer(stubs: Stubs) -> None:
        while not enough.is_set():
            try:
                response = stubs.predict("scale", x=X)
            except grpc.RpcError as error:
                wrong.append(error)
                return
            version = response.model_spec.version.value
            seen.add(version)
            if tf.make_ndarray(response.outputs["y"]).tolist() != [[version + 1, 2 * (version + 1)]]:
                wrong.append(response)

    with running(tmp_path) as server, connected(server) as stubs:
        threads = [threading.Thread(target=hammer, args=(stubs,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: bool(seen))
        place(tripling, tmp_path / "scale", 2)
        eventually(lambda: 2 in seen)
        eventually(lambda: stubs.states("scale") == {2: State.AVAILABLE, 1: State.END})
        enough.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert seen == {1, 2}


def turns_for(stubs: Stubs, seconds: float) -> int:
    """How many turns of the slow signature take about that long here."""
    stubs.predict("scale", "slow", turns=np.int32(1))
    begin = time.monotonic()
    stubs.predict("scale", "slow", turns=np.int32(20))
    return max(1, int(seconds * 20 / (time.monotonic() - begin)))


def test_a_request_under_way_finishes_on_the_version_it_began_with(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, connected(server) as stubs:
        turns = np.int32(turns_for(stubs, 3.0))
        request = predict_request("scale", "slow", turns=turns)
        slow = stubs.prediction.Predict.future(request)
        eventually(lambda: server.models._models["scale"][1].users == 1)
        place(tripling, tmp_path / "scale", 2)
        eventually(lambda: ("scale", 2) in server.models.available())
        assert not slow.done()
        assert stubs.states("scale") == {2: State.AVAILABLE, 1: State.UNLOADING}
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[3, 6]]
        answer = slow.result(timeout=60)
        assert answer.model_spec.version.value == 1
        assert tf.make_ndarray(answer.outputs["factor"]) == 2.0
        eventually(lambda: stubs.states("scale")[1] == State.END)


def break_saved_model(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"not a model")


def break_variables(version: Path) -> None:
    next((version / "variables").glob("*.data-*")).write_bytes(b"")


def break_warm_up(version: Path) -> None:
    add_warm_up(version, [predict_request("scale", "strict", size=np.array([0], np.int32))])


def break_warm_up_file(version: Path) -> None:
    add_warm_up(version, [])
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a record file")


def break_warm_up_record(version: Path) -> None:
    add_warm_up(version, [])
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(b"\xff")


def record_another_kind(version: Path) -> None:
    add_warm_up(version, [])
    log = prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog())
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (break_saved_model, "Cannot parse"),
        (break_variables, "Read less bytes than requested"),
        (break_warm_up, "size must be positive"),
        (break_warm_up_record, "Failed to parse warmup record"),
        (record_another_kind, "Unsupported log_type for warmup: regress_log"),
        (break_warm_up_file, "verify your warmup data is in TFRecord format"),
    ],
)
def test_a_broken_new_version_leaves_the_old_one_serving_and_says_why(doubling, tripling, tmp_path, damage, why):
    place(doubling, tmp_path / "scale", 1)
    reports: list[str] = []
    with running(tmp_path, reports) as server, connected(server) as stubs:
        broken = place(tripling, tmp_path, 2)
        damage(broken)
        broken.rename(tmp_path / "scale" / "2")
        eventually(lambda: stubs.states("scale").get(2) == State.END)
        assert stubs.states("scale")[1] == State.AVAILABLE
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "scale", "version": {"value": 2}})
        (status,) = stubs.model.GetModelStatus(request).model_version_status
        assert status.status.error_code != 0
        assert why in status.status.error_message
        time.sleep(0.3)  # several polls
        (line,) = [line for line in reports if line.startswith("scale version 2 cannot be served: ")]
        assert why in line


def test_a_broken_version_is_tried_again_once_its_files_change(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    good = (tripling / "saved_model.pb").read_bytes()
    with running(tmp_path) as server, connected(server) as stubs:
        half = place(tripling, tmp_path, 2)
        break_saved_model(half)
        half.rename(tmp_path / "scale" / "2")
        eventually(lambda: stubs.states("scale").get(2) == State.END)
        (tmp_path / "scale" / "2" / "saved_model.pb").write_bytes(good)
        eventually(lambda: ("scale", 2) in server.models.available())
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[3, 6]]


def test_removing_the_newest_version_goes_back_to_the_one_before(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    newest = place(tripling, tmp_path / "scale", 2)
    with running(tmp_path) as server, connected(server) as stubs:
        newest.rename(tmp_path / "gone")
        eventually(lambda: server.models.available() == [("scale", 1)])
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        (tmp_path / "scale").rename(tmp_path / "gone" / "scale")
        eventually(lambda: server.models.available() == [])
        assert refused(lambda: stubs.predict("scale", x=X)) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(scale)",
        )


def test_a_folder_that_is_out_of_reach_changes_nothing(doubling, tmp_path):
    folder = tmp_path / "models"
    place(doubling, folder / "scale", 1)
    reports: list[str] = []
    with running(folder, reports) as server:
        folder.rename(tmp_path / "elsewhere")
        eventually(lambda: any("cannot look for models" in line for line in reports))
        time.sleep(0.3)  # several polls
        assert server.models.available() == [("scale", 1)]
        assert sum("cannot look for models" in line for line in reports) == 1


def test_warm_up_requests_run_before_the_version_is_available(doubling, tmp_path):
    version = place(doubling, tmp_path / "scale", 1)
    add_warm_up(version, [predict_request("any", x=X), predict_request("any", "echo", word=["a"], shout=True)])
    with running(tmp_path) as server, server.models.servable("scale", None) as servable:
        # One prepared call per signature that the requests named.
        assert servable._callable.cache_info().currsize == 2


def test_more_warm_up_requests_than_tensorflow_serving_takes_are_an_error(doubling, tmp_path):
    version = place(doubling, tmp_path / "scale", 1)
    add_warm_up(version, [predict_request("any", x=X)] * 1001)
    with running(tmp_path) as server:
        (status,) = server.models.statuses("scale")
        assert status.error is not None
        assert "exceeds the maximum (1000)" in status.error.message


# --- start and stop


def test_the_server_listens_on_the_loopback_unless_a_host_is_given(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.address)
        assert server.address.endswith(f":{server.port}")


def server_at(folder: Path, port: int) -> Server:
    return Server(
        models.folder(folder), host=None, port=port, poll_seconds=0, threads=1, max_message_bytes=MEGABYTE, grace=0.0,
        report=lambda line: None,
    )  # fmt: skip


def test_a_taken_port_and_a_missing_folder_are_one_line_with_the_remedy(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, pytest.raises(StartError, match=rf"listen at 127.0.0.1:{server.port}.*--port"):
        server_at(tmp_path, server.port).start()
    with pytest.raises(StartError, match=r"no-such-folder.*--models"):
        server_at(tmp_path / "no-such-folder", 0).start()


def test_a_request_that_comes_while_models_load_waits_for_them(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    loading = threading.Event()

    def slow_source() -> Sequence[models.ModelConfig]:
        assert loading.wait(30)
        return models.folder(tmp_path)()

    server = Server(
        slow_source,
        host=None,
        port=0,
        poll_seconds=0,
        threads=2,
        max_message_bytes=MEGABYTE,
        grace=1.0,
        report=lambda line: None,
    )
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        eventually(lambda: server.port != 0)
        with connected(server) as stubs:
            early = stubs.prediction.Predict.future(predict_request("scale", x=X), timeout=30)
            time.sleep(0.5)
            assert not early.done()
            loading.set()
            assert tf.make_ndarray(early.result().outputs["y"]).tolist() == [[2, 4]]
    finally:
        loading.set()
        starting.join()
        server.stop()


def test_serving_a_folder_without_a_model_is_an_error_that_says_what_to_do(tmp_path):

    def start() -> None:
        serve(tmp_path, host=None, port=0, poll_seconds=0, threads=1, max_message_bytes=MEGABYTE, grace=0.0, echo=print)

    with pytest.raises(StartError, match=r"nothing to serve .*triptych export"):
        start()
    (tmp_path / "scale" / "1").mkdir(parents=True)
    with pytest.raises(StartError, match=r"nothing to serve \(scale  version 1  not served: .*saved_model"):
        start()


def test_stopping_lets_a_request_under_way_finish_and_refuses_new_ones(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, connected(server) as stubs:
        slow = stubs.prediction.Predict.future(predict_request("scale", "slow", turns=np.int32(turns_for(stubs, 1.5))))
        eventually(lambda: server.models._models["scale"][1].users == 1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        eventually(lambda: not slow.done() and refused(lambda: stubs.predict("scale", x=X))[0] == "UNAVAILABLE")
        assert tf.make_ndarray(slow.result(timeout=60).outputs["factor"]) == 2.0
        stopping.join(timeout=60)
        assert server.models.available() == []


SERVE = """
import functools, sys
from pathlib import Path
from serving.server import serve
serve(Path(sys.argv[1]), host=None, port=0, poll_seconds=0.05, threads=2, max_message_bytes=1 << 20, grace=10.0,
      echo=functools.partial(print, flush=True))
names = {name.split(".")[0] for name in sys.modules}
print("imported:", sorted(names & {"tensorflow_recommenders", "keras_nlp", "towers", "pipelines", "tensorflow_io"}))
"""


def test_the_process_announces_its_models_and_drains_on_sigterm(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=REPO,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"scale  version 1  (127\.0\.0\.1:\d+)\n", line)
        assert found, line
        with grpc.insecure_channel(found[1]) as channel:
            assert tf.make_ndarray(Stubs(channel).predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        place(tripling, tmp_path / "scale", 2)
        assert re.fullmatch(r"scale version 2 is served \(loaded in [\d.]+ s\)\n", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert output.splitlines()[-2:] == ["scale version 2 is no longer served", "imported: []"]


def test_serve_returns_on_sigint_and_gives_the_signals_back(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    before = signal.getsignal(signal.SIGINT)
    lines: list[str] = []

    def interrupt_after_the_first(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    serve(
        tmp_path,
        host=None,
        port=0,
        poll_seconds=0,
        threads=1,
        max_message_bytes=MEGABYTE,
        grace=1.0,
        echo=interrupt_after_the_first,
    )
    assert [line.split("  127")[0] for line in lines] == [
        "scale  version 1",
        "stopping: requests under way may finish",
        "scale version 1 is no longer served",
    ]
    assert signal.getsignal(signal.SIGINT) is before


# --- the manager alone


def test_the_manager_needs_no_grpc(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    manager = ModelManager(models.folder(tmp_path), poll_seconds=0, report=lambda line: None)
    manager.start()
    with manager.servable("scale", None) as servable:
        signature = servable.signatures["serving_default"]
        assert servable.run(signature, {"x": X}, ["y"])["y"].tolist() == [[2, 4]]
    manager.stop()
    assert [status.state for status in manager.statuses("scale")] == [State.END]
    with pytest.raises(tf.errors.NotFoundError, match=r"Latest\(scale\)"), manager.servable("scale", None):
        pass
