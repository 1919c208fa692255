"""Classify, Regress and MultiInference over tf.Examples, by gRPC and REST. Messages and codes are TensorFlow Serving's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from curl import answered, refused_by_rest
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, prediction_log_pb2, regression_pb2
from toy_models import add_warm_up_logs, export_halves, export_scale, place
from toy_server import Stubs, batches, connected, refused, running

from serving.server.example_methods import CLASSIFY, REGRESS
from serving.server.limits import RequestLimits
from serving.server.rest_api.json_examples import read_examples
from serving.server.server import RestOptions, Server


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_halves(tmp_path_factory.mktemp("saved") / "halves")


@pytest.fixture(scope="module")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Model "halves", version 3; model "scale", whose signatures take no Examples; at most three rows a request."""
    folder = tmp_path_factory.mktemp("models")
    place(exported, folder / "halves", 3)
    place(export_scale(tmp_path_factory.mktemp("saved") / "scale", 2.0), folder / "scale", 1)
    limits = RequestLimits(max_rows=3, max_length=None, max_k=None, max_results=None, max_string_bytes=None)
    rest = RestOptions(0, 30.0, "/monitoring/prometheus/metrics")
    with running(folder, poll_seconds=0, rest=rest, limits=limits) as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server: Server) -> Iterator[Stubs]:
    with connected(server) as stubs:
        yield stubs


def example(x: float | None = None, name: str | None = None, count: int | None = None) -> tf.train.Example:
    made = tf.train.Example()
    if x is not None:
        made.features.feature["x"].float_list.value.append(x)
    if name is not None:
        made.features.feature["name"].bytes_list.value.append(name.encode())
    if count is not None:
        made.features.feature["count"].int64_list.value.append(count)
    return made


def examples(*given: tf.train.Example, context: tf.train.Example | None = None) -> input_pb2.Input:
    if context is None:
        return input_pb2.Input(example_list={"examples": given})
    return input_pb2.Input(example_list_with_context={"examples": given, "context": context})


def regression(signature: str, input_: input_pb2.Input, model: str = "halves") -> regression_pb2.RegressionRequest:
    return regression_pb2.RegressionRequest(model_spec={"name": model, "signature_name": signature}, input=input_)


def classification(
    signature: str, input_: input_pb2.Input, model: str = "halves"
) -> classification_pb2.ClassificationRequest:
    return classification_pb2.ClassificationRequest(
        model_spec={"name": model, "signature_name": signature}, input=input_
    )


def task(method: str, signature: str = "", model: str = "halves") -> inference_pb2.InferenceTask:
    return inference_pb2.InferenceTask(
        model_spec={"name": model, "signature_name": signature}, method_name=f"tensorflow/serving/{method}"
    )


TWO = examples(example(2.0, "a", 7), example(-4.0))


@pytest.mark.parametrize("signature", ["regress", "column", ""])
def test_regress_answers_one_number_an_example(stubs: Stubs, signature: str) -> None:
    response = stubs.prediction.Regress(regression(signature, TWO), timeout=30)
    assert [one.value for one in response.result.regressions] == [3.0, 0.0]
    assert response.model_spec.name == "halves"
    assert response.model_spec.signature_name == (signature or "serving_default")
    assert response.model_spec.version.value == 3


@pytest.mark.parametrize(
    ("signature", "rows"),
    [
        ("classify", [[("a", 3.0), ("7", 2.0)], [("", 0.0), ("0", -4.0)]]),
        ("labels", [[("a", 0.0), ("7", 0.0)], [("", 0.0), ("0", 0.0)]]),
        ("scores", [[("", 3.0), ("", 2.0)], [("", 0.0), ("", -4.0)]]),
    ],
)
def test_classify_answers_the_classes_of_each_example_with_labels_or_scores_or_both(stubs, signature, rows) -> None:
    response = stubs.prediction.Classify(classification(signature, TWO), timeout=30)
    found = [[(one.label, one.score) for one in row.classes] for row in response.result.classifications]
    assert found == rows
    assert (response.model_spec.signature_name, response.model_spec.version.value) == (signature, 3)


def test_the_features_of_the_context_belong_to_every_example(stubs: Stubs) -> None:
    shared = examples(example(count=1), example(count=2), context=example(x=2.0, name="shared"))
    response = stubs.prediction.Classify(classification("classify", shared), timeout=30)
    assert [[one.label for one in row.classes] for row in response.result.classifications] == [
        ["shared", "1"],
        ["shared", "2"],
    ]


