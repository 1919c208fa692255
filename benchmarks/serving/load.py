"""The embedded server under load: throughput, a swap of model versions, and memory over a long time."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from scipy.stats import theilslopes
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving.servers import PREDICT, TIMEOUT, RunningServer, rest_document

# Megabytes that memory may grow per hour and still count as constant; half a gigabyte per month is 0.7.
MAX_GROWTH = 4.0
NUM_SAMPLES = 400


def throughput(server: RunningServer, bodies: Sequence[bytes], clients: int, seconds: float) -> float:
    """Measure requests per second of clients that each wait for an answer before the next request."""
    counts = [0] * clients
    begin = time.perf_counter()

    def client(number: int) -> None:
        while time.perf_counter() < begin + seconds:
            server.call(PREDICT, bodies[(number + counts[number]) % len(bodies)])
            counts[number] += 1

    in_threads(client, clients)
    return sum(counts) / (time.perf_counter() - begin)


def swap(
    server: RunningServer,
    bodies: Sequence[bytes],
    expected: Mapping[int, Sequence[list[bytes]]],
    put_in_place: Callable[[], None],
    *,
    clients: int,
    seconds: float,
) -> dict[str, Any]:
    """Put a new version in place while clients send requests without pause.

    Args:
      server: serves the old version.
      bodies: serialized requests.
      expected: version -> the ids of its answer to each request.
      put_in_place: moves the newest version of `expected` into the server's folder.
      clients: number of threads.
      seconds: of load before the swap, and again after the first answer of the new version.

    Returns:
      Answers by version, failures, and answers that differ from those of the version they name; latencies in milliseconds
      before the swap and while the new version is loaded.
    """
    new = max(expected)
    stop, seen = threading.Event(), threading.Event()
    answers: list[tuple[float, float, int, bool]] = []
    failures: list[str] = []

    def client(number: int) -> None:
        turn = number
        while not stop.is_set():
            index, begin = turn % len(bodies), time.perf_counter()
            turn += 1
            try:
                answer = predict_pb2.PredictResponse.FromString(server.call(PREDICT, bodies[index]))
            except grpc.RpcError as error:
                failures.append(str(error))
                continue
            version = answer.model_spec.version.value
            correct = list(answer.outputs["ids"].string_val) == expected[version][index]
            answers.append((begin, time.perf_counter() - begin, version, correct))
            if version == new:
                seen.set()

    def control() -> None:
        time.sleep(seconds)
        moments.append(time.perf_counter())
        put_in_place()
        if not seen.wait(120):
            failures.append("the new version was not served within 120 s")
        moments.append(time.perf_counter())
        time.sleep(seconds)
        stop.set()

    moments: list[float] = []
    controller = threading.Thread(target=control)
    controller.start()
    in_threads(client, clients)
    controller.join()
    before = [latency for begin, latency, _, _ in answers if begin < moments[0]]
    during = [latency for begin, latency, _, _ in answers if moments[0] <= begin <= moments[1]]
    late = sum(version != new for begin, _, version, _ in answers if begin > moments[1] + 1)
    return {
        "answers_by_version": dict(sorted(Counter(version for _, _, version, _ in answers).items())),
        "failures": len(failures),
        "answers_of_another_version_than_named": sum(not correct for *_, correct in answers),
        "old_answers_a_second_after_the_first_new_one": late,
        "seconds_from_files_to_first_answer": round(moments[1] - moments[0], 2),
        "ms_before": _percentiles(before),
        "ms_while_loading": _percentiles(during),
        "shown": failures[:3],
    }


def soak(
    server: RunningServer, requests: Sequence[Any], *, seconds: float, clients: int, pause: float, seed: int
) -> dict[str, Any]:
    """Send valid and invalid requests over gRPC and REST and watch the memory of the server.

    Args:
      server: the server.
      requests: PredictRequests of any signatures.
      seconds: how long.
      clients: number of threads.
      pause: seconds between two requests of a client; 0 for full load.
      seed: of the choice of requests.

    Returns:
      Requests by status; the slope of the memory in megabytes per hour with its 95 % interval (Theil-Sen, over the last
      three quarters of the time, because caches and allocators fill at first); and whether the memory is constant: the
      upper end of the interval is at most `MAX_GROWTH`.
    """
    end, samples = time.monotonic() + seconds, [(0.0, server.megabytes())]
    begin = time.monotonic()
    statuses: Counter[str] = Counter()
    lock = threading.Lock()
    rest_bodies = [json.dumps(rest_document(request)).encode() for request in requests]

    def client(number: int) -> None:
        rng = random.Random(seed + number)
        while time.monotonic() < end:
            index = rng.randrange(len(requests))
            status = _send(server, requests[index], rest_bodies[index], rng)
            with lock:
                statuses[status] += 1
            time.sleep(pause)

    def watch() -> None:
        while time.monotonic() < end:
            time.sleep(seconds / NUM_SAMPLES)
            samples.append((time.monotonic() - begin, server.megabytes()))

    watching = threading.Thread(target=watch)
    watching.start()
    in_threads(client, clients)
    watching.join()
    settled = np.array([sample for sample in samples if sample[0] > seconds / 4])
    slope, _, low, high = (float(value) for value in theilslopes(settled[:, 1], settled[:, 0] / 3600, 0.95))
    return {
        "minutes": round((time.monotonic() - begin) / 60, 2),
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "megabytes": {
            "start": round(samples[0][1]),
            "settled": round(float(settled[0, 1])),
            "most": round(max(size for _, size in samples)),
            "end": round(samples[-1][1]),
        },
        "megabytes_an_hour": {"slope": round(slope, 2), "from": round(low, 2), "to": round(high, 2)},
        "flat": high <= MAX_GROWTH,
    }


def _send(server: RunningServer, request: Any, rest_body: bytes, rng: random.Random) -> str:
    """Send a request over gRPC, over REST, or with a wrong element type; return its status."""
    kind = rng.random()
    if kind < 0.15 and server.rest is not None:
        return f"REST {_post(server.rest, request.model_spec.name, rest_body)}"
    sent = predict_pb2.PredictRequest()
    sent.CopyFrom(request)
    if kind > 0.9:
        tensor = sent.inputs[rng.choice(sorted(sent.inputs))]
        tensor.dtype = 9 if tensor.dtype != 9 else 1
    try:
        server.call(PREDICT, sent.SerializeToString())
    except grpc.RpcError as error:
        status: Any = error
        return str(status.code().name)
    return "OK"


def _post(rest: str, model: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(rest, timeout=TIMEOUT)
    try:
        connection.request("POST", f"/v1/models/{model}:predict", body)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Run `work(number)` in `count` threads and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "most": round(1e3 * max(seconds), 2)}
