"""Time and memory of ranking requests over a large catalogue, and of the evaluation of a run.

    python -m benchmarks.scale.evaluation [--items N ...] [--requests Q] [--run RUN]

Of each size, random embeddings of the items (64 numbers) are ranked for random queries with histories of 50 items, in blocks
as `triptych evaluate` ranks, and with whole rows for 512 requests at a time, as it did before; each in a process of its own,
whose largest resident memory counts. With --run a trained run is evaluated as well. Writes
`benchmarks/results/scale-evaluation.json`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from pipelines.config import EvaluateConfig
from pipelines.runs.progress import say
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries

WIDTH, HISTORY = 64, 50
_LARGEST_WHOLE = 200_000  # items up to which whole rows are measured: more would not fit into the memory


class Factors:
    """Inner products of a query's embedding with those of the items."""

    def __init__(self, queries: np.ndarray, items: np.ndarray):
        self.queries, self.items = queries, items

    def __call__(self, queries: Queries) -> np.ndarray:
        return self.queries[queries.rows] @ self.items.T

    def blocks(self, queries: Queries, size: int) -> Iterator[np.ndarray]:
        embedding = self.queries[queries.rows]
        for start in range(0, len(self.items), size):
            yield embedding @ self.items[start : start + size].T


def measure_ranking(num_items: int, requests: int, blocks: bool) -> dict[str, Any]:
    """Rank random queries in this process."""
    rng, settings = np.random.default_rng(0), EvaluateConfig()
    scorer = Factors(
        rng.standard_normal((requests, WIDTH), np.float32), rng.standard_normal((num_items, WIDTH), np.float32)
    )
    queries = Queries(
        user_ids=np.arange(requests).astype(np.str_),
        times=np.zeros(requests, np.int64),
        histories=list(rng.integers(0, num_items, (requests, HISTORY), np.int32)),
        targets=list(rng.integers(0, num_items, (requests, 1), np.int32)),
        rows=np.arange(requests),
    )
    before, started = _peak(), time.perf_counter()
    ranking = metrics.rank(
        scorer,
        queries,
        num_items=num_items,
        depth=settings.depth,
        batch=settings.batch,
        most_scores=settings.scores_in_memory if blocks else None,
    )
    seconds = time.perf_counter() - started
    assert (ranking.items >= 0).all()
    return {"items": num_items, "requests": requests, "blocks": blocks, "seconds": round(seconds, 1),
            "megabytes": round(_peak()), "megabytes_before": round(before)}  # fmt: skip


def measure_run(run: Path) -> dict[str, Any]:
    """Evaluate a run in this process."""
    from pipelines.evaluation import evaluator

    started = time.perf_counter()
    report = evaluator.run(evaluator.EvaluateJob(run)).report
    return {
        "sample": report.sample,
        "seconds": round(time.perf_counter() - started, 1),
        "parts": {name: round(value, 1) for name, value in report.seconds.items()},
        "megabytes": round(_peak()),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _apart(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale.evaluation", *arguments]
    done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True, check=True)
    row = dict(json.loads(done.stdout.splitlines()[-1]))
    say(json.dumps(row))
    return row


@click.command()
@click.option("--items", multiple=True, type=int, default=(100_000, 1_000_000), show_default=True)
@click.option("--requests", default=5000, show_default=True)
@click.option("--run", type=click.Path(path_type=Path, exists=True), help="A trained run that is evaluated as well.")
@click.option("--alone", type=click.Choice(["blocks", "rows", "run"]), hidden=True, help="One measurement, here.")
def main(items: tuple[int, ...], requests: int, run: Path | None, alone: str | None) -> None:
    """Measure rankings, and the evaluation of a run."""
    if alone is not None:
        row = measure_run(run) if alone == "run" and run else measure_ranking(items[0], requests, alone == "blocks")
        print(json.dumps(row))
        return
    rows = []
    for count in items:
        for kind in ("blocks", "rows") if count <= _LARGEST_WHOLE else ("blocks",):
            rows.append(_apart("--items", str(count), "--requests", str(requests), "--alone", kind))
    result: dict[str, Any] = {"rankings": rows}
    if run is not None:
        result["run"] = _apart("--run", str(run.resolve()), "--alone", "run")
    command = command_line(
        "scale.evaluation",
        *(f"--items {count}" for count in items),
        f"--requests {requests}",
        "--run RUN" if run else "",
    )
    write_result(RESULTS / "scale-evaluation.json", {"command": command, "machine": machine(), **result})


if __name__ == "__main__":
    main()
