"""The client's errors, retries and deadlines; that it imports no TensorFlow and can be shared between threads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from flaky_server import Flaky, listening
from google.protobuf import descriptor_pb2
from toy_models import export_scale, place
from toy_server import MEGABYTE, running

from serving.client.client import Client
from serving.server.server import Server
from serving.wire import errors, stubs
from serving.wire.stubs import generate
from tfrecs.schema import TriptychError

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("saved")
    export_scale(base / "scale", 2.0)
    return base


@pytest.fixture(scope="module")
def server(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    place(saved / "scale", models / "scale", 4)
    with running(models, max_message_bytes=8 * MEGABYTE) as server:
        yield server


@pytest.fixture
def scale(server: Server) -> Iterator[Client]:
    with Client(server.address, "scale", timeout=10.0) as client:
        yield client


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
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
        with running(tmp_path, port=port):
            assert answer.result(timeout=30)["y"].tolist() == [[2.0, 4.0]]


def test_unavailable_is_tried_again():
    servicer = Flaky(grpc.StatusCode.UNAVAILABLE, failures=3)
    with listening(servicer) as target, Client(target, "m", timeout=5.0) as client:
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
    with listening(servicer) as target, Client(target, "m", timeout=5.0) as client, pytest.raises(kind) as caught:
        client.predict("any", {})
    assert servicer.calls == 1
    assert caught.value.details == "not now\nsecond line"
    assert "second line" not in str(caught.value)


def test_a_server_that_is_too_slow_is_a_deadline_exceeded():
    with listening(Flaky(grpc.StatusCode.OK, 0, seconds=2.0)) as target, Client(target, "m", timeout=0.5) as client:
        begin = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError, match=r"no answer within 0\.5 s"):
            client.predict("any", {})
        assert time.monotonic() - begin < 1.5


def test_threads_may_share_a_client(scale):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: scale.predict("serving_default", {"x": [[n, 2 * n]]})["y"], range(64)))
    assert [answer.tolist() for answer in answers] == [[[2 * n, 4 * n]] for n in range(64)]


LIGHT = """
import sys, time
begin = time.process_time()
import serving.client
seconds = time.process_time() - begin
heavy = {"tensorflow", "tensorflow_serving", "pandas", "tensorflow_text", "tf_keras", "keras"}
print(sorted(heavy & set(sys.modules)), seconds)
"""


@pytest.mark.slow
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


def _fields(serialized: bytes) -> dict[str, tuple[int, int, int]]:
    """Full name of each field of a FileDescriptorSet -> its number, type and label."""
    fields = {}

    def add(prefix: str, message: descriptor_pb2.DescriptorProto) -> None:
        for field in message.field:
            fields[f"{prefix}.{message.name}.{field.name}"] = (field.number, field.type, field.label)
        for nested in message.nested_type:
            add(f"{prefix}.{message.name}", nested)

    for file in descriptor_pb2.FileDescriptorSet.FromString(serialized).file:
        for message in file.message_type:
            add(file.package, message)
    return fields


def test_the_committed_definitions_are_part_of_what_the_generator_writes() -> None:
    """Later versions of TensorFlow add fields; what the client sends and reads must stay what it is."""
    committed, installed = _fields(stubs.DEFINITIONS.read_bytes()), _fields(generate.collect())
    assert len(committed) > 50
    assert committed.items() <= installed.items()


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