def test_multi_inference_answers_every_task_from_one_call_of_the_model(server: Server, stubs: Stubs) -> None:
    request = inference_pb2.MultiInferenceRequest(tasks=[task("regress"), task("classify", "scores")], input=TWO)
    with server.models.servable("halves", None) as servable:
        before = servable._calls.cache_info()
        response = stubs.prediction.MultiInference(request, timeout=30)
        after = servable._calls.cache_info()
    assert (after.hits + after.misses) - (before.hits + before.misses) == 1
    one, two = response.results
    assert [result.value for result in one.regression_result.regressions] == [3.0, 0.0]
    assert [row.classes[0].score for row in two.classification_result.classifications] == [3.0, 0.0]
    assert [result.model_spec.signature_name for result in response.results] == ["serving_default", "scores"]
    assert [result.model_spec.version.value for result in response.results] == [3, 3]


def test_predict_takes_serialized_examples_as_it_always_did(stubs: Stubs) -> None:
    response = stubs.predict("halves", "regress", inputs=[example(2.0).SerializeToString()])
    assert tf.make_ndarray(response.outputs["outputs"]).tolist() == [3.0]


def test_requests_over_the_limit_of_rows_are_refused(stubs: Stubs) -> None:
    code, message = refused(lambda: stubs.prediction.Regress(regression("", examples(*[example(1.0)] * 4))))
    assert (code, message.endswith("has 4 rows; this server takes at most 3")) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (regression_pb2.RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (regression("", TWO, ""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (regression("", TWO, "no"), "NOT_FOUND", "Servable not found for request: Latest(no)"),
        (regression("no", TWO), "INVALID_ARGUMENT", "No signature was found with the name: no"),
        (regression("", TWO, "scale"), "INVALID_ARGUMENT", "Expected one output Tensor."),
        (regression("echo", TWO, "scale"), "INVALID_ARGUMENT", "Expected one input Tensor."),
        (regression("slow", TWO, "scale"), "INVALID_ARGUMENT", "No regression inputs found in SignatureDef: inputs"),
        (regression("labels", TWO), "INVALID_ARGUMENT", "No regression outputs found in SignatureDef: inputs"),
        (regression("classify", TWO), "INVALID_ARGUMENT", "Expected one output Tensor."),
        (regression("", input_pb2.Input()), "INVALID_ARGUMENT", "Input is empty."),
        (regression("", examples()), "INVALID_ARGUMENT", "Input is empty."),
        (regression("", examples(context=example(2.0))), "INVALID_ARGUMENT", "Input is empty."),
        (
            regression("wide", TWO),
            "INVALID_ARGUMENT",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (regression("whole", TWO), "INVALID_ARGUMENT", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        (
            regression("first", TWO),
            "INVALID_ARGUMENT",
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
        (classification_pb2.ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (classification("no", TWO), "INVALID_ARGUMENT", "No signature was found with the name: no"),
        (
            classification("", TWO, "scale"),
            "INVALID_ARGUMENT",
            "Expected one or two output Tensors, found 3",
        ),
        (
            classification("scalar", TWO, "scale"),
            "INVALID_ARGUMENT",
            "No classification inputs found in SignatureDef: inputs",
        ),
        (
            classification("regress", TWO),
            "INVALID_ARGUMENT",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was',
        ),
        (
            classification("flat", TWO),
            "INVALID_ARGUMENT",
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            classification("uneven", TWO),
            "INVALID_ARGUMENT",
            "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
        ),
        (classification("broken", TWO), "FAILED_PRECONDITION", "the class label b'a\\xff' is not UTF-8"),
        (inference_pb2.MultiInferenceRequest(input=TWO), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            inference_pb2.MultiInferenceRequest(tasks=[task("regress", "no")], input=TWO),
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: no",
        ),
        (
            inference_pb2.MultiInferenceRequest(tasks=[task("predict")], input=TWO),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            inference_pb2.MultiInferenceRequest(tasks=[task("regress"), task("regress", "serving_default")], input=TWO),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            inference_pb2.MultiInferenceRequest(tasks=[task("regress"), task("regress", "", "scale")], input=TWO),
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            inference_pb2.MultiInferenceRequest(tasks=[task("regress"), task("regress", "wide", "")], input=TWO),
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
    ],
)
def test_a_wrong_request_gets_tensorflow_serving_s_status(stubs, request_, code, message) -> None:
    calls = {
        regression_pb2.RegressionRequest: stubs.prediction.Regress,
        classification_pb2.ClassificationRequest: stubs.prediction.Classify,
        inference_pb2.MultiInferenceRequest: stubs.prediction.MultiInference,
    }
    found, words = refused(lambda: calls[type(request_)](request_, timeout=30))
    assert (found, words[: len(message)]) == (code, message)


def test_examples_that_the_graph_cannot_parse_are_the_status_of_the_call(stubs: Stubs) -> None:
    code, message = refused(lambda: stubs.prediction.Regress(regression("", examples(example(name="no x")))))
    assert (code, "x (data type: float) is required" in message) == ("INVALID_ARGUMENT", True)


def test_rest_answers_the_same_numbers(server: Server) -> None:
    asked: dict[str, Any] = {"examples": [{"x": 2.0, "name": "a", "count": 7}, {"x": [-4.0], "name": []}]}
    assert answered(server, "/v1/models/halves:regress", data=asked) == {"results": [3.0, 0.0]}
    assert answered(server, "/v1/models/halves/versions/3:regress", data=asked) == {"results": [3.0, 0.0]}
    asked["signature_name"] = "classify"
    assert answered(server, "/v1/models/halves:classify", data=asked) == {
        "results": [[["a", 3.0], ["7", 2.0]], [["", 0.0], ["0", -4.0]]]
    }
    asked = {
        "context": {"x": 0.2},
        "examples": [{"name": {"b64": "YQ=="}, "count": True}],
        "signature_name": "classify",
    }
    assert answered(server, "/v1/models/halves:Classify", data=asked) == {"results": [[["a", 2.1], ["1", 0.2]]]}


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        ({"examples": [{"x": 2}]}, 400, "but expected type: float"),
        ({"examples": [{}]}, 400, "is required but could not be found"),
        ({"examples": [{"x": [1.0, "a"]}]}, 400, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, 1.5]}]}, 400, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": None}]}, 400, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0]]}]}, 400, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"a": 1}}]}, 400, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": {"b64": "?"}}]}, 400, "Unable to base64 decode"),
        ({"examples": [{"x": 2**63}]}, 400, "Feature: x has uint64_t element. Only int64_t is supported."),
        ({"examples": {"x": 1.0}}, 400, "Expecting 'examples' value to be an list/array"),
        ({"context": [1], "examples": [{"x": 1.0}]}, 400, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": 1.0}], "signature_name": "no"}, 400, "No signature was found with the name: no"),
    ],
)
def test_rest_refuses_what_is_no_example(server: Server, data: Any, status: int, message: str) -> None:
    found, words = refused_by_rest(server, "/v1/models/halves:regress", data=data)
    assert (found, message in words) == (status, True), words


