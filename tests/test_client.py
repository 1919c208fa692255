"""The client: what it sends, what it makes of the answers, and how it fails. Real sockets, toy models."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from toy_models import export_scale, export_shop, place

from serving import errors, metadata, queries, stubs
from serving.client import Client, VersionStatus
from serving.models import folder
from serving.server import Server
from tfrecs.schema import TriptychError

REPO = Path(__file__).resolve().parent.parent
MEGABYTE = 1 << 20


@contextmanager
def running(models: Path, port: int = 0) -> Iterator[Server]:
    with Server(
        folder(models),
        host=None,
        port=port,
        poll_seconds=0.05,
        threads=4,
        max_message_bytes=8 * MEGABYTE,
        grace=5.0,
        report=lambda line: None,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("saved")
    export_shop(base / "shop")
    export_scale(base / "scale", 2.0)
    return base


@pytest.fixture(scope="module")
def server(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    place(saved / "shop", models / "shop", 1)
    place(saved / "scale", models / "scale", 4)
    with running(models) as server:
        yield server


class Recorder(grpc.UnaryUnaryClientInterceptor):
    """Keeps every request that passes."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.requests.append(request)
        return continuation(client_call_details, request)

    def last_inputs(self) -> dict[str, np.ndarray]:
        from serving.tensors import decode

        return {name: decode(proto, limit_bytes=0) for name, proto in self.requests[-1].inputs.items()}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def shop(server: Server, recorder: Recorder) -> Iterator[Client]:
    with grpc.insecure_channel(server.address) as channel:
        yield Client(server.address, "shop", timeout=10.0, channel=grpc.intercept_channel(channel, recorder))


@pytest.fixture
def scale(server: Server) -> Iterator[Client]:
    with Client(server.address, "scale", timeout=10.0) as client:
        yield client


# --- recommend


def test_recommend_returns_the_items_with_labels_weights_and_reason(shop):
    first, second = shop.recommend(history_ids=["x", "y"], k=2)
    assert (first.id, first.score, first.because_id) == ("a", 5.0, "y")
    assert first.labels == {"like": 0.5}
    assert first.modality_weights.tolist() == [0.25, 0.75]
    assert (second.id, second.score) == ("b", 4.0)


def test_padding_is_not_a_recommendation(shop):
    assert [item.id for item in shop.recommend(k=10)] == ["a", "b", "c", "d", "e"]
    assert [item.id for item in shop.recommend(k=10, exclude_ids=["a", "b", "d", "e"])] == ["c"]


def test_recommend_sends_every_input_of_the_contract_for_a_batch_of_one(shop, recorder):
    shop.recommend(
        k=3,
        history_ids=["1", "50"],
        history_values=[5, 3.5],
        history_times=[10, 20],
        now=30,
        query="jazz",
        exclude_ids=["7"],
        categories=["Drama", "Film-Noir"],
        diversity=0.5,
        device="phone",
        age=33,
    )
    sent = recorder.last_inputs()
    assert {name: value.tolist() for name, value in sent.items()} == {
        "history_ids": [[b"1", b"50"]],
        "history_values": [[5.0, 3.5]],
        "history_times": [[10, 20]],
        "now": [30],
        "query": [b"jazz"],
        "exclude_ids": [[b"7"]],
        "categories": [[b"Drama", b"Film-Noir"]],
        "diversity": [0.5],
        "k": 3,
        "device": [b"phone"],
        "age": [33.0],
    }
    assert [sent[name].dtype.name for name in ("history_values", "now", "k", "age")] == [
        "float32",
        "int64",
        "int32",
        "float32",
    ]


def test_what_the_caller_leaves_out_is_sent_as_nothing_and_context_as_missing(shop, recorder):
    before = int(time.time())
    shop.recommend(k=1)
    sent = recorder.last_inputs()
    shapes = {name: value.shape for name, value in sent.items()}
    assert shapes["history_ids"] == shapes["history_values"] == shapes["history_times"] == (1, 0)
    assert shapes["exclude_ids"] == shapes["categories"] == (1, 0)
    assert sent["query"].tolist() == [b""]
    assert sent["diversity"].tolist() == [0.0]
    assert sent["device"].tolist() == [b""]
    assert np.isnan(sent["age"]).tolist() == [True]
    assert before <= sent["now"][0] <= time.time()


