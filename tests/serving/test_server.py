"""Predict of the embedded server, called with the stubs of tensorflow-serving-api over real sockets."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    model_pb2,
    predict_pb2,
)
from toy_models import describe_as_ours, export_scale, export_shop, place
from toy_server import MEGABYTE, Stubs, X, connected, floats, predict_request, refused, running


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


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    """Model "shop", with the description of our exports."""
    folder = tmp_path_factory.mktemp("ours")
    place(describe_as_ours(export_shop(tmp_path_factory.mktemp("saved") / "shop")), folder / "shop", 1)
    with running(folder, poll_seconds=0) as server, connected(server) as stubs:
        yield stubs


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
    proto = tensor_pb2.TensorProto(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_request("other", x=X), "NOT_FOUND", "Servable not found for request: Latest(other)"),
        (predict_request("scale", "", 7, x=X), "NOT_FOUND", "Servable not found for request: Specific(scale, 7)"),
        (predict_request("scale", "nope", x=X), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            predict_request("scale", "__saved_model_init_op"),
            "INVALID_ARGUMENT",
            'the signature names "NoOp", which is no tensor of the graph',
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


def test_types_and_shapes_of_a_model_without_our_contract_are_left_to_its_graph(served):
    """The signature says [?, 2]; the graph multiplies whatever it gets, as it does in TensorFlow Serving."""
    assert tf.make_ndarray(served.predict("scale", x=floats([1, 2, 3])).outputs["y"]).tolist() == [[2, 4, 6]]
    assert tf.make_ndarray(served.predict("scale", x=np.ones(3, np.float32)).outputs["y"]).tolist() == [2, 2, 2]
    for dtype, name in ((np.int64, "int64"), (np.float64, "double"), (np.bool_, "bool"), (np.str_, "string")):
        wrong = np.array([[1, 2]], dtype)
        assert refused(lambda wrong=wrong: served.predict("scale", x=wrong)) == (
            "INVALID_ARGUMENT",
            f"Expects arg[0] to be float but {name} is provided",
        )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"query": [b"a"], "k": np.int64(1)}, 'Expects input "k" to be int32 but int64 is provided'),
        ({"query": [[b"a"]], "k": np.int32(1)}, 'Expects input "query" to be of shape [?] but [1,1] is provided'),
        ({"query": b"a", "k": np.int32(1)}, 'Expects input "query" to be of shape [?] but [] is provided'),
    ],
)
def test_types_and_shapes_of_our_exports_are_checked_and_the_input_named(described, inputs, message):
    assert refused(lambda: described.predict("shop", "search", **inputs)) == ("INVALID_ARGUMENT", message)


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
