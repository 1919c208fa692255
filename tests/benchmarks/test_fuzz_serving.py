"""A sample of `benchmarks/fuzz_serving.py`, and that no request of a batch sees anything of another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from toy_server import Stubs, batches, connected, predict_request, refused, running

from benchmarks.fuzz_serving import base_requests, fuzz
from benchmarks.serving.mutations import make_mutant
from pipelines.config import LimitsConfig
from serving.server.limits import RequestLimits
from serving.server.server import RestOptions, Server

if TYPE_CHECKING:
    from whole import Whole

LIMITS = RequestLimits(**LimitsConfig().model_dump())


@pytest.fixture(scope="module")
def server(whole: Whole) -> Iterator[Server]:
    with running(whole.models, rest=RestOptions(0, 30.0, None), limits=LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def batching(whole: Whole) -> Iterator[Server]:
    options = batches(max_batch_size=16, batch_timeout_micros=20_000, max_enqueued_batches=100)
    with running(whole.models, limits=LIMITS, batching=options) as server:
        yield server


@pytest.mark.slow
def test_wrong_requests_are_refused_rightly_and_right_ones_are_answered_as_before(whole: Whole, server: Server) -> None:
    assert server.rest_address is not None
    requests = base_requests(whole.models / "demo")
    figures = fuzz(
        server.address, server.rest_address, requests, count=1200, seconds=120, seed=1, memory=lambda: 0.0
    )  # fmt: skip
    assert figures["failures"] == 0, figures["shown"]
    assert figures["requests"] == 1200
    assert figures["statuses"]["INVALID_ARGUMENT"] > 600
    assert len(figures["kinds"]) > 20


def test_the_same_seed_makes_the_same_requests(whole: Whole) -> None:
    requests = base_requests(whole.models / "demo")
    one, two, other = ([make_mutant(requests, rng) for _ in range(50)] for rng in map(random.Random, (3, 3, 4)))
    assert one == two
    assert one != other


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("alias", ["image", "audio"])
def test_a_cut_file_is_refused_by_input_and_row_and_in_a_batch_alone(
    whole: Whole, server: Server, batching: Server, alias: str
) -> None:
    request = base_requests(whole.models / "demo")[-1]
    cut = predict_pb2.PredictRequest()
    cut.CopyFrom(request)
    cut.inputs[alias].string_val[1] = cut.inputs[alias].string_val[1][:50]
    for running_server in (server, batching):
        with connected(running_server) as stubs, ThreadPoolExecutor(8) as pool:
            expected = tf.make_ndarray(stubs.prediction.Predict(request, timeout=60).outputs["embedding"])
            calls = [pool.submit(stubs.prediction.Predict, one, timeout=60) for one in [request, cut] * 4]
            for call, asked in zip(calls, [request, cut] * 4, strict=True):
                if asked is cut:
                    code, message = refused(call.result)
                    assert code == "INVALID_ARGUMENT"
                    assert f"{alias} cannot be used" in message
                    assert "in row] [1]" in message
                else:
                    got = tf.make_ndarray(call.result().outputs["embedding"])
                    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_every_request_of_a_batch_gets_its_own_answer_whatever_the_others_are(whole: Whole, batching: Server) -> None:
    """Histories of all lengths, other users' exclusions and wrong requests in between, all in the same batches."""
    rng = random.Random(5)
    items = sorted({value for request in base_requests(whole.models / "demo") for value in _history(request)})
    requests = [_recommend(rng, items) for _ in range(60)]
    wrong = [position for position in range(len(requests)) if position % 10 == 7]
    for position in wrong:  # refused by the graph only, so it gets into a batch first
        requests[position].inputs["diversity"].CopyFrom(_floats([2.0]))
    with grpc.insecure_channel(batching.address) as channel, ThreadPoolExecutor(32) as pool:
        stubs = Stubs(channel)

        def ask(request: Any) -> Any:
            try:
                return stubs.prediction.Predict(request, timeout=60)
            except grpc.RpcError as error:
                return error

        alone = [ask(request) for request in requests]
        for _ in range(3):
            order = rng.sample(range(len(requests)), len(requests))
            for position, answer in zip(order, pool.map(ask, [requests[p] for p in order]), strict=True):
                _assert_same(answer, alone[position], refused=position in wrong)


def _assert_same(answer: Any, alone: Any, *, refused: bool) -> None:
    if refused:
        assert (answer.code(), "diversity" in answer.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        return
    for name, proto in alone.outputs.items():
        expected, got = tf.make_ndarray(proto), tf.make_ndarray(answer.outputs[name])
        if expected.dtype == object:
            assert got.tolist() == expected.tolist(), name
        else:
            np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=name)


def _floats(values: list[float]) -> Any:
    return tf.make_tensor_proto(np.array(values, np.float32))


def _recommend(rng: random.Random, items: list[bytes]) -> Any:
    """A request of a user of their own: 1 to 16 events, some exclusions, a diversity."""
    length, excluded = rng.randint(1, 16), rng.randint(0, 3)
    return predict_request(
        "demo",
        "recommend",
        history_ids=np.array([rng.choices(items, k=length)], object),
        history_values=np.array([[rng.uniform(1, 5) for _ in range(length)]], np.float32),
        history_times=np.array([[1_600_000_000 + 60 * place for place in range(length)]], np.int64),
        now=np.array([1_600_100_000], np.int64),
        query=[b""],
        exclude_ids=tf.make_tensor_proto(rng.sample(items, excluded), tf.string, [1, excluded])
        if excluded
        else tf.make_tensor_proto(np.empty((1, 0), object), tf.string),
        categories=tf.make_tensor_proto(np.empty((1, 0), object), tf.string),
        diversity=np.array([rng.choice([0.0, 0.3])], np.float32),
        k=np.array([5], np.int32),
    )


def _history(request: Any) -> list[bytes]:
    return list(request.inputs["history_ids"].string_val) if "history_ids" in request.inputs else []