def test_a_history_without_values_and_times_has_ones_and_unknown_times(shop, recorder):
    shop.recommend(k=1, history_ids=["1", "2"])
    sent = recorder.last_inputs()
    assert sent["history_values"].tolist() == [[1.0, 1.0]]
    assert sent["history_times"].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history_ids": ["1"], "history_values": [1.0, 2.0]}, "history_values has 2 entries for 1 history_ids"),
        ({"history_times": [1]}, "history_times has 1 entries for 0 history_ids"),
        ({"history_ids": "1,50"}, "history_ids takes a list of strings"),
        ({"history_ids": [1, 50]}, "input history_ids: int where a string"),
        ({"k": 2.5}, "input k: double values where int32 is expected"),
        ({"k": 2**40}, "input k: a value does not fit int32"),
        ({"devise": "phone"}, "signature recommend has no input devise; it has age, categories, device"),
        ({"device": 3}, "input device: int64 values where string is expected"),
        ({"candidate_ids": "1"}, "has no input candidate_ids"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(shop, recorder, arguments, message):
    with pytest.raises(errors.InvalidRequestError, match=message):
        shop.recommend(**{"k": 1, **arguments})
    assert all(isinstance(request, stubs.message("GetModelMetadataRequest")) for request in recorder.requests)


# --- the other calls of the contract


def test_rank_scores_the_candidates_in_their_order_with_the_inputs_the_signature_has(shop, recorder):
    ranked = shop.rank(["c", "nobody", "a"], history_ids=["x"])
    assert [(item.id, item.score) for item in ranked] == [("c", 3.0), ("nobody", 0.0), ("a", 5.0)]
    assert [item.labels["like"] for item in ranked] == pytest.approx([0.3, 0.0, 0.5])
    assert set(recorder.last_inputs()) == {"history_ids", "candidate_ids", "device"}


def test_rank_refuses_what_the_signature_cannot_use(shop):
    with pytest.raises(errors.InvalidRequestError, match="signature rank has no input query"):
        shop.rank(["a"], query="jazz")


def test_search_and_similar_return_ids_and_scores_best_first(shop):
    assert shop.search("d", k=2) == [queries.Scored("d", 1.0, {}), queries.Scored("a", 0.0, {})]
    assert shop.similar("e", k=1) == [queries.Scored("e", 1.0, {})]


def test_items_are_embedded_from_raw_modalities_and_what_they_lack_is_missing(shop):
    result = shop.embed_items(
        text=["four", None, ""], image=[b"\xff\x00\x00", None, b""], timbre=[[1, 2, 3.5], None, [0, 0, 0]],
        genres=[["x", "y"], None, ["z"]],
    )  # fmt: skip
    assert result.embedding.tolist() == [[4, 3, 6.5, 2], [0, 0, -1, 0], [0, 0, 0, 1]]
    assert result.modality_weights.shape == (3, 4)


def test_modalities_that_are_left_out_are_missing_in_every_item(shop):
    assert shop.embed_items(image=[b"1", b"12"]).embedding.tolist() == [[0, 1, -1, 0], [0, 2, -1, 0]]
    assert shop.embed_items(timbre=[None, None]).embedding.tolist() == [[0, 0, -1, 0], [0, 0, -1, 0]]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "same number of items in every modality"),
        ({"text": ["a"], "image": [b"1", b"2"]}, "text 1, image 2"),
        ({"video": [b"1"]}, "signature embed_items has no input video; it has genres, image, text, timbre"),
        ({"timbre": [[1, 2, 3], [1, 2]]}, "input timbre: vectors of 3 and of 2 numbers"),
        ({"text": [3]}, "input text: int64 values where string"),
    ],
)
def test_wrong_modalities_are_named(shop, raw, message):
    with pytest.raises(errors.InvalidRequestError, match=message):
        shop.embed_items(**raw)


def test_a_signature_that_the_model_lacks_is_named(scale):
    with pytest.raises(errors.FailedPreconditionError, match="model scale has no signature recommend; it has echo"):
        scale.recommend(k=1)


# --- predict, metadata, status


def test_predict_takes_lists_and_returns_arrays(scale):
    outputs = scale.predict("serving_default", {"x": [[1, 2]]})
    assert outputs["y"].tolist() == [[2.0, 4.0]]
    assert outputs["y"].dtype == np.float32
    assert scale.predict("echo", {"word": ["é"], "shout": True}, ["word"]) == {
        "word": np.array(["é!".encode()], object)
    }
    assert scale.predict("serving_default", {"x": np.empty((0, 2))}, version=4)["y"].shape == (0, 2)


