"""The embedded server: what gRPC costs, what batching gains, exact top-k, a swap under load, and memory over time.

    python -m benchmarks.serving --model saved_models/demo [--seconds 4] [--clients 8] [--soak MINUTES [--soak-only]] [--out FILE]

Everything in one run, in turns, medians. Latencies: one client, whose calls go in turn to the model in this process, to
an echo of the same bytes by a gRPC server in a process of its own, and to Predict; ratios are of neighbours in time.
Throughputs: clients in threads of this process against two servers, with and without batching, for the model and for a
catalogue of `--items` random items (`benchmarks.serving.catalogue`); beside each, what the model's own call allows. The swap
and the top-k are of that catalogue. Each line says what it must reach and whether it does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
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

from benchmarks.input.ratios import Measured
from benchmarks.serving import catalogue
from benchmarks.serving import load as serving_load
from benchmarks.serving import top_k as serving_top_k
from benchmarks.serving.servers import ECHO, PREDICT, Running, echo, recorded, server
from serving.server import predict_util
from serving.server.batching import batches as batching
from serving.server.servable import Servable, load
from serving.wire.layout import latest_version

ROUNDS = 3
LIMIT_BYTES = 1 << 26
SWAP_ITEMS, WIDTH = 50_000, 64
BATCHING = Path(__file__).resolve().parents[2] / "serving" / "deploy" / "batching.config"


@dataclass(frozen=True)
class Model:
    """An export, loaded in this process, and requests of its `recommend`: as messages, as bytes, as arrays."""

    folder: Path
    servable: Servable
    signature: Any
    outputs: list[str]
    requests: list[predict_pb2.PredictRequest]
    bodies: list[bytes]
    inputs: list[dict[str, np.ndarray]]

    def run(self, turn: int) -> dict[str, np.ndarray]:
        return self.servable.run(self.signature, self.inputs[turn % len(self.inputs)], self.outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, of which there are some 30")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batching", type=Path, default=BATCHING, help="a BatchingParameters file for the clients")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the large catalogue")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="also watch the memory for so long")
    parser.add_argument("--soak-pause", type=float, default=0.0, help="seconds between two requests of its clients")
    parser.add_argument("--soak-only", action="store_true", help="nothing but the soak")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    begin = time.monotonic()
    if options.soak_only and not options.soak:
        parser.error("--soak-only needs --soak MINUTES")
    with tempfile.TemporaryDirectory() as folder:
        figures = {"load_before": round(os.getloadavg()[0], 2), "results": []}
        if not options.soak_only:
            figures |= measure(options, Path(folder))
    if options.soak:
        figures["soak"] = soak(options)
        slope = figures["soak"]["megabytes_an_hour"]
        limited = Measured("memory, MB an hour (upper end)", slope["to"], serving_load.FLAT, False, _facts(slope))
        figures["results"].append(limited.as_dict())
    figures = {"command": _command(options), "processors": os.cpu_count(), **figures}
    figures["load_average"] = {"before": figures.pop("load_before"), "after": round(os.getloadavg()[0], 2)}
    figures["minutes"] = round((time.monotonic() - begin) / 60, 1)
    for line in figures["results"]:
        print(Measured(**{key: value for key, value in line.items() if key != "holds"}).line())
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, and a `Measured` for each that has a limit."""
    small = open_model(options.model.resolve())
    table = catalogue.embeddings(options.items, WIDTH, seed=0)
    top_k = {rows: serving_top_k.measure(table, options.seconds * 2, rows) for rows in (1, 8)}
    large = open_model(catalogue.write(folder / "large" / "1", table, seed=1, name="large").parent)
    del table
    latency = latencies(small, options.seconds * ROUNDS)
    rates = {
        model.folder.name: gains(model, options.clients, options.seconds, options.batching.resolve())
        for model in (small, large)
    }
    swapped = swap(folder / "swap", options.clients, options.seconds)
    figures: dict[str, Any] = {
        "model": small.folder.name,
        "latency": latency,
        "throughput": rates,
        "top_k": list(top_k.values()),
        "swap": swapped,
    }
    results = [
        Measured(
            "gRPC p50 / (call in process + echo)", latency["grpc_over_floor"], 1.15, False, _facts(latency["p50_ms"])
        ),
        *(
            Measured(f"batching gain, {name}", rate["gain"], 2.5, True, _facts(rate["requests_per_second"]))
            for name, rate in rates.items()
        ),
        Measured("exact top-100 / reading the table", top_k[1]["over_reading"], 1.5, False, _facts(top_k[1]["ms"])),
        Measured("BruteForce / exact top-100", top_k[1]["faster_than_brute_force"], 1.25, True, _facts(top_k[1]["ms"])),
        Measured("answers lost or mixed in a swap", _lost(swapped), 0, False, _facts(swapped["answers_by_version"])),
    ]
    return {"results": [result.as_dict() for result in results], **figures}


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """The model's server under requests of all kinds, and its memory."""
    with server(options.model.resolve()) as running:
        requests = recorded(options.model.resolve())
        seconds = 60 * options.soak
        return serving_load.soak(running, requests, seconds=seconds, clients=4, pause=options.soak_pause, seed=0)


def open_model(folder: Path) -> Model:
    """Loads the newest version here. Raises SystemExit where it has no recorded requests of `recommend`."""
    number = latest_version(folder)
    servable = load(folder / str(number), folder.name, number)
    requests = [request for request in recorded(folder) if request.model_spec.signature_name == "recommend"]
    if not requests:
        raise SystemExit(f"{folder}: no recorded requests of recommend")
    signature = servable.signatures["recommend"]
    inputs = [predict_util.decode_inputs(signature, request.inputs, limit_bytes=LIMIT_BYTES) for request in requests]
    bodies = [request.SerializeToString() for request in requests]
    return Model(folder, servable, signature, predict_util.select_outputs(signature, ()), requests, bodies, inputs)


