"""Bulk lists beside the throughput of the export itself.

    python -m benchmarks.serving.bulk_lists [--model saved_models/demo --records work/demo/records] [--items 1000 20000]
      [--users 8000] [--k 100] [--rounds 5] [--out FILE]

For the model, whose users are repeated up to `--users`, and for catalogues of random items with a mean of the history in place
of towers (`benchmarks.serving.catalogue`), the cheapest model that there is: the seconds that
`triptych recommend` takes from histories in memory to the finished parquet file, and those of the calls of the export alone, with
the same batches, inputs made beforehand, in as many threads. The two take turns. Reading the histories and loading the export are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
from benchmarks.measurement import Measurement, speedup
from benchmarks.results_file import command_line, write_result
from benchmarks.serving.catalogue import random_embeddings, write_export
from pipelines.bulk_lists.lister import Lister, ListOptions, padded
from pipelines.bulk_lists.recommender import RecommendJob, make_lists
from pipelines.bulk_lists.selection import Selection
from pipelines.bulk_lists.sources import of_records
from pipelines.config import load_config
from serving.wire.layout import latest_version
from tfrecs.reading.known_events import KnownEvents

LEAST, DIM, MEAN_LENGTH = 0.8, 64, 50


def main() -> None:
    """Run the measurements of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's folder, saved_models/NAME")
    parser.add_argument("--records", type=Path, help="its records")
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 20_000], help="of random catalogues")
    parser.add_argument("--users", type=int, default=8_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    if (options.model is None) != (options.records is None):
        parser.error("--model and --records go together")
    results, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {}
        for items in options.items:
            case = f"random{items}"
            write_export(folder / case / "1", random_embeddings(items, DIM, 0), seed=1, name=case)
            cases[case] = (Lister(folder / case, 1), random_users(options.users, items, seed=2))
        if options.model is not None:
            known = of_records(options.records, Selection())
            users = known.take(np.resize(np.arange(len(known)), options.users))
            cases[options.model.name] = (Lister(options.model, latest_version(options.model)), users)
        for case, (lister, users) in cases.items():
            figures[case] = measure(lister, users, folder / f"{case}.parquet", options.k, options.rounds)
            rates = figures[case]["users_per_second"]
            facts = f"users/s: lists {rates['lists']:,}, export {rates['export']:,}"
            results.append(Measurement(f"bulk lists / export, {case}", figures[case]["ratio"], LEAST, True, facts))
    for result in results:
        print(result.line())
    if options.out:
        command = command_line(
            "serving.bulk_lists",
            f"--model saved_models/{options.model.name} --records work/{options.model.name}/records"
            if options.model
            else "",
            f"--items {' '.join(map(str, options.items))} --users {options.users} --k {options.k} --rounds {options.rounds}",
        )
        content = {
            "command": command,
            "processors": os.cpu_count(),
            "results": [result.as_dict() for result in results],
        }
        write_result(options.out, {**content, **figures})


def random_users(count: int, items: int, seed: int) -> KnownEvents:
    """Make users with histories of random items, of geometric lengths."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.geometric(1 / MEAN_LENGTH, count))])
    events = int(starts[-1])
    ids = np.empty(items, object)
    ids[:] = [str(item).encode() for item in range(items)]
    users = [f"u{user:07d}" for user in range(count)]
    drawn = rng.integers(0, items, events).astype(np.int32)
    return KnownEvents(users, starts, drawn, np.ones(events, np.float32), np.zeros(events, np.int64), ids)


def measure(lister: Lister, users: KnownEvents, out: Path, k: int, rounds: int) -> dict[str, Any]:
    """Time the lists of some users, and the calls of the export that they need, in turns."""
    config = load_config()
    settings, options = config.recommend, ListOptions(k)
    job = RecommendJob(lister.folder.parent, out, config, options)
    events, outputs = padded(users), ["ids", "scores", *lister.labels]
    parts = [range(start, min(start + settings.part, len(users))) for start in range(0, len(users), settings.part)]
    inputs = [
        lister.inputs(events, np.array(part)[batch], options)
        for part in parts
        for batch in lister.batches(users.take(np.array(part)), settings)
    ]

    def export() -> None:
        with ThreadPoolExecutor(settings.threads or os.cpu_count() or 1) as pool:
            for _ in pool.map(lambda given: lister.run(given, outputs), inputs):
                pass

    ratio, ours, alone = speedup(lambda: make_lists(job, lister, users, options, out), export, rounds)
    rates = {"lists": round(len(users) / ours), "export": round(len(users) / alone)}
    facts = {"items": lister.items, "users": len(users), "events": len(users.items), "k": k, "calls": len(inputs)}
    return {**facts, "users_per_second": rates, "ratio": round(ratio, 3)}


if __name__ == "__main__":
    main()
