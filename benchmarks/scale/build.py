"""Time and memory of `triptych build` on generated logs of several sizes, beside the same build of another version of the code.

    python -m benchmarks.scale.build [--sizes 1000000,10000000] [--baseline CHECKOUT --baseline-sizes 1000000]
                                     [--work DIR] [--format csv]

Each build runs in a process of its own, whose peak of resident memory is the largest of it and its workers. Time is that of the processor,
because other work slows a build down on the clock; events per processor second count what the log costs: reading, sorting and
its shards. What the catalogue costs (vocabulary, item shards) is left out of it. `--baseline` names a checkout of an earlier
version, which builds the same folders: the shards of windows must be equal to the byte. Updates
`benchmarks/results/scale-build.json`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from pipelines.runs.progress import say

_ITEMS = 100_000


def build(data: Path, out: Path) -> dict[str, Any]:
    """Build in this process, with the code of the working directory, and say what it took."""
    from pipelines.building import builder as step
    from pipelines.config import Config
    from tfrecs.build import builder

    catalogue = 0.0

    def timed(name: str) -> None:
        function = getattr(builder, name)

        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal catalogue
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                catalogue += time.process_time() - started

        setattr(builder, name, run)

    for name in ("write_vocabulary", "make_items"):
        timed(name)
    started, processor = time.perf_counter(), time.process_time()
    manifest = step.run(step.BuildJob(data, out, Config())).manifest
    seconds, processor = time.perf_counter() - started, time.process_time() - processor - catalogue
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    shards = {shard.name: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    return {
        "events": manifest.interactions,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "events_per_processor_second": round(manifest.interactions / processor),
        "peak_megabytes": round(max(own, children) / 1024),
        "shards": shards,
    }


def build_apart(checkout: Path, data: Path, out: Path) -> dict[str, Any]:
    """Build in a process of its own, with the code of a checkout."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(__file__).resolve()), str(data), str(out)]
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(out)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(
    sizes: Sequence[int], suffix: str, work: Path, baseline: Path | None, compared: Sequence[int]
) -> list[dict[str, Any]]:
    """Generate, build and compare each size."""
    from benchmarks.scale.generate import Sizes, generate

    rows = []
    for events in sizes:
        data = work / f"{suffix}-{events}"
        if not (data / "dataset.yaml").is_file():
            generate(data, Sizes(_ITEMS, events, max(1, events // 50)), suffix)
        row = build_apart(REPO, data, work / "records")
        shards = row.pop("shards")
        if baseline is not None and events in compared:
            former = build_apart(baseline.resolve(), data, work / "records")
            row["same_shards"] = former.pop("shards") == shards
            row["baseline"] = former
        say(json.dumps(row))
        rows.append({"format": suffix, **row})
    return rows


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    return [int(part) for part in value.split(",") if part]


@click.command()
@click.option("--sizes", default="1000000,10000000", show_default=True, callback=_numbers, help="Numbers of events.")
@click.option("--format", "suffix", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/scale-build"), show_default=True)
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), help="A checkout of an earlier version.")
@click.option(
    "--baseline-sizes", default="1000000", show_default=True, callback=_numbers, help="Sizes that it builds too."
)
def main(sizes: list[int], suffix: str, work: Path, baseline: Path | None, baseline_sizes: list[int]) -> None:
    """Measure builds of generated logs."""
    rows = measure(sizes, suffix, work, baseline, baseline_sizes)
    path = RESULTS / "scale-build.json"
    previous = json.loads(path.read_text(encoding="utf-8"))["builds"] if path.is_file() else []
    measured = {(row["format"], row["events"]) for row in rows}
    kept = [row for row in previous if (row["format"], row["events"]) not in measured]
    builds = sorted([*kept, *rows], key=lambda row: (row["format"], row["events"]))
    size, compared = (
        ",".join(str(row["events"]) for row in part) for part in (builds, [row for row in builds if "baseline" in row])
    )
    command = command_line(
        "scale.build", f"--sizes {size}", *([f"--baseline CHECKOUT --baseline-sizes {compared}"] * bool(compared))
    )
    write_result(path, {"command": command, "machine": machine(), "items": _ITEMS, "builds": builds})


if __name__ == "__main__":
    if len(sys.argv) == 3 and Path(sys.argv[1]).is_dir():  # The process of a build.
        print(json.dumps(build(Path(sys.argv[1]), Path(sys.argv[2]))))
    else:
        main()