def latencies(model: Model, seconds: float) -> dict[str, Any]:
    """Medians in milliseconds of one client's calls, in turns, and the ratio that must be near 1."""
    reply = model.servable.predict(model.requests[0], limit_bytes=LIMIT_BYTES).SerializeToString()
    with echo(reply) as floor, server(model.folder) as running:
        calls: dict[str, Callable[[int], Any]] = {
            "in_process": model.run,
            "echo": lambda turn: floor.call(ECHO, model.bodies[turn % len(model.bodies)]),
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


def gains(model: Model, clients: int, seconds: float, parameters: Path) -> dict[str, Any]:
    """Requests per second with and without batching, and what the call of the model alone would allow."""
    rates: dict[str, list[float]] = {name: [] for name in ("direct", "batched", "alone", "alone_in_batches")}
    together = _merged(model, clients)
    together_options = ("--enable_batching", "--batching_parameters_file", str(parameters))
    with server(model.folder) as direct, server(model.folder, *together_options) as batched:
        _same_answers(batched, model, clients)
        for _ in range(ROUNDS):
            rates["direct"].append(serving_load.throughput(direct, model.bodies, clients, seconds))
            rates["batched"].append(serving_load.throughput(batched, model.bodies, clients, seconds))
            rates["alone"].append(_rate(model, model.inputs, 1, seconds / 2))
            rates["alone_in_batches"].append(_rate(model, [together], clients, seconds / 2))
    rate = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "clients": clients,
        "batching_parameters": [line for line in parameters.read_text("utf-8").split("\n") if line and line[0] != "#"],
        "requests_per_second": {name: round(value, 1) for name, value in rate.items()},
        "gain": round(statistics.median(b / a for a, b in zip(rates["direct"], rates["batched"], strict=True)), 2),
        # Were gRPC, clients and Python free: the model called by as many threads as processors.
        "ceiling": round(rate["alone_in_batches"] / rate["alone"], 2),
    }


def _merged(model: Model, rows: int) -> dict[str, np.ndarray]:
    batched = batching.batched_inputs(model.signature, model.outputs)
    if batched is None:
        raise SystemExit(f"{model.folder}: recommend cannot be batched")
    requests = [model.inputs[turn % len(model.inputs)] for turn in range(rows)]
    return batching.merge(requests, batched, pad_lengths=False, paddable=model.servable.paddable_inputs, size=rows)


def _rate(model: Model, inputs: Sequence[dict[str, np.ndarray]], rows: int, seconds: float) -> float:
    counts = [0] * (os.cpu_count() or 1)
    begin = time.perf_counter()

    def worker(number: int) -> None:
        while time.perf_counter() < begin + seconds:
            model.servable.run(model.signature, inputs[counts[number] % len(inputs)], model.outputs)
            counts[number] += 1

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows * sum(counts) / (time.perf_counter() - begin)


def _same_answers(running: Running, model: Model, clients: int) -> None:
    """Batched answers are those of the model alone. Raises SystemExit."""
    alone = [model.run(turn) for turn in range(len(model.inputs))]
    wrong: list[str] = []

    def ask(position: int) -> None:
        response = predict_pb2.PredictResponse.FromString(running.call(PREDICT, model.bodies[position]))
        for name, expected in alone[position].items():
            got = tf.make_ndarray(response.outputs[name])
            same = (got == expected).all() if expected.dtype == object else np.allclose(got, expected, atol=1e-4)
            if not same:
                wrong.append(f"request {position}: {name} differs in a batch")

    for _ in range(3):
        threads = [threading.Thread(target=ask, args=(turn % len(model.bodies),)) for turn in range(2 * clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if wrong:
        raise SystemExit(wrong[0])


def swap(folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Two versions with other embeddings, so that an answer tells which one made it; the second appears under load."""
    name, bodies = "swap", []
    expected: dict[int, list[list[bytes]]] = {}
    for number, place in ((1, folder / name / "1"), (2, folder / "2")):
        catalogue.write(place, catalogue.embeddings(SWAP_ITEMS, WIDTH, seed=number), seed=number, name=name)
        requests = [catalogue.request(name, [str(31 * turn + step) for step in range(9)], 10) for turn in range(16)]
        bodies = [request.SerializeToString() for request in requests]
        servable = load(place, name, number)
        answers = [servable.predict(request, limit_bytes=LIMIT_BYTES) for request in requests]
        expected[number] = [list(answer.outputs["ids"].string_val) for answer in answers]
        servable.close()

    def put_in_place() -> None:
        shutil.move(folder / "2", folder / name / "2")

    with server(folder / name) as running:
        return serving_load.swap(running, bodies, expected, put_in_place, clients=clients, seconds=seconds)


def _lost(swapped: dict[str, Any]) -> float:
    return float(swapped["failures"] + swapped["answers_of_another_version_than_named"])


def _facts(values: dict[Any, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _command(options: argparse.Namespace) -> str:
    soaked = f" --soak {options.soak:g} --soak-pause {options.soak_pause:g}" if options.soak else ""
    soaked += " --soak-only" if options.soak_only else ""
    return (
        f"python -m benchmarks.serving --model saved_models/{options.model.resolve().name} --seconds {options.seconds:g} "
        f"--clients {options.clients} --items {options.items}{soaked}"
    )


if __name__ == "__main__":
    main()