def test_json_values_become_the_features_that_tensorflow_serving_makes_of_them() -> None:
    read = read_examples(
        {"examples": [{"i": [1, True, -(2**63)], "f": [0.5, 1e39], "b": ["é", "\ud800"], "big": 2**70}]}
    )
    (made,) = read.example_list.examples
    feature = made.features.feature
    assert list(feature["i"].int64_list.value) == [1, 1, -(2**63)]
    assert list(feature["f"].float_list.value) == [0.5, float("inf")]
    assert list(feature["b"].bytes_list.value) == ["é".encode(), b"?"]
    assert list(feature["big"].float_list.value) == [2.0**70]


def test_requests_of_several_clients_share_a_batch(exported: Path, tmp_path: Path) -> None:
    """Four rows fill a batch; a wrong Example fails alone."""
    place(exported, tmp_path / "halves", 1)
    with running(tmp_path, batching=batches()) as server, connected(server) as stubs:
        requests = [regression("", TWO), regression("", examples(example(6.0))), regression("", examples(example()))]
        calls = [stubs.prediction.Regress.future(request, timeout=30) for request in requests]
        answers = [[one.value for one in call.result().result.regressions] for call in calls[:2]]
        assert answers == [[3.0, 0.0], [5.0]]
        assert refused(calls[2].result)[0] == "INVALID_ARGUMENT"
        assert ":tensorflow:serving:batching_session:input_batch_size_count{} 3\n" in server.core.metrics.page()


def test_recorded_requests_of_every_kind_warm_a_version_up(exported: Path, tmp_path: Path) -> None:
    version = place(exported, tmp_path / "halves", 1)
    logs = [
        prediction_log_pb2.PredictionLog(regress_log={"request": regression("", TWO, "")}),
        prediction_log_pb2.PredictionLog(classify_log={"request": classification("scores", TWO)}),
        prediction_log_pb2.PredictionLog(
            multi_inference_log={"request": {"tasks": [task("regress"), task("classify", "labels")], "input": TWO}}
        ),
    ]
    add_warm_up_logs(version, logs)
    with running(tmp_path) as server, server.models.servable("halves", None) as servable:
        assert servable._calls.cache_info().currsize == 3


def test_the_methods_have_the_names_of_the_protocol() -> None:
    assert (CLASSIFY, REGRESS) == ("tensorflow/serving/classify", "tensorflow/serving/regress")
