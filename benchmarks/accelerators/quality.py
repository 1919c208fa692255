"""What a precision does to quality: the same training in each, evaluated in float32 as an export is.

    python -m benchmarks.accelerators.quality --data DIR [--seeds N] [--set KEY=VALUE ...]

Builds the data, trains a run for each precision and seed, evaluates it on the test split, and compares the mean NDCG@10
of the towers with hybrid score with that in float32; the spread over seeds stands beside it. Ends with status 1 where
bfloat16 loses more than one per cent. Writes `benchmarks/results/precision-NAME.json`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import click

from benchmarks.measurement import Measurement
from benchmarks.quality.triptych_runs import train_runs
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.evaluation import evaluator as evaluate
from pipelines.runs.progress import say
from tfrecs.schema import Manifest

METRICS = ("ndcg@10", "ndcg@20", "recall@20")
LIMIT = 0.99


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the data.")
@click.option("--seeds", default=1, show_default=True, help="Runs of each precision.")
@click.option("--precision", "precisions", multiple=True, default=("mixed_bfloat16",), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Folder that keeps records and runs, to go on there.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")
def main(data: Path, seeds: int, precisions: tuple[str, ...], work: Path | None, changes: tuple[str, ...]) -> None:
    """Compare the quality of precisions with that of float32."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        records = folder / "records"
        if not records.exists():
            build.run(build.BuildJob(data, records, load_config(None, changes)))
        rows: dict[str, dict[str, Any]] = {}
        for precision in ("float32", *precisions):
            config = load_config(None, (*changes, f"train.precision={precision}"))
            runs = train_runs(records, folder, config, range(seeds))
            values = [evaluate.run(evaluate.EvaluateJob(run)).report.model for run in runs]
            rows[precision] = {name: [round(value[name], 5) for value in values] for name in METRICS}
        name = Manifest.load(records).name
    found = [
        Measurement(
            f"NDCG@10 of {precision} over that of float32",
            mean(rows[precision]["ndcg@10"]) / mean(rows["float32"]["ndcg@10"]),
            LIMIT,
            True,
            f"{rows[precision]['ndcg@10']} and {rows['float32']['ndcg@10']}",
        )
        for precision in precisions
    ]
    for measurement in found:
        say(measurement.line())
    command = command_line("accelerators.quality", "--data DIR", f"--seeds {seeds}", changes=changes)
    result = {"command": command, "machine": machine(), "measurements": [one.as_dict() for one in found], "runs": rows}
    write_result(RESULTS / f"precision-{name}.json", result)
    sys.exit(0 if all(one.holds for one in found) else 1)


if __name__ == "__main__":
    main()