def test_metadata_has_the_signatures_with_types_and_shapes(scale):
    found = scale.metadata()
    assert found.version == 4
    assert sorted(found.signatures) == ["echo", "scalar", "serving_default", "slow", "strict"]
    echo = found.signatures["echo"]
    assert echo.inputs == {"word": metadata.TensorSpec("string", (None,)), "shout": metadata.TensorSpec("bool", ())}
    assert echo.outputs["id"] == metadata.TensorSpec("int64", (None,))


def test_metadata_is_asked_for_once(shop, recorder):
    shop.search("a", k=1)
    shop.search("a", k=1)
    names = [type(request).__name__ for request in recorder.requests]
    assert names == ["GetModelMetadataRequest", "PredictRequest", "PredictRequest"]


def wait_for_version(client: Client, version: int) -> None:
    end = time.monotonic() + 20
    while [entry.version for entry in client.status() if entry.state == "AVAILABLE"] != [version]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_metadata_is_asked_for_anew_when_another_version_answers(saved, tmp_path):
    place(saved / "scale", tmp_path / "model", 1)
    with running(tmp_path) as server, Client(server.address, "model", timeout=10.0) as client:
        assert client.metadata().version == 1
        place(saved / "scale", tmp_path / "model", 2)
        wait_for_version(client, 2)
        assert client.metadata().version == 1  # nothing has answered since
        client.predict("serving_default", {"x": [[1.0, 2.0]]})
        assert client.metadata().version == 2


def test_metadata_is_asked_for_anew_when_the_server_refuses_what_it_took_before(saved, tmp_path):
    place(saved / "scale", tmp_path / "model", 1)
    with running(tmp_path) as server, Client(server.address, "model", timeout=10.0) as client:
        client.predict("serving_default", {"x": [[1.0, 2.0]]})
        place(saved / "shop", tmp_path / "model", 2)
        wait_for_version(client, 2)
        with pytest.raises(errors.InvalidRequestError, match=r"Sent extra: \{x\}"):
            client.predict("serving_default", {"x": [[1.0, 2.0]]})
        assert client.metadata().version == 2
        assert client.recommend(k=1)[0].id == "a"


def test_status_lists_the_versions(scale):
    assert scale.status() == [VersionStatus(4, "AVAILABLE", "")]


