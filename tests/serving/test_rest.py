"""The REST API of the embedded server, called with curl. Messages and codes are TensorFlow Serving's."""

from __future__ import annotations

import gzip
import http.client
import json
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from curl import answered, curl, refused_by_rest
from toy_models import export_scale, export_shop, place
from toy_server import connected, eventually, running, turns_for

from serving.server.server import RestOptions, Server
from serving.wire.errors import StartError

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

PREDICT = "/v1/models/scale:predict"
METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Model "scale", version 3, doubles; model "shop", version 1; bodies of at most 100,000 bytes."""
    saved, folder = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("models")
    place(export_scale(saved / "doubling", 2.0), folder / "scale", 3)
    place(export_shop(saved / "shop"), folder / "shop", 1)
    rest = RestOptions(port=0, timeout=2.0, prometheus_path=METRICS)
    with running(folder, poll_seconds=0, rest=rest, max_message_bytes=100_000) as server:
        yield server


def test_status_of_a_model_and_of_a_version(server: Server) -> None:
    expected = {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert answered(server, "/v1/models/scale") == expected
    assert answered(server, "/v1/models/scale/versions/3") == expected
    assert answered(server, "/V1/Models/scale") == expected
    assert refused_by_rest(server, "/v1/models/scale/versions/4") == (404, "Could not find version 4 of model scale")
    assert refused_by_rest(server, "/v1/models/no") == (404, "Could not find any versions of model no")


def test_metadata_names_inputs_and_outputs(server: Server) -> None:
    document = answered(server, "/v1/models/scale/metadata")
    assert document["model_spec"] == {"name": "scale", "version": "3", "signature_name": ""}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    x = signature["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert x["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }
    assert answered(server, "/v1/models/scale/versions/3/metadata") == document


def test_columnar_format_with_one_input_takes_the_bare_value_and_answers_by_name(server: Server) -> None:
    expected = {"outputs": {"factor": 2.0, "rows": 2, "y": [[2.0, 4.0], [6.0, 8.0]]}}
    assert answered(server, PREDICT, data={"inputs": [[1, 2], [3, 4]]}) == expected
    assert answered(server, PREDICT, data={"inputs": {"x": [[1, 2], [3, 4]]}}) == expected
    assert answered(server, "/v1/models/scale/versions/3:predict", data={"inputs": [[1, 2], [3, 4]]}) == expected


def test_both_formats_of_the_contract_have_a_k_for_each_row(server: Server) -> None:
    asked = {"signature_name": "search", "inputs": {"query": ["c", "a"], "k": [1, 2]}}
    assert answered(server, "/v1/models/shop:predict", data=asked) == {
        "outputs": {"ids": [["c", ""], ["a", "b"]], "scores": [[1.0, -math.inf], [1.0, 0.0]]}
    }
    asked = {"signature_name": "search", "instances": [{"query": "c", "k": 1}, {"query": "a", "k": 2}]}
    assert answered(server, "/v1/models/shop:predict", data=asked) == {
        "predictions": [{"ids": ["c", ""], "scores": [1.0, -math.inf]}, {"ids": ["a", "b"], "scores": [1.0, 0.0]}]
    }


def test_shapes_of_a_model_without_our_contract_are_left_to_its_graph(server: Server) -> None:
    assert answered(server, PREDICT, data={"inputs": [[1, 2, 3]]})["outputs"]["y"] == [[2.0, 4.0, 6.0]]


def test_row_format_answers_row_by_row(server: Server) -> None:
    rows = [{"text": "abc", "image": {"b64": "AP8A"}, "timbre": [1, 2, 3.5], "genres": ["x", ""]}] * 2
    asked = {"signature_name": "embed_items", "instances": rows}
    # The length of the text, three bytes of image, the sum of the vector, one genre.
    row = {"embedding": [3.0, 3.0, 6.5, 1.0], "modality_weights": [0.25] * 4}
    assert answered(server, "/v1/models/shop:predict", data=asked) == {"predictions": [row, row]}


def test_row_format_with_one_output_answers_bare_values(server: Server) -> None:
    asked = {"signature_name": "strict", "instances": [3, 5]}
    assert answered(server, PREDICT, data=asked) == {"predictions": [3, 5]}


def test_row_format_needs_rows_in_every_output(server: Server) -> None:
    message = "Tensor name: factor has no shape information "
    assert refused_by_rest(server, PREDICT, data={"instances": [[1, 2]]}) == (400, message)


def test_strings_bytes_and_characters_pass(server: Server) -> None:
    asked = {"signature_name": "echo", "inputs": {"word": ["a", {"b64": "Yg=="}, {"b64": "Yg"}, "é"], "shout": True}}
    assert answered(server, PREDICT, data=asked) == {"outputs": {"id": [1, 2, 2, -1], "word": ["a!", "b!", "b!", "é!"]}}


def test_numbers_come_as_short_as_their_type_allows_and_may_be_nan_or_infinite(server: Server) -> None:
    status, body = curl(server, PREDICT, data='{"inputs": [[0.1, 1e-8], [NaN, -Infinity]]}')
    assert status == 200
    assert "[[0.2, 2e-08], [NaN, -Infinity]]" in body


@pytest.mark.parametrize(
    ("path", "data", "status", "message"),
    [
        (PREDICT, "", 400, "JSON Parse error: The document is empty"),
        (PREDICT, "{", 400, "JSON Parse error: Expecting property name enclosed in double quotes at offset: 1"),
        (PREDICT, "[1]", 400, "JSON Value: [1] Is not object"),
        (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        (PREDICT, {"signature_name": "no"}, 400, 'Serving signature name: "no" not found in signature def'),
        (
            PREDICT,
            {"signature_name": 1},
            400,
            "JSON Value: {\"signature_name\": 1} not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            PREDICT,
            {"inputs": [["x", 1]]},
            400,
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        (
            PREDICT,
            {"instances": [[1, 2], [1]]},
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 "
            "but got: 1",
        ),
        (PREDICT, {"inputs": {"z": [[1, 2]]}}, 400, "Missing named input: x in 'inputs' object."),
        ("/v1/models/no:predict", {"inputs": [[1, 2]]}, 404, "Servable not found for request: Latest(no)"),
        (
            "/v1/models/scale/versions/7:predict",
            {"inputs": [[1, 2]]},
            404,
            "Servable not found for request: Specific(scale, 7)",
        ),
        (
            "/v1/models/scale/labels/stable:predict",
            {"inputs": [[1, 2]]},
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            f"/v1/models/scale/versions/{2**63}:predict",
            {"inputs": [[1, 2]]},
            400,
            f"Failed to convert version: {2**63} to numeric.",
        ),
        (
            "/v1/models/scale:classify",
            {"instances": [1]},
            400,
            "JSON Value: {\"instances\": [1]} When method is classify, key 'examples' is expected and was not found",
        ),
        (
            "/v1/models/scale:regress",
            {"examples": []},
            400,
            "JSON Value: {\"examples\": []} 'examples' value is an empty array",
        ),
        ("/v1/models/scale:regress", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("/v1/models/scale:guess", {"inputs": [[1, 2]]}, 400, "Malformed request: POST /v1/models/scale:guess"),
    ],
)
def test_a_wrong_request_gets_tensorflow_serving_s_words_and_code(server, path, data, status, message) -> None:
    assert refused_by_rest(server, path, data=data) == (status, message)


def test_what_the_graph_refuses_is_the_status_of_the_request(server: Server) -> None:
    status, message = refused_by_rest(server, PREDICT, data={"signature_name": "strict", "inputs": [1, 0]})
    assert status == 400
    assert "size must be positive" in message


def test_an_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement(server: Server) -> None:
    # Linux delays acknowledgements by 40 ms: with Nagle's algorithm on, no answer but the first would be quicker.
    connection = http.client.HTTPConnection(server.rest_address, timeout=10)
    seconds = []
    for _ in range(10):
        clock = time.perf_counter()
        connection.request("GET", "/v1/models/scale")
        assert connection.getresponse().read()
        seconds.append(time.perf_counter() - clock)
    connection.close()
    assert min(seconds[1:]) < 0.03


def test_wrong_methods_and_paths(server: Server) -> None:
    assert refused_by_rest(server, PREDICT) == (400, f"Malformed request: GET {PREDICT}")
    assert refused_by_rest(server, "/v1/models/scale", "-X", "DELETE") == (
        400,
        "Malformed request: DELETE /v1/models/scale",
    )
    for path in ("/v1/models", "/v1/models/versions/3", "/v1/models/labels/stable/metadata"):
        assert refused_by_rest(server, path) == (400, "Missing model name in request.")
    assert curl(server, "/anything/else") == (404, "Not Found")


def test_names_may_be_escaped(server: Server) -> None:
    assert answered(server, "/v1/models/sc%61le:predict", data={"inputs": [[1, 2]]})["outputs"]["y"] == [[2.0, 4.0]]
    assert refused_by_rest(server, "/v1/models/a%2Fb") == (404, "Could not find any versions of model a/b")


def test_bodies_may_be_packed_and_are_bounded_unpacked(server: Server, tmp_path: Path) -> None:
    packed, bomb = tmp_path / "packed", tmp_path / "bomb"
    packed.write_bytes(gzip.compress(b'{"inputs": [[1, 2]]}'))
    bomb.write_bytes(gzip.compress(b" " * 10_000_000))
    header = ("--header", "Content-Encoding: gzip", "--data-binary")
    assert answered(server, PREDICT, *header, f"@{packed}")["outputs"]["y"] == [[2.0, 4.0]]
    assert refused_by_rest(server, PREDICT, *header, f"@{bomb}") == (413, "the request is larger than 100000 bytes")
    assert refused_by_rest(server, PREDICT, *header, "{}")[0] == 400
    large = tmp_path / "large"
    large.write_text(json.dumps({"inputs": np.ones((20_000, 2)).tolist()}))
    assert refused_by_rest(server, PREDICT, "--data-binary", f"@{large}")[0] == 413


def test_deep_nesting_is_a_wrong_request(server: Server) -> None:
    status, message = refused_by_rest(server, PREDICT, data='{"inputs": ' + "[" * 40_000 + "]" * 40_000 + "}")
    assert (status, "nested too deeply" in message) == (400, True)
    status, message = refused_by_rest(
        server, "/v1/models/scale:regress", data='{"examples": ' + "[" * 40_000 + "]" * 40_000 + "}"
    )
    assert (status, "nested too deeply" in message) == (400, True)


def test_a_request_that_takes_too_long_ends_in_504(server: Server) -> None:
    asked = {"signature_name": "slow", "inputs": 5000}
    status, message = refused_by_rest(server, PREDICT, data=asked)
    assert status == 504
    assert message in ("no answer within 2 s", "Timed out waiting for notification")


def test_the_taken_rest_port_is_one_line_with_the_remedy(server: Server, tmp_path: Path) -> None:
    taken = int(str(server.rest_address).rsplit(":", 1)[1])
    options = RestOptions(port=taken, timeout=1.0, prometheus_path=None)
    with (
        pytest.raises(StartError, match=rf"listen at 127.0.0.1:{taken} .*--rest-port"),
        running(tmp_path, rest=options),
    ):
        pass


def test_a_stopping_server_finishes_the_request_under_way(tmp_path: Path) -> None:
    place(export_scale(tmp_path / "saved", 2.0), tmp_path / "models" / "scale", 1)
    with running(tmp_path / "models", rest=RestOptions(0, 30.0, None)) as server:
        with connected(server) as stubs:
            turns = turns_for(stubs, 1.5)
        answers: list[object] = []
        asked = {"signature_name": "slow", "inputs": turns}
        asking = threading.Thread(target=lambda: answers.append(answered(server, PREDICT, data=asked)))
        asking.start()
        eventually(lambda: server.core._in_flight == 1)
        server.stop()
        asking.join()
        assert answers == [{"outputs": 2.0}]
        with pytest.raises(subprocess.CalledProcessError):
            curl(server, "/v1/models/scale")
