"""Wrong requests by the ten thousand against the embedded server: each is refused rightly, and the server lives on.

    python -m benchmarks.fuzz_serving --model saved_models/demo [--requests 20000] [--seconds 600] [--seed 0] [--out FILE]

Requests are the export's own warm-up requests, of every signature, made wrong one step each (`benchmarks.serving.mutations`),
over gRPC and REST. Right is: a status of the client's own fault, a message that names the input, and never a crash, a
hang or INTERNAL. After every few hundred, the requests as they were must get the answers they got at the start.
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

from benchmarks.serving.mutations import Mutant, mutant, with_files
from benchmarks.serving.servers import PREDICT, recorded, server

CLIENTS, ROUND, SHOWN = 4, 400, 20
TIMEOUT = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, saved_models/NAME")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this long, whatever is left")
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
    command = f"python -m benchmarks.fuzz_serving --model DIR/{model.name} --requests {options.requests} --seed {options.seed}"
    text = json.dumps({"command": command, **figures}, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    if figures["failures"]:
        raise SystemExit(f"{figures['failures']} of {figures['requests']} requests were not answered rightly")


def base_requests(model: Path) -> list[Any]:
    """The recorded requests of the newest version of a model's folder, and one with a picture and a sound."""
    requests = recorded(model)
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
            print(f"{sum(kinds.values()):,} requests, {len(wrong)} not answered rightly", file=sys.stderr, flush=True)
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


if __name__ == "__main__":
    main()
