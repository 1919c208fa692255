"""Tens of thousands of invalid requests against the embedded server, which must reject each correctly and keep running.

    python -m benchmarks.fuzz_serving --model saved_models/demo [--requests 20000] [--seconds 600] [--seed 0] [--out FILE]

Requests are the warm-up requests of the export, of every signature, with one mutation each (`benchmarks.serving.mutations`),
over gRPC and REST. A correct answer has a status of a client error and a message that names the input; a crash, a hang and
INTERNAL are failures. After every few hundred mutants, the original requests must get the same answers as at the start.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
import grpc
from tensorflow_serving.apis import predict_pb2

from benchmarks.results_file import command_line, write_result
from benchmarks.serving.mutations import Mutant, make_mutant, with_media
from benchmarks.serving.servers import PREDICT, TIMEOUT, recorded_requests, server

NUM_CLIENTS, ROUND, NUM_SHOWN = 4, 400, 20


def main() -> None:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="a file for the server's error output")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    model = options.model.resolve()
    with server(model, log=options.log) as running:
        assert running.rest is not None
        figures = fuzz(
            running.address, running.rest, base_requests(model), count=options.requests, seconds=options.seconds,
            seed=options.seed, memory=running.megabytes,
        )  # fmt: skip
    command = command_line(
        "fuzz_serving", f"--model DIR/{model.name} --requests {options.requests} --seed {options.seed}"
    )
    print(json.dumps({"command": command, **figures}, indent=1))
    if options.out:
        write_result(options.out, {"command": command, **figures})
    if figures["failures"]:
        raise SystemExit(f"{figures['failures']} of {figures['requests']} requests were not answered correctly")


def base_requests(model: Path) -> list[Any]:
    """Return the recorded requests of the newest version of a model, and one with an image and a sound."""
    requests = recorded_requests(model)
    items = [request for request in requests if request.model_spec.signature_name == "embed_items"]
    return requests + [with_media(request) for request in items[:1]]


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
    """Send mutants to a running server and check the answers.

    Args:
      address, rest: host:port of gRPC and of REST.
      requests: valid requests, from which mutants are made.
      count: number of mutants.
      seconds: after which no more are sent.
      seed: of the mutations.
      memory: returns the resident megabytes of the server.

    Returns:
      Mutants by kind and by status; `failures`, and the first of them in `shown`.
    """
    rng, begin = random.Random(seed), time.monotonic()
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    wrong: list[dict[str, str]] = []
    probes, megabytes = 0, []
    name = requests[0].model_spec.name
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        call = channel.unary_unary(PREDICT)
        sender = _Sender(call, rest, name)
        expected = [_answer(call, request) for request in requests]
        while sum(kinds.values()) < count and time.monotonic() < begin + seconds:
            mutants = [make_mutant(requests, rng) for _ in range(min(ROUND, count - sum(kinds.values())))]
            for mutant, (status, message) in zip(mutants, pool.map(sender.send, mutants), strict=True):
                kinds[mutant.kind] += 1
                statuses[status] += 1
                rejected = status not in ("OK", "200")
                if status not in mutant.allowed or (rejected and mutant.named not in message):
                    wrong.append(
                        {"kind": mutant.kind, "input": mutant.named, "status": status, "message": message[:300]}
                    )
            for request, answer in zip(requests, expected, strict=True):
                probes += 1
                if _answer(call, request) != answer:
                    wrong.append({"kind": "none", "input": "", "status": "OK", "message": "another answer than before"})
            megabytes.append(memory())
            print(f"{sum(kinds.values()):,} requests, {len(wrong)} not answered correctly", file=sys.stderr, flush=True)
    return {
        "model": name,
        "seed": seed,
        "requests": sum(kinds.values()),
        "seconds": round(time.monotonic() - begin, 1),
        "unchanged_requests_between": probes,
        "failures": len(wrong),
        "shown": wrong[:NUM_SHOWN],
        "statuses": dict(sorted(statuses.items())),
        "kinds": dict(sorted(kinds.items())),
        "server_megabytes": {"after_the_first_round": round(megabytes[0]), "at_the_end": round(megabytes[-1])},
    }


class _Sender:
    """Sends mutants over gRPC or REST."""

    def __init__(self, call: Callable[..., bytes], rest: str, name: str) -> None:
        self._call = call
        self._rest = rest
        self._path = f"/v1/models/{name}:predict"

    def send(self, mutant: Mutant) -> tuple[str, str]:
        """Return status and message. If the server does not answer at all, the error of the connection is raised."""
        if mutant.rest:
            # A connection per request, because the server closes idle ones while the original requests are sent.
            connection = http.client.HTTPConnection(self._rest, timeout=TIMEOUT)
            try:
                connection.request("POST", self._path, mutant.body)
                response = connection.getresponse()
                return str(response.status), response.read().decode(errors="replace")
            finally:
                connection.close()
        try:
            predict_pb2.PredictResponse.FromString(self._call(mutant.body, timeout=TIMEOUT))
        except grpc.RpcError as error:
            status: Any = error
            return status.code().name, status.details() or ""
        return "OK", ""


def _answer(call: Callable[..., bytes], request: Any) -> Any:
    return predict_pb2.PredictResponse.FromString(call(request.SerializeToString(), timeout=TIMEOUT))


if __name__ == "__main__":
    main()