# --- errors


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda c: c.predict("serving_default", {"x": [[1, 2, 3]]}), errors.InvalidRequestError, r'input "x".*\[1,3\]'),
        (lambda c: c.predict("serving_default", {"z": [[1, 2]]}), errors.InvalidRequestError, r"Sent extra: \{z\}"),
        (lambda c: c.predict("serving_default", {"x": [[1, 2]]}, ["w"]), errors.InvalidRequestError, "not found.*: w"),
        (lambda c: c.predict("nope", {}), errors.FailedPreconditionError, 'key "nope" not found'),
        (
            lambda c: c.predict("serving_default", {"x": [[1, 2]]}, version=9),
            errors.NotFoundError,
            r"Specific\(scale, 9",
        ),
        (lambda c: c.predict("strict", {"size": [0]}), errors.InvalidRequestError, "size must be positive"),
    ],
)
def test_the_server_s_status_becomes_an_exception_of_one_line(scale, call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call(scale)
    assert isinstance(caught.value, TriptychError)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(scale.target)


def test_an_unknown_model_is_not_found(server):
    with Client(server.address, "nobody", timeout=5.0) as client, pytest.raises(errors.NotFoundError, match="nobody"):
        client.status()


def test_messages_larger_than_the_client_accepts_are_refused_and_the_limit_is_an_option(server):
    rows = {"x": np.ones((3 * MEGABYTE // 4, 2), np.float32)}  # 6 MiB each way; gRPC's own limit is 4
    with Client(server.address, "scale", timeout=30.0) as client, pytest.raises(errors.ResourceExhaustedError):
        client.predict("serving_default", rows, ["y"])
    with Client(server.address, "scale", timeout=30.0, max_message_bytes=8 * MEGABYTE) as client:
        assert client.predict("serving_default", rows, ["y"])["y"].sum() == 3 * MEGABYTE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_where_no_server_answers_the_error_says_so_within_the_timeout():
    target = f"127.0.0.1:{free_port()}"
    begin = time.monotonic()
    with (
        Client(target, "scale", timeout=1.5) as client,
        pytest.raises(errors.UnavailableError, match=rf"{target}: no server answers there .*triptych serve"),
    ):
        client.status()
    # The pauses between the five attempts are half of the timeout, give or take a fifth.
    assert 0.5 < time.monotonic() - begin < 1.5


def test_a_server_that_starts_late_is_waited_for(saved, tmp_path):
    place(saved / "scale", tmp_path / "scale", 1)
    port = free_port()
    with Client(f"127.0.0.1:{port}", "scale", timeout=20.0) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.predict, "serving_default", {"x": [[1, 2]]})
        time.sleep(1.0)
        assert not answer.done()
        with running(tmp_path, port):
            assert answer.result(timeout=30)["y"].tolist() == [[2.0, 4.0]]


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
        from tensorflow_serving.apis import get_model_metadata_pb2

        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response


@contextmanager
def faked(servicer: Flaky) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_unavailable_is_tried_again():
    servicer = Flaky(grpc.StatusCode.UNAVAILABLE, failures=3)
    with faked(servicer) as target, Client(target, "m", timeout=5.0) as client:
        assert client.predict("any", {}) == {}
    assert servicer.calls == 4


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhaustedError),
        (grpc.StatusCode.INTERNAL, errors.ServerFailureError),
        (grpc.StatusCode.ABORTED, errors.ServerFailureError),
        (grpc.StatusCode.PERMISSION_DENIED, errors.AccessDeniedError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.UnsupportedError),
        (grpc.StatusCode.OUT_OF_RANGE, errors.InvalidRequestError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
    ],
)
def test_no_other_status_is_tried_again(code, kind):
    servicer = Flaky(code, failures=1)
    with faked(servicer) as target, Client(target, "m", timeout=5.0) as client, pytest.raises(kind) as caught:
        client.predict("any", {})
    assert servicer.calls == 1
    assert caught.value.details == "not now\nsecond line"
    assert "second line" not in str(caught.value)


def test_a_server_that_is_too_slow_is_a_deadline_exceeded():
    with faked(Flaky(grpc.StatusCode.OK, 0, seconds=2.0)) as target, Client(target, "m", timeout=0.5) as client:
        begin = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError, match=r"no answer within 0\.5 s"):
            client.predict("any", {})
        assert time.monotonic() - begin < 1.5


def test_threads_may_share_a_client(scale):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: scale.predict("serving_default", {"x": [[n, 2 * n]]})["y"], range(64)))
    assert [answer.tolist() for answer in answers] == [[[2 * n, 4 * n]] for n in range(64)]


# --- light


LIGHT = """
import sys, time
begin = time.process_time()
import serving.client
seconds = time.process_time() - begin
heavy = {"tensorflow", "tensorflow_serving", "pandas", "tensorflow_text", "tf_keras", "keras"}
print(sorted(heavy & set(sys.modules)), seconds)
"""


def test_the_client_starts_without_tensorflow_and_at_once():
    # Processor time, the least of three: what else runs on the machine is not the client's doing.
    runs = [
        subprocess.run(
            [sys.executable, "-c", LIGHT], cwd=REPO, env=dict(os.environ), capture_output=True, text=True, check=True
        ).stdout.split("] ")
        for _ in range(3)
    ]
    assert {heavy for heavy, _ in runs} == {"["}
    assert min(float(seconds) for _, seconds in runs) < 0.5


def test_the_committed_definitions_are_what_the_generator_writes():
    from serving.stubs import generate

    assert stubs.DEFINITIONS.read_bytes() == generate.collect()


def test_a_channel_that_was_given_stays_open(server):
    with grpc.insecure_channel(server.address) as channel:
        Client(server.address, "scale", timeout=5.0, channel=channel).close()
        with Client(server.address, "scale", timeout=5.0, channel=channel) as client:
            assert client.status()[0].version == 4
        own = Client(server.address, "scale", timeout=5.0)
        own.close()
        with pytest.raises(ValueError, match="closed channel"):
            own.status()


def test_the_failures_of_one_thread_do_not_disturb_another(scale):
    # A failing call clears what is known of the model while others use it.
    failures = []

    def fail() -> None:
        for _ in range(20):
            try:
                scale.predict("strict", {"size": [0]})
            except errors.InvalidRequestError:
                failures.append(1)

    thread = threading.Thread(target=fail)
    thread.start()
    for _ in range(20):
        assert scale.predict("serving_default", {"x": [[1, 1]]})["y"].tolist() == [[2.0, 2.0]]
    thread.join()
    assert len(failures) == 20
