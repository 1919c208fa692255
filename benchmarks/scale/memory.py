"""Resident memory of `triptych train` by the size of the catalogue, and in which of its phases most is needed.

    python -m benchmarks.scale.memory [--items N ...] [--steps 200] [--work DIR] [--baseline CHECKOUT] [--set KEY=VALUE ...]

Catalogues with text, a vector and categories, and 20 events an item, are generated and built where `--work` does not hold
them yet. Each training runs in a process of its own: one epoch of at most `--steps` steps, as memory does not depend on
their number, with everything before and after it. Counted is what is resident, files that are mapped into memory included.
`--baseline` names a checkout of an earlier version that trains on the same records. Updates
`benchmarks/results/scale-memory.json`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

SIZES = (10_000, 100_000, 1_000_000)
EVENTS_OF_ITEM, EVENTS_OF_USER = 20, 50
SETTINGS = ("train.epochs=1", "train.min_epochs=1", "cooccurrence.max_steps=50")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.05  # seconds between two looks at the memory


class Phases:
    """Notes the most memory that is resident in each phase of a process: phases are what shows progress.

    Attributes:
      peaks: phase -> bytes; what lies between phases counts to the one before it.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._now = "start"
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            with open("/proc/self/statm") as file:
                resident = int(file.read().split()[1]) * _PAGE
            name = self._now
            self.peaks[name] = max(self.peaks.get(name, 0), resident)
            self.seconds[name] = self.seconds.get(name, 0.0) + _EVERY
            time.sleep(_EVERY)

    def named(self, progress: Any) -> Any:
        """Wrap `pipelines.runs.progress.progress`."""

        @contextmanager
        def noted(label: str, *arguments: Any, **options: Any) -> Iterator[Any]:
            self._now = label
            with progress(label, *arguments, **options) as advance:
                yield advance
            self._now = f"after {label}"

        return noted


def train(records: Path, out: Path, steps: int, changes: Sequence[str]) -> dict[str, Any]:
    """Train in this process, with the code of the working directory, and say what it took."""
    phases = Phases()
    import pipelines.runs.progress as shown

    shown.progress = phases.named(shown.progress)  # before anything takes it from there
    from pipelines.config import load_config
    from pipelines.training import trainer

    make = trainer.Trainer.__init__

    def limited(self: Any, *arguments: Any) -> None:
        make(self, *arguments)
        self.steps = min(self.steps, steps)

    trainer.Trainer.__init__ = limited  # type: ignore[method-assign]
    started = time.perf_counter()
    trainer.run(trainer.TrainJob(records, out, load_config(None, changes)))
    return {
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "seconds": round(time.perf_counter() - started),
        "phases": {name: round(peak / 1e9, 2) for name, peak in phases.peaks.items()},
        "seconds_of_phases": {name: round(seconds) for name, seconds in phases.seconds.items()},
    }


def train_apart(checkout: Path, records: Path, out: Path, steps: int, changes: Sequence[str]) -> dict[str, Any]:
    """Train in a process of its own, with the code of a checkout."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(__file__).resolve()), str(records), str(out), str(steps), *changes]
    result = out.with_name("result.json")
    result.unlink(missing_ok=True)
    done = subprocess.run(command, cwd=checkout, env={**environment, "RESULT": str(result)})
    shutil.rmtree(out, ignore_errors=True)
    if not result.is_file():
        return {"failed": f"status {done.returncode}"}
    return dict(json.loads(result.read_text()))


def made(work: Path, items: int) -> Path:
    """The records of a size, generated and built where they are not there yet."""
    from benchmarks.results_file import REPO
    from benchmarks.scale.generate import Sizes, generate

    data, records = work / str(items) / "data", work / str(items) / "records"
    if not (records / "manifest.json").is_file():
        if not (data / "dataset.yaml").is_file():
            events = EVENTS_OF_ITEM * items
            generate(data, Sizes(items, events, events // EVENTS_OF_USER), "parquet")
        # In a process of its own: a build leaves memory behind.
        command = [sys.executable, "-m", "pipelines.build", "--data", str(data), "--out", str(records)]
        subprocess.run(command, cwd=REPO, check=True)
    return records


@click.command()
@click.option("--items", "sizes", type=int, multiple=True, default=SIZES, show_default=True, help="Sizes.")
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True, help="Most steps of the epoch.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/scale-memory"), show_default=True)
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), help="A checkout of an earlier version.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    sizes: tuple[int, ...], steps: int, work: Path, baseline: Path | None, changes: tuple[str, ...], out: Path | None
) -> None:
    """Measure the memory of training."""
    from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
    from pipelines.runs.progress import say

    path = out or RESULTS / "scale-memory.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    rows: dict[tuple[Any, ...], dict[str, Any]] = {(row["items"], *row["changed"]): row for row in before}
    for size in sizes:
        records = made(work.resolve(), size)
        run = work.resolve() / str(size) / "run"
        row = {"items": size, "events": EVENTS_OF_ITEM * size, "steps": steps, "changed": list(changes)}
        row |= train_apart(REPO, records, run, steps, (*SETTINGS, *changes))
        if baseline is not None:
            row["baseline"] = train_apart(baseline.resolve(), records, run, steps, (*SETTINGS, *changes))
        say(json.dumps(row))
        rows[(size, *changes)] = row
        whole = {"command": command_line("scale.memory", f"--steps {steps}"), "machine": machine()}
        write_result(path, {**whole, "rows": [rows[key] for key in sorted(rows)]})


if __name__ == "__main__":
    if len(sys.argv) > 3 and Path(sys.argv[1]).is_dir():  # The process of a training.
        outcome = train(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
        Path(os.environ["RESULT"]).write_text(json.dumps(outcome))
    else:
        main()
