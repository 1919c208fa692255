"""Wrong requests by the ten thousand against the embedded server: each is refused rightly, and the server lives on.

    python -m benchmarks.fuzz_serving --model saved_models/demo [--requests 20000] [--seconds 600] [--seed 0] [--out FILE]

Requests are the export's own warm-up requests, of every signature, made wrong one step each (`benchmarks.mutations`),
over gRPC and REST. Right is: a status of the client's own fault, a message that names the input, and never a crash, a
hang or INTERNAL. After every few hundred, the requests as they were must get the answers they got at the start.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from benchmarks.mutations import Mutant, mutant, with_files
from serving.layout import latest_version
from serving.servable import WARMUP_FILE

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLIENTS, ROUND, SHOWN = 4, 400, 20
TIMEOUT = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long, whatever is left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    model = options.model.resolve()
    with _server(model) as (address, rest, pid):
        figures = fuzz(
            address, rest, base_requests(model), count=options.requests, seconds=options.seconds, seed=options.seed,
            memory=lambda: _resident_megabytes(pid),
        )  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if figures["failures"]:
        raise SystemExit(f"{figures['failures']} of {figures['requests']} requests were not answered rightly")


def base_requests(model: Path) -> list[Any]:
    """The recorded requests of the newest version of a model's folder, and one with a picture and a sound."""
    logs = tf.data.TFRecordDataset(str(model / str(latest_version(model)) / WARMUP_FILE)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in logs]
    for request in requests:
        request.model_spec.name = model.name
        request.model_spec.ClearField("version")
    items = [request for request in requests if request.model_spec.signature_name == "embed_items"]
    return requests + [with_files(request) for request in items[:1]]


def fuzz(
    address: str,
    rest: str,
    requests: list[Any],
    *,
    count: int,
    seconds: float,
    seed: int,
    memory: Callable[[], float],
) -> dict[str, Any]:
    """Sends mutants to a running server and counts.

    Args:
      address, rest: host:port of gRPC and of REST.
      requests: what the mutants are made of; the server answers them as they are.
      count: of mutants.
      seconds: after which no more are sent.
      memory: megabytes that the server holds.

    Returns:
      counts by kind and by status; `failures`, and the first of them in `shown`.
    """
    rng, begin = random.Random(seed), time.monotonic()
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    wrong: list[dict[str, str]] = []
    probes, megabytes = 0, []
    name = requests[0].model_spec.name
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(CLIENTS) as pool:
        call = channel.unary_unary(PREDICT)
        asker = _Asker(call, rest, name)
        expected = [_answer(call, request) for request in requests]
        while sum(kinds.values()) < count and time.monotonic() < begin + seconds:
            mutants = [mutant(requests, rng) for _ in range(min(ROUND, count - sum(kinds.values())))]
            for made, (status, message) in zip(mutants, pool.map(asker.ask, mutants), strict=True):
                kinds[made.kind] += 1
                statuses[status] += 1
                refused = status not in ("OK", "200")
                if status not in made.allowed or (refused and made.named not in message):
                    wrong.append({"kind": made.kind, "input": made.named, "status": status, "message": message[:300]})
            for request, answer in zip(requests, expected, strict=True):
                probes += 1
                if _answer(call, request) != answer:
                    wrong.append({"kind": "none", "input": "", "status": "OK", "message": "another answer than before"})
            megabytes.append(memory())
    return {
        "model": name,
        "seed": seed,
        "requests": sum(kinds.values()),
        "seconds": round(time.monotonic() - begin, 1),
        "unchanged_requests_between": probes,
        "failures": len(wrong),
        "shown": wrong[:SHOWN],
        "statuses": dict(sorted(statuses.items())),
        "kinds": dict(sorted(kinds.items())),
        "server_megabytes": {"after_the_first_round": round(megabytes[0]), "at_the_end": round(megabytes[-1])},
    }


class _Asker:
    """Sends a mutant."""

    def __init__(self, call: Callable[..., bytes], rest: str, name: str) -> None:
        self._call = call
        self._rest = rest
        self._path = f"/v1/models/{name}:predict"

    def ask(self, made: Mutant) -> tuple[str, str]:
        """Status and message. A server that does not answer at all is an error of the connection, and raised."""
        if made.rest:
            # One connection a request: the server closes those that are idle during the probes.
            connection = http.client.HTTPConnection(self._rest, timeout=TIMEOUT)
            try:
                connection.request("POST", self._path, made.body)
                response = connection.getresponse()
                return str(response.status), response.read().decode(errors="replace")
            finally:
                connection.close()
        try:
            predict_pb2.PredictResponse.FromString(self._call(made.body, timeout=TIMEOUT))
        except grpc.RpcError as error:
            status: Any = error
            return status.code().name, status.details() or ""
        return "OK", ""


def _answer(call: Callable[..., bytes], request: Any) -> Any:
    return predict_pb2.PredictResponse.FromString(call(request.SerializeToString(), timeout=TIMEOUT))


def _resident_megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    if found is None:
        raise SystemExit("the server has ended")
    return int(found[1]) / 1024


@contextmanager
def _server(model: Path) -> Iterator[tuple[str, str, int]]:
    """A server in a process of its own: its gRPC and REST addresses and its process id."""
    command = [sys.executable, "-m", "pipelines.serve", "--models", str(model), "--port", "0", "--rest-port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.findall(r"127\.0\.0\.1:\d+", line)
        if len(found) != 2:
            raise SystemExit(f"the server did not start: {line}")
        yield found[0], found[1], process.pid
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
