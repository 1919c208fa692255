"""Time and memory of a training step with each precision and memory lever, on this machine's CPU.

    python -m benchmarks.accelerators.levers [--records RECORDS] [--steps N] [--set KEY=VALUE ...]

The steps are those of `triptych train`; without RECORDS, on the demo's catalogue. Each is measured in a process of its
own: the median time of a step, and how far the resident memory rises above what it is before the first one. Writes
`benchmarks/results/levers.json`. What half precision does to quality: `python -m benchmarks.accelerators.quality`.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.accelerators.steps import compiled, records_or_demo, training_step
from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from pipelines.runs.progress import say

WARM_UP = 3
BATCHES = 8  # different ones, made before the first step
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Comparison:
    """Steps that differ in one option.

    Attributes:
      name: of what is equal.
      changes: options of all.
      option: that differs.
      values: of it, the first of which the others are compared with.
    """

    name: str
    changes: tuple[str, ...]
    option: str
    values: tuple[str, ...]


MANY = ("train.encoders=finetune", "train.fresh_items=64")
COMPARISONS = (
    Comparison("default", (), "train.precision", ("float32", "mixed_bfloat16")),
    # Without mixed_float16: this CPU has no such arithmetic, and a step takes minutes.
    Comparison("finetune, 64 items", MANY, "train.precision", ("float32", "mixed_bfloat16")),
    Comparison("default, 256 rows", ("train.batch_size=256",), "train.accumulate", ("1", "4", "16")),
    Comparison("finetune, 64 items", MANY, "train.rematerialise", ("false", "true")),
)


def memory(field: str) -> float:
    """A field of this process's status in megabytes: VmRSS, or VmHWM, the highest of it."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


def measure(records: Path, work: Path, changes: tuple[str, ...], steps: int) -> dict[str, float]:
    """Take steps; returns the median milliseconds of one, and the megabytes by which the memory rises."""
    step = training_step(records, work / "run", changes)
    function = compiled(step)
    batches = itertools.cycle(list(step.batches.take(BATCHES)))
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory is now that of this moment
    before, times = memory("VmRSS"), []
    for _ in range(WARM_UP + steps):
        batch = next(batches)
        started = time.perf_counter()
        float(function(batch)["loss"])
        times.append(1000 * (time.perf_counter() - started))
    return {
        "milliseconds": round(statistics.median(times[WARM_UP:]), 2),
        "megabytes": round(memory("VmHWM") - before, 1),
    }


def measured_alone(records: Path, changes: tuple[str, ...], steps: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    settings = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "benchmarks.accelerators.levers", "--records", str(records), "--steps", str(steps)]
    done = subprocess.run([*command, "--alone", *settings], capture_output=True, text=True, cwd=REPO)
    if done.returncode:
        raise SystemExit(f"{' '.join(changes)}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@click.command()
@click.option("--records", type=click.Path(exists=True, path_type=Path), help="Records; the default is the demo's.")
@click.option("--steps", default=20, show_default=True, help="Steps that are timed.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")
@click.option("--alone", is_flag=True, hidden=True, help="Measure the options as they are, and print the figures.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "levers.json", help="Result file.")
def main(records: Path | None, steps: int, changes: tuple[str, ...], alone: bool, out: Path) -> None:
    """Measure training steps with each lever."""
    with records_or_demo(records, changes) as (found, work):
        if alone:
            print(json.dumps(measure(found, work, changes, steps)))
            return
        rows: list[dict[str, Any]] = []
        for comparison in COMPARISONS:
            first: dict[str, float] = {}
            for value in comparison.values:
                options = (*changes, *comparison.changes, f"{comparison.option}={value}")
                figures = measured_alone(found, options, steps)
                first = first or figures
                ratios = {
                    "time_ratio": round(figures["milliseconds"] / first["milliseconds"], 3),
                    "memory_ratio": round(figures["megabytes"] / first["megabytes"], 3),
                }
                rows.append({"step": comparison.name, "option": comparison.option, "value": value, **figures, **ratios})
                say(
                    f"{comparison.name:<20} {comparison.option}={value:<15} {figures['milliseconds']:8.1f} ms "
                    f"({ratios['time_ratio']:.2f})  {figures['megabytes']:8.1f} MB ({ratios['memory_ratio']:.2f})"
                )
    records_option = f"--records {records}" if records else ""
    command = command_line("accelerators.levers", records_option, f"--steps {steps}", changes=changes)
    flags = set(re.findall(r"\b(avx512_bf16|amx_bf16|avx512_fp16)\b", Path("/proc/cpuinfo").read_text()))
    write_result(
        out, {"command": command, "machine": machine(), "half_precision_of_the_cpu": sorted(flags), "rows": rows}
    )


if __name__ == "__main__":
    main()
