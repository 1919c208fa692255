"""The embedded server under load: throughput, a swap of versions, and memory over a long time."""

from __future__ import annotations

import base64
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
import tensorflow as tf
from scipy.stats import theilslopes
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving.servers import PREDICT, TIMEOUT, Running

# What memory may gain in an hour and still be called flat, in megabytes: half a gigabyte in a month is 0.7.
FLAT = 4.0
SAMPLES = 400


def throughput(server: Running, bodies: Sequence[bytes], clients: int, seconds: float) -> float:
    """Requests per second of clients that each send the next request when they have the answer to the last."""
    counts = [0] * clients
    begin = time.perf_counter()

    def client(number: int) -> None:
        while time.perf_counter() < begin + seconds:
            server.call(PREDICT, bodies[(number + counts[number]) % len(bodies)])
            counts[number] += 1

    _in_threads(client, clients)
    return sum(counts) / (time.perf_counter() - begin)


def swap(
    server: Running,
    bodies: Sequence[bytes],
    expected: Mapping[int, Sequence[list[bytes]]],
    put_in_place: Callable[[], None],
    *,
    clients: int,
    seconds: float,
) -> dict[str, Any]:
    """A new version appears while clients ask without pause.

    Args:
      bodies: requests of the newest version.
      expected: version -> the ids that it answers to each of them.
      put_in_place: puts the newest version of `expected` where the server looks.
      seconds: of load before it, and again from when the new version answers.

    Returns:
      counts of answers by version, of failures and of answers that are not those of the version they name; latencies
      in milliseconds before the swap and while the new version is loaded.
    """
    new = max(expected)
    stop, seen = threading.Event(), threading.Event()
    answers: list[tuple[float, float, int, bool]] = []
    failures: list[str] = []

    def client(number: int) -> None:
        turn = number
        while not stop.is_set():
            place, begin = turn % len(bodies), time.perf_counter()
            turn += 1
            try:
                answer = predict_pb2.PredictResponse.FromString(server.call(PREDICT, bodies[place]))
            except grpc.RpcError as error:
                failures.append(str(error))
                continue
            version = answer.model_spec.version.value
            right = list(answer.outputs["ids"].string_val) == expected[version][place]
            answers.append((begin, time.perf_counter() - begin, version, right))
            if version == new:
                seen.set()

    def conductor() -> None:
        time.sleep(seconds)
        moments.append(time.perf_counter())
        put_in_place()
        if not seen.wait(120):
            failures.append("the new version was not served within 120 s")
        moments.append(time.perf_counter())
        time.sleep(seconds)
        stop.set()

    moments: list[float] = []
    conducting = threading.Thread(target=conductor)
    conducting.start()
    _in_threads(client, clients)
    conducting.join()
    before = [took for begin, took, _, _ in answers if begin < moments[0]]
    during = [took for begin, took, _, _ in answers if moments[0] <= begin <= moments[1]]
    late = sum(version != new for begin, _, version, _ in answers if begin > moments[1] + 1)
    return {
        "answers_by_version": dict(sorted(Counter(version for _, _, version, _ in answers).items())),
        "failures": len(failures),
        "answers_of_another_version_than_named": sum(not right for *_, right in answers),
        "old_answers_a_second_after_the_first_new_one": late,
        "seconds_from_files_to_first_answer": round(moments[1] - moments[0], 2),
        "ms_before": _percentiles(before),
        "ms_while_loading": _percentiles(during),
        "shown": failures[:3],
    }


def soak(
    server: Running, requests: Sequence[Any], *, seconds: float, clients: int, pause: float, seed: int
) -> dict[str, Any]:
    """Requests of all kinds, right and wrong, over gRPC and REST, and what the process holds meanwhile.

    Args:
      requests: PredictRequests of any signatures.
      pause: seconds between two requests of a client; 0 for full load.

    Returns:
      counts by status; the slope of the memory in megabytes an hour with its 95 % interval (Theil and Sen's, over the
      last three quarters of the time: caches and allocators fill at first), and whether it is flat: all of the
      interval is below `FLAT`.
    """
    end, samples = time.monotonic() + seconds, [(0.0, server.megabytes())]
    begin = time.monotonic()
    statuses: Counter[str] = Counter()
    lock = threading.Lock()
    columnar = [_columnar(request) for request in requests]

    def client(number: int) -> None:
        rng = random.Random(seed + number)
        while time.monotonic() < end:
            place = rng.randrange(len(requests))
            status = _ask(server, requests[place], columnar[place], rng)
            with lock:
                statuses[status] += 1
            time.sleep(pause)

    def watch() -> None:
        while time.monotonic() < end:
            time.sleep(seconds / SAMPLES)
            samples.append((time.monotonic() - begin, server.megabytes()))

    watching = threading.Thread(target=watch)
    watching.start()
    _in_threads(client, clients)
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
        "flat": high <= FLAT,
    }


def _ask(server: Running, request: Any, columnar: bytes, rng: random.Random) -> str:
    """One request: over gRPC, over REST, or a wrong one; its status."""
    kind = rng.random()
    if kind < 0.15 and server.rest is not None:
        return f"REST {_post(server.rest, request.model_spec.name, columnar)}"
    sent = predict_pb2.PredictRequest()
    sent.CopyFrom(request)
    if kind > 0.9:
        alias = rng.choice(sorted(sent.inputs))
        sent.inputs[alias].dtype = 9 if sent.inputs[alias].dtype != 9 else 1
    try:
        server.call(PREDICT, sent.SerializeToString())
    except grpc.RpcError as error:
        answered: Any = error
        return str(answered.code().name)
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


def _columnar(request: Any) -> bytes:
    def listed(value: Any) -> Any:
        if isinstance(value, list):
            return [listed(item) for item in value]
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    inputs = {alias: listed(tf.make_ndarray(request.inputs[alias]).tolist()) for alias in sorted(request.inputs)}
    return json.dumps({"signature_name": request.model_spec.signature_name, "inputs": inputs}).encode()


def _in_threads(work: Callable[[int], None], count: int) -> None:
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
