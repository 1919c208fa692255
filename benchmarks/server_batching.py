"""The embedded server on a real export: what gRPC costs over the model's call, and what batching gains.

    python -m benchmarks.server_batching --model saved_models/demo [--seconds 4] [--clients 8] [--batching FILE] [--out FILE]

Requests are the export's own warm-up requests, of histories of different lengths. Latencies are medians of interleaved
rounds of one client: the model's call in this process, an echo of the same bytes by a gRPC server in a process of its
own, and Predict. Throughputs are of clients in threads of this process against two servers, with and without batching.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving import predict
from serving.layout import latest_version
from serving.servable import WARMUP_FILE, load

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ROUNDS = 3
ECHO = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
reply = open(sys.argv[1], "rb").read()
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", {"Echo": handler})])
print(f"echo  version 0  127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
server.start()
server.wait_for_termination()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, of which there are some 20")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batching", type=Path, help="a BatchingParameters file; default: the server's defaults")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    figures = measure(options.model.resolve(), options.seconds, options.clients, options.batching)
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(model: Path, seconds: float, clients: int, batching: Path | None) -> dict[str, Any]:
    """The figures; latencies in milliseconds, throughputs in requests per second."""
    version = model / str(latest_version(model))
    requests = _requests(version, model.name)
    bodies = [request.SerializeToString() for request in requests]
    servable = load(version, model.name, 1)
    signature = servable.signatures[requests[0].model_spec.signature_name]
    inputs = [predict.decode_inputs(signature, request.inputs, limit_bytes=1 << 26) for request in requests]
    outputs = predict.select_outputs(signature, ())
    alone = [servable.run(signature, arrays, outputs) for arrays in inputs]
    reply = predict.predict(servable, requests[0], limit_bytes=1 << 26).SerializeToString()
    folder = ["-m", "pipelines.serve", "--models", str(model), "--port", "0", "--no-rest"]
    parameters = [f"--batching_parameters_file={batching}"] if batching else []
    with (
        _echo(reply) as echo,
        _process(folder) as direct,
        _process([*folder, "--enable_batching", *parameters]) as batched,
    ):
        _same_answers(batched, bodies, alone, clients)
        calls: dict[str, Callable[[int], Any]] = {
            "in_process": lambda turn: servable.run(signature, inputs[turn % len(inputs)], outputs),
            "echo": lambda turn: echo("/echo/Echo", bodies[turn % len(bodies)]),
            "grpc": lambda turn: direct(PREDICT, bodies[turn % len(bodies)]),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        rates: dict[str, list[float]] = {"direct": [], "batched": []}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name] += _latencies(call, seconds / 2)
            for name, server in (("direct", direct), ("batched", batched)):
                rates[name].append(_throughput(server, bodies, clients, seconds))
    p50 = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    rate = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "model": model.name,
        "signature": requests[0].model_spec.signature_name,
        "processors": os.cpu_count(),
        "p50_ms": {name: round(value, 3) for name, value in p50.items()},
        "grpc_over_in_process_plus_echo": round(p50["grpc"] / (p50["in_process"] + p50["echo"]), 3),
        "clients": clients,
        "batching_parameters": batching.read_text(encoding="utf-8").split("\n") if batching else "defaults",
        "requests_per_second": {name: round(value, 1) for name, value in rate.items()},
        "batching_gain": round(rate["batched"] / rate["direct"], 2),
    }


def _requests(version: Path, name: str) -> list[predict_pb2.PredictRequest]:
    """The recorded requests of the signature `recommend`."""
    logs = tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator()
    found = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in logs]
    requests = [request for request in found if request.model_spec.signature_name == "recommend"]
    if not requests:
        raise SystemExit(f"{version}: no recorded requests of recommend")
    for request in requests:
        request.model_spec.name = name
        request.model_spec.ClearField("version")
    return requests


def _same_answers(server: Callable[[str, bytes], bytes], bodies: list[bytes], alone: list[Any], clients: int) -> None:
    """Batched answers are those of the model alone; the ids, and the scores within 1e-5."""
    answers: list[tuple[int, bytes]] = []

    def ask(position: int) -> None:
        answers.append((position, server(PREDICT, bodies[position])))

    for _ in range(5):
        threads = [threading.Thread(target=ask, args=(turn % len(bodies),)) for turn in range(4 * clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for position, answer in answers:
        response = predict_pb2.PredictResponse.FromString(answer)
        for name, expected in alone[position].items():
            got = tf.make_ndarray(response.outputs[name])
            same = (got == expected).all() if expected.dtype == object else np.allclose(got, expected, atol=1e-5)
            if not same:
                raise SystemExit(f"request {position}: {name} differs in a batch")
    if len(answers) != 20 * clients:
        raise SystemExit("a request got no answer")


def _latencies(call: Callable[[int], Any], seconds: float) -> list[float]:
    call(0)
    times, end, turn = [], time.perf_counter() + seconds, 0
    while (begin := time.perf_counter()) < end:
        call(turn)
        times.append(time.perf_counter() - begin)
        turn += 1
    return times


def _throughput(server: Callable[[str, bytes], bytes], bodies: list[bytes], clients: int, seconds: float) -> float:
    counts = [0] * clients
    begin = time.perf_counter()

    def client(number: int) -> None:
        while time.perf_counter() < begin + seconds:
            server(PREDICT, bodies[(number + counts[number]) % len(bodies)])
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


@contextmanager
def _echo(reply: bytes) -> Iterator[Callable[[str, bytes], bytes]]:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        with _process(["-c", ECHO, file.name]) as call:
            yield call


@contextmanager
def _process(arguments: list[str]) -> Iterator[Callable[[str, bytes], bytes]]:
    """A server in a process of its own; what is yielded sends bytes to a method and returns bytes."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if found is None:
            raise SystemExit(f"a server did not start: {line}")
        with grpc.insecure_channel(found[0]) as channel:
            yield lambda method, body: channel.unary_unary(method)(body, timeout=60)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
