"""Measurements of the embedded server: latency, batching, exact top-k, and a swap of versions under load."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benchmarks.measurement import Measurement
from benchmarks.serving import top_k as top_k_benchmark
from benchmarks.serving.catalogue import clustered_embeddings, make_request, random_embeddings, write_export
from benchmarks.serving.load import in_threads, swap, throughput
from benchmarks.serving.servers import ECHO, PREDICT, RunningServer, echo, recorded_requests, server
from serving.server import predict_util
from serving.server.batching import batches as batching
from serving.server.servable import Servable, load
from serving.wire.layout import latest_version

ROUNDS = 3
LIMIT_BYTES = 1 << 26
SWAP_ITEMS, DIM = 50_000, 64


@dataclass(frozen=True)
class LoadedModel:
    """An export that is loaded in this process, and requests of its `recommend` as messages, bytes and arrays."""

    folder: Path
    servable: Servable
    signature: Any
    outputs: list[str]
    requests: list[predict_pb2.PredictRequest]
    bodies: list[bytes]
    inputs: list[dict[str, np.ndarray]]

    def run(self, turn: int) -> dict[str, np.ndarray]:
        """Call the model with one of the requests."""
        return self.servable.run(self.signature, self.inputs[turn % len(self.inputs)], self.outputs)


def measure(
    model: Path, folder: Path, *, seconds: float, clients: int, batching_file: Path, items: int
) -> dict[str, Any]:
    """Measure everything but the soak.

    Args:
      model: folder of an exported model.
      folder: for the exports that are made here.
      seconds: of each measurement.
      clients: number of threads that send requests.
      batching_file: a BatchingParameters file.
      items: of the large catalogue.

    Returns:
      All figures, and under `results` a `Measurement` for each that has a limit.
    """
    small = open_model(model)
    embeddings = random_embeddings(items, DIM, seed=0)
    top_k = {rows: top_k_benchmark.measure(embeddings, seconds * 2, rows) for rows in (1, 8)}
    large = open_model(write_export(folder / "large" / "1", embeddings, seed=1, name="large").parent)
    del embeddings
    latency = measure_latency(small, seconds * ROUNDS)
    rates = {opened.folder.name: measure_batching(opened, clients, seconds, batching_file) for opened in (small, large)}
    swapped = measure_swap(folder / "swap", clients, seconds)
    figures: dict[str, Any] = {
        "model": small.folder.name,
        "latency": latency,
        "throughput": rates,
        "top_k": list(top_k.values()),
        "swap": swapped,
    }
    results = [
        Measurement(
            "gRPC p50 / (call in process + echo)", latency["grpc_over_floor"], 1.15, False, facts(latency["p50_ms"])
        ),
        *(
            Measurement(f"batching gain, {name}", rate["gain"], 2.5, True, facts(rate["requests_per_second"]))
            for name, rate in rates.items()
        ),
        *top_k_benchmark.measurements(top_k[1]),
        Measurement("answers lost or mixed in a swap", _lost(swapped), 0, False, facts(swapped["answers_by_version"])),
    ]
    return {"results": [result.as_dict() for result in results], **figures}


def measure_index(seconds: float, items: int) -> dict[str, Any]:
    """Measure the search of the best 100 alone, by tables of each dtype, of random and of clustered embeddings.

    Args:
      seconds: of each measurement.
      items: number of items.

    Returns:
      All figures, and under `results` a `Measurement` for each that has a limit.
    """
    figures = []
    for name, made in (("random", random_embeddings), ("clustered", clustered_embeddings)):
        embeddings = made(items, DIM, seed=0)
        figures += [top_k_benchmark.measure(embeddings, seconds, rows, name) for rows in (1, 8)]
    results = [limited for part in figures if part["rows"] == 1 for limited in top_k_benchmark.measurements(part)]
    return {"results": [result.as_dict() for result in results], "top_k": figures}


def open_model(folder: Path) -> LoadedModel:
    """Load the newest version of a model. Raises SystemExit if it has no recorded requests of `recommend`."""
    number = latest_version(folder)
    servable = load(folder / str(number), folder.name, number)
    requests = [request for request in recorded_requests(folder) if request.model_spec.signature_name == "recommend"]
    if not requests:
        raise SystemExit(f"{folder}: no recorded requests of recommend")
    signature = servable.signatures["recommend"]
    inputs = [
        predict_util.decode_inputs(signature, request.inputs, limit_bytes=LIMIT_BYTES, strict=True)
        for request in requests
    ]
    bodies = [request.SerializeToString() for request in requests]
    return LoadedModel(
        folder, servable, signature, predict_util.select_outputs(signature, ()), requests, bodies, inputs
    )


def measure_latency(model: LoadedModel, seconds: float) -> dict[str, Any]:
    """Measure the median milliseconds of one client's calls in turns, and their ratio to the lower bound."""
    reply = model.servable.predict(model.requests[0], limit_bytes=LIMIT_BYTES).SerializeToString()
    with echo(reply) as echo_server, server(model.folder) as running:
        calls: dict[str, Callable[[int], Any]] = {
            "in_process": model.run,
            "echo": lambda turn: echo_server.call(ECHO, model.bodies[turn % len(model.bodies)]),
            "grpc": lambda turn: running.call(PREDICT, model.bodies[turn % len(model.bodies)]),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            for turn in range(50):
                call(turn)
        turn, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            for name, call in calls.items():
                begin = time.perf_counter()
                call(turn)
                times[name].append(time.perf_counter() - begin)
            turn += 1
    p50 = {name: statistics.median(values) for name, values in times.items()}
    fast = {name: float(np.percentile(values, 10)) for name, values in times.items()}
    return {
        "turns": turn,
        "p50_ms": {name: round(1e3 * value, 3) for name, value in p50.items()},
        "p10_ms": {name: round(1e3 * value, 3) for name, value in fast.items()},
        "grpc_over_floor": round(p50["grpc"] / (p50["in_process"] + p50["echo"]), 3),
        "grpc_over_floor_p10": round(fast["grpc"] / (fast["in_process"] + fast["echo"]), 3),
    }


def measure_batching(model: LoadedModel, clients: int, seconds: float, parameters: Path) -> dict[str, Any]:
    """Measure requests per second with and without batching, and what the model's call alone allows."""
    rates: dict[str, list[float]] = {name: [] for name in ("direct", "batched", "alone", "alone_in_batches")}
    merged = _merge_requests(model, clients)
    batching_options = ("--enable_batching", "--batching_parameters_file", str(parameters))
    with server(model.folder) as direct, server(model.folder, *batching_options) as batched:
        _check_batched_answers(batched, model, clients)
        for _ in range(ROUNDS):
            rates["direct"].append(throughput(direct, model.bodies, clients, seconds))
            rates["batched"].append(throughput(batched, model.bodies, clients, seconds))
            rates["alone"].append(_call_rate(model, model.inputs, 1, seconds / 2))
            rates["alone_in_batches"].append(_call_rate(model, [merged], clients, seconds / 2))
    rate = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "clients": clients,
        "batching_parameters": [line for line in parameters.read_text("utf-8").split("\n") if line and line[0] != "#"],
        "requests_per_second": {name: round(value, 1) for name, value in rate.items()},
        "gain": round(statistics.median(b / a for a, b in zip(rates["direct"], rates["batched"], strict=True)), 2),
        # Without the cost of gRPC, clients and Python: as many threads as cores call the model.
        "ceiling": round(rate["alone_in_batches"] / rate["alone"], 2),
    }


