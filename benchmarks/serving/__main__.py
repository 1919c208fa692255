"""The embedded server: cost of gRPC, gain of batching, exact top-k, a swap under load, and memory over time.

    python -m benchmarks.serving --model saved_models/demo [--seconds 4] [--clients 8] [--soak MINUTES [--soak-only]] [--out FILE]
    python -m benchmarks.serving --index-only [--seconds 4] [--items 1000000] [--out FILE]

All figures of a run are medians of calls that take turns. Latency: one client calls, in turn, the model in this process, a
gRPC server in another process that echoes the same bytes, and Predict; ratios are of calls next to each other in time.
Throughput: client threads of this process against two servers, with and without batching, for the model and for a catalogue
of `--items` random items (`benchmarks.serving.catalogue`); beside each stands what the model's own call allows. Swap and
top-k use the random catalogue. Each line states its limit and whether it holds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
from benchmarks.measurement import Measurement
from benchmarks.results_file import REPO, command_line, write_result
from benchmarks.serving.load import MAX_GROWTH, soak
from benchmarks.serving.servers import recorded_requests, server
from benchmarks.serving.suite import facts, measure, measure_index

BATCHING_FILE = REPO / "serving" / "deploy" / "batching.config"


def main() -> None:
    """Run the measurements of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's folder, saved_models/NAME")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, of which there are some 30")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batching", type=Path, default=BATCHING_FILE, help="a BatchingParameters file")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the large catalogue")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="also watch the memory for so long")
    parser.add_argument("--soak-pause", type=float, default=0.0, help="seconds between two requests of its clients")
    parser.add_argument("--soak-only", action="store_true", help="run the soak only")
    parser.add_argument("--index-only", action="store_true", help="run the top-k of the large catalogue only")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    if options.soak_only and not options.soak:
        parser.error("--soak-only needs --soak MINUTES")
    if (options.model is None) != options.index_only:
        parser.error("give either --model FOLDER or --index-only")
    start, model = time.monotonic(), options.model and options.model.resolve()
    load_before = round(os.getloadavg()[0], 2)
    figures: dict[str, Any] = {"results": []}
    if options.index_only:
        figures = measure_index(options.seconds, options.items)
    elif not options.soak_only:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(
                model, Path(folder), seconds=options.seconds, clients=options.clients,
                batching_file=options.batching.resolve(), items=options.items,
            )  # fmt: skip
    if options.soak and not options.index_only:
        figures["soak"] = soak_model(model, options.soak, options.soak_pause)
        slope = figures["soak"]["megabytes_an_hour"]
        limited = Measurement("memory, MB an hour (upper end)", slope["to"], MAX_GROWTH, False, facts(slope))
        figures["results"].append(limited.as_dict())
    command = command_line(
        "serving",
        "--index-only" if options.index_only else f"--model saved_models/{model.name} --clients {options.clients}",
        f"--seconds {options.seconds:g} --items {options.items}",
        f"--soak {options.soak:g} --soak-pause {options.soak_pause:g}" if options.soak else "",
        "--soak-only" if options.soak_only else "",
    )
    figures = {"command": command, "processors": os.cpu_count(), **figures}
    figures["load_average"] = {"before": load_before, "after": round(os.getloadavg()[0], 2)}
    figures["minutes"] = round((time.monotonic() - start) / 60, 1)
    for result in figures["results"]:
        print(Measurement(**{key: value for key, value in result.items() if key != "holds"}).line())
    if options.out:
        write_result(options.out, figures)


def soak_model(model: Path, minutes: float, pause: float) -> dict[str, Any]:
    """Send requests of all kinds to a server of the model and watch its memory."""
    with server(model) as running:
        return soak(running, recorded_requests(model), seconds=60 * minutes, clients=4, pause=pause, seed=0)


if __name__ == "__main__":
    main()
