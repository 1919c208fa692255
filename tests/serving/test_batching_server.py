"""Batches across clients, the bounded queue and deadlines of the embedded server, over real sockets."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from toy_models import describe_as_ours, export_scale, export_shop, place
from toy_server import X, batches, connected, eventually, predict_request, refused, running, turns_for

from serving.server.server import Server


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model "scale" doubles; model "shop" has the contract's signatures."""
    saved, folder = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("models")
    place(export_scale(saved / "doubling", 2.0), folder / "scale", 1)
    place(export_shop(saved / "shop"), folder / "shop", 1)
    return folder


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def processed(server: Server) -> tuple[int, int]:
    """How many batches there were, and their rows together."""
    page = server.core.metrics.page()
    name = ":tensorflow:serving:batching_session:processed_batch_size"
    found = [re.search(rf"^{name}_{part}{{}} (\d+)$", page, re.M) for part in ("count", "sum")]
    return (int(found[0][1]), int(found[1][1])) if found[0] and found[1] else (0, 0)


def together(pool: ThreadPoolExecutor, calls: list[Callable[[], Any]]) -> list[Any]:
    return [future.result() for future in [pool.submit(call) for call in calls]]


def ids(response: Any) -> list[list[bytes]]:
    return tf.make_ndarray(response.outputs["ids"]).tolist()


def test_requests_of_several_clients_share_a_batch_and_each_gets_its_own_rows(models, pool) -> None:
    with running(models, batching=batches()) as server, connected(server) as one, connected(server) as two:
        answers = together(
            pool,
            [
                lambda: one.predict("shop", "search", query=[b"c"], k=[1]),
                lambda: two.predict("shop", "search", query=[b"a", b"b"], k=[1, 1]),
                lambda: one.predict("shop", "search", query=[b"e"], k=[1]),
            ],
        )
        assert [ids(answer) for answer in answers] == [[[b"c"]], [[b"a"], [b"b"]], [[b"e"]]]
        # Four rows fill a batch, so nobody waited for the five seconds.
        assert processed(server) == (1, 4)