def _merge_requests(model: LoadedModel, rows: int) -> dict[str, np.ndarray]:
    batched = batching.batched_inputs(model.signature, model.outputs)
    if batched is None:
        raise SystemExit(f"{model.folder}: recommend cannot be batched")
    requests = [model.inputs[turn % len(model.inputs)] for turn in range(rows)]
    return batching.merge(requests, batched, pad_lengths=False, paddable=model.servable.paddable_inputs, size=rows)


def _call_rate(model: LoadedModel, inputs: Sequence[dict[str, np.ndarray]], rows: int, seconds: float) -> float:
    counts = [0] * (os.cpu_count() or 1)
    begin = time.perf_counter()

    def worker(number: int) -> None:
        while time.perf_counter() < begin + seconds:
            model.servable.run(model.signature, inputs[counts[number] % len(inputs)], model.outputs)
            counts[number] += 1

    in_threads(worker, len(counts))
    return rows * sum(counts) / (time.perf_counter() - begin)


def _check_batched_answers(running: RunningServer, model: LoadedModel, clients: int) -> None:
    """Check that batched answers equal those of the model alone. Raises SystemExit."""
    alone = [model.run(turn) for turn in range(len(model.inputs))]
    wrong: list[str] = []

    def check(number: int) -> None:
        position = number % len(model.bodies)
        response = predict_pb2.PredictResponse.FromString(running.call(PREDICT, model.bodies[position]))
        for name, expected in alone[position].items():
            got = tf.make_ndarray(response.outputs[name])
            same = (got == expected).all() if expected.dtype == object else np.allclose(got, expected, atol=1e-4)
            if not same:
                wrong.append(f"request {position}: {name} differs in a batch")

    for _ in range(3):
        in_threads(check, 2 * clients)
    if wrong:
        raise SystemExit(wrong[0])


def measure_swap(folder: Path, clients: int, seconds: float, items: int = SWAP_ITEMS) -> dict[str, Any]:
    """Swap two versions under load; their embeddings differ, so that an answer shows which version made it."""
    name, bodies = "swap", []
    expected: dict[int, list[list[bytes]]] = {}
    for number, version in ((1, folder / name / "1"), (2, folder / "2")):
        write_export(version, random_embeddings(items, DIM, seed=number), seed=number, name=name)
        requests = [make_request(name, [str(31 * turn + step) for step in range(9)], 10) for turn in range(16)]
        bodies = [request.SerializeToString() for request in requests]
        servable = load(version, name, number)
        answers = [servable.predict(request, limit_bytes=LIMIT_BYTES) for request in requests]
        expected[number] = [list(answer.outputs["ids"].string_val) for answer in answers]
        servable.close()

    def put_in_place() -> None:
        shutil.move(folder / "2", folder / name / "2")

    with server(folder / name) as running:
        return swap(running, bodies, expected, put_in_place, clients=clients, seconds=seconds)


def _lost(swapped: dict[str, Any]) -> float:
    return float(swapped["failures"] + swapped["answers_of_another_version_than_named"])


def facts(values: dict[Any, Any]) -> str:
    """Format named values as one line."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