@pytest.fixture(scope="module")
def ours(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model "ours" is "shop", described as a Triptych export."""
    folder = tmp_path_factory.mktemp("own")
    describe_as_ours(place(models / "shop" / "1", folder / "ours", 1))
    return folder


def test_requests_with_another_k_share_a_batch_and_get_as_many_columns_as_they_asked_for(ours, pool) -> None:
    options = batches(max_batch_size=5, allowed_batch_sizes=(5,))
    with running(ours, batching=options) as server, connected(server) as stubs:
        calls = [
            lambda: stubs.predict("ours", "search", query=[b"c"], k=[1]),
            lambda: stubs.predict("ours", "search", query=[b"b", b"d"], k=[1, 3]),
            lambda: stubs.predict("ours", "search", query=[b"e", b"a"], k=[7, 2]),
        ]
        answers = together(pool, calls)
        assert [ids(answer) for answer in answers] == [
            [[b"c"]],
            [[b"b", b"", b""], [b"d", b"a", b"b"]],
            [[b"e", b"a", b"b", b"c", b"d", b"", b""], [b"a", b"b", *[b""] * 5]],
        ]
        assert processed(server) == (1, 5)


def test_a_bad_k_fails_alone_in_its_batch(ours, pool) -> None:
    with running(ours, batching=batches(max_batch_size=2)) as server, connected(server) as stubs:
        good = pool.submit(stubs.predict, "ours", "search", query=[b"c"], k=[2])
        code, message = refused(lambda: stubs.predict("ours", "search", query=[b"c"], k=[-1]))
        assert (code, "k must be positive" in message) == ("INVALID_ARGUMENT", True)
        assert ids(good.result()) == [[b"c", b"a"]]


def test_candidates_of_different_numbers_share_a_batch(ours, pool) -> None:
    def rank(*candidates: bytes) -> Any:
        inputs = {"history_ids": np.array([[b"x"]], object), "candidate_ids": np.array([candidates], object)}
        return stubs.predict("ours", "rank", **inputs, device=[b""])

    with running(ours, batching=batches(max_batch_size=2)) as server, connected(server) as stubs:
        answers = together(pool, [lambda: rank(b"c", b"a", b"e"), lambda: rank(b"a", b"b", b"d", b"c")])
        assert [tf.make_ndarray(answer.outputs["scores"]).tolist() for answer in answers] == [
            [[3, 5, 1]],
            [[5, 4, 2, 3]],
        ]
        assert processed(server) == (1, 2)


def test_more_rows_than_a_batch_are_split_only_where_all_ask_for_as_many_results(ours) -> None:
    options = batches(max_batch_size=2, enable_large_batch_splitting=True, batch_timeout_micros=0)
    with running(ours, batching=options) as server, connected(server) as stubs:
        query = [b"a", b"b", b"c"]
        assert ids(stubs.predict("ours", "search", query=query, k=[1] * 3)) == [[b"a"], [b"b"], [b"c"]]
        batches_before = processed(server)
        assert batches_before[1] == 3
        answer = stubs.predict("ours", "search", query=query, k=[1, 1, 2])
        assert ids(answer) == [[b"a", b""], [b"b", b""], [b"c", b"a"]]
        assert processed(server) == batches_before  # in one call, beside the batches


def recommend(stubs: Any, *history: bytes, exclude: tuple[bytes, ...]) -> Any:
    events, one = len(history), np.zeros(1, np.float32)
    return stubs.predict(
        "ours",
        history_ids=np.array([history], object),
        history_values=np.ones((1, events), np.float32),
        history_times=np.zeros((1, events), np.int64),
        now=np.zeros(1, np.int64),
        query=[b""],
        exclude_ids=np.array([exclude], object),
        categories=np.empty((1, 0), object),
        diversity=one,
        k=[2],
        device=[b"phone"],
        age=one,
    )


def test_histories_of_different_lengths_share_a_batch_of_a_model_of_the_contract(ours, pool) -> None:
    with running(ours, batching=batches(max_batch_size=2)) as server, connected(server) as stubs:
        answers = together(
            pool,
            [
                lambda: recommend(stubs, b"a", b"b", b"c", exclude=(b"a", b"b", b"d")),
                lambda: recommend(stubs, b"a", b"b", b"c", b"d", exclude=(b"a", b"b", b"c", b"e")),
            ],
        )
        # Five items with scores 5 to 1, those excluded left out; nothing excluded is not an item.
        assert [ids(answer) for answer in answers] == [[[b"c", b"e"]], [[b"d", b""]]]
        assert processed(server) == (1, 2)


def test_a_request_answers_for_its_own_mistakes_only(models, pool) -> None:
    with running(models, batching=batches()) as server, connected(server) as stubs:
        sizes = [np.array([size], np.int32) for size in (5, 0, 7, 9)]
        calls = [lambda size=size: stubs.predict("scale", "strict", size=size) for size in sizes]  # type: ignore[misc]
        good = [pool.submit(calls[position]) for position in (0, 2, 3)]
        code, message = refused(calls[1])
        assert code == "INVALID_ARGUMENT"
        assert "size must be positive" in message
        answers = [tf.make_ndarray(future.result().outputs["size"]).tolist() for future in good]
        assert answers == [[5], [7], [9]]


def test_signatures_without_rows_and_empty_batches_are_answered_without_a_batch(models) -> None:
    with running(models, batching=batches()) as server, connected(server) as stubs:
        assert tf.make_ndarray(stubs.predict("scale", "scalar", text=b"abc").outputs["length"]) == 3
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        empty = stubs.predict("scale", "strict", size=np.zeros(0, np.int32))
        assert tf.make_ndarray(empty.outputs["size"]).tolist() == []
        assert processed(server) == (0, 0)


def test_a_request_of_more_rows_than_a_batch_is_refused_or_split(models) -> None:
    sizes = np.arange(1, 8, dtype=np.int32)
    with running(models, batching=batches()) as server, connected(server) as stubs:
        assert refused(lambda: stubs.predict("scale", "strict", size=sizes)) == (
            "INVALID_ARGUMENT",
            "Task size 7 is larger than maximum input batch size 4",
        )
    options = batches(enable_large_batch_splitting=True, batch_timeout_micros=0, max_execution_batch_size=3)
    with running(models, batching=options) as server, connected(server) as stubs:
        answer = stubs.predict("scale", "strict", size=sizes)
        assert tf.make_ndarray(answer.outputs["size"]).tolist() == sizes.tolist()
        assert processed(server)[1] == 7


def test_batches_are_filled_up_to_an_allowed_size(models) -> None:
    options = batches(allowed_batch_sizes=(2, 4), batch_timeout_micros=0)
    with running(models, batching=options) as server, connected(server) as stubs:
        answer = stubs.predict("scale", "strict", size=np.array([1, 2, 3], np.int32))
        assert tf.make_ndarray(answer.outputs["size"]).tolist() == [1, 2, 3]
        assert processed(server) == (1, 4)


def test_a_full_batching_queue_is_resource_exhausted(models, pool) -> None:
    options = batches(max_batch_size=1, max_enqueued_batches=1, max_execution_batch_size=1)
    with running(models, batching=options) as server, connected(server) as stubs:
        # One batch is held up in the only thread, one waits; there is no room for a third.
        entered, release = threading.Event(), threading.Event()

        def hold(tasks: list[Any]) -> None:
            entered.set()
            assert release.wait(30)
            for task in tasks:
                task.result.set_result({})

        from serving.server.batching.shared_batch_scheduler import BatchTask

        scheduler = server._runner._scheduler  # type: ignore[attr-defined]
        scheduler.submit("held", "key", BatchTask({}, 1, None), hold)
        assert entered.wait(30)
        ask = lambda: stubs.predict("scale", "strict", size=np.array([1], np.int32))  # noqa: E731
        waiting = pool.submit(ask)
        eventually(lambda: len(scheduler._waiting) == 1)
        assert refused(ask) == (
            "RESOURCE_EXHAUSTED",
            "The batch scheduling queue to which this task was submitted is full",
        )
        release.set()
        assert tf.make_ndarray(waiting.result().outputs["size"]).tolist() == [1]


@pytest.mark.slow
def test_more_requests_than_may_wait_are_resource_exhausted_and_status_is_still_answered(models, pool) -> None:
    with running(models, threads=1, queue=1) as server, connected(server) as stubs:
        turns = np.int32(turns_for(stubs, 1.5))
        slow = [pool.submit(stubs.predict, "scale", "slow", turns=turns) for _ in range(2)]
        eventually(lambda: server.core._in_flight == 2)
        code, message = refused(lambda: stubs.predict("scale", x=X))
        assert code == "RESOURCE_EXHAUSTED"
        assert message.startswith("the server is full: 2 requests")
        assert stubs.states("scale") == {1: 30}
        assert [tf.make_ndarray(future.result().outputs["factor"]) for future in slow] == [2.0, 2.0]
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]


def test_a_deadline_ends_the_wait_and_what_came_too_late_is_not_computed(models, pool) -> None:
    with running(models, batching=batches(batch_timeout_micros=600_000)) as server, connected(server) as stubs:
        request = predict_request("scale", "strict", size=np.array([1], np.int32))
        begin = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(request, timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begin < 0.5
        eventually(lambda: server.core._in_flight == 0)
        time.sleep(0.8)
        assert processed(server) == (0, 0)


def test_a_deadline_reaches_the_runtime(models) -> None:
    with running(models, threads=1) as server, connected(server) as stubs:
        turns = turns_for(stubs, 20.0)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(predict_request("scale", "slow", turns=np.int32(turns)), timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        begin = time.monotonic()
        # There is one thread only: it must have been given back long before the twenty seconds are over.
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        assert time.monotonic() - begin < 10


def test_a_stopping_server_finishes_the_batches_that_wait(models, pool) -> None:
    with running(models, batching=batches(batch_timeout_micros=700_000)) as server, connected(server) as stubs:
        waiting = pool.submit(stubs.predict, "scale", "strict", size=np.array([4], np.int32))
        eventually(lambda: server.core._in_flight == 1)
        server.stop()
        assert tf.make_ndarray(waiting.result().outputs["size"]).tolist() == [4]


def test_a_swap_under_batched_load_fails_no_request_and_mixes_no_answer(tmp_path, pool) -> None:
    saved = {factor: export_scale(tmp_path / f"saved{factor}", factor) for factor in (2.0, 3.0)}
    place(saved[2.0], tmp_path / "models" / "scale", 1)
    enough, seen = threading.Event(), set()
    with running(tmp_path / "models", batching=batches(batch_timeout_micros=1000)) as server:

        def hammer(number: int) -> list[str]:
            wrong = []
            with connected(server) as stubs:
                while not enough.is_set():
                    request = predict_request("scale", x=np.array([[number, 1]], np.float32))
                    request.output_filter[:] = ["y"]
                    response = stubs.prediction.Predict(request, timeout=30)
                    factor = response.model_spec.version.value + 1
                    seen.add(factor)
                    if list(response.outputs["y"].float_val) != [number * factor, factor]:
                        wrong.append(f"{number}: {response}")
            return wrong

        hammering = [pool.submit(hammer, number) for number in range(1, 7)]
        eventually(lambda: processed(server)[1] > 50)
        place(saved[3.0], tmp_path / "models" / "scale", 2)
        eventually(lambda: 3 in seen and server.models.available() == [("scale", 2)])
        enough.set()
        assert [future.result() for future in hammering] == [[]] * 6
        count, rows = processed(server)
        assert rows > count  # there were batches of more than one
