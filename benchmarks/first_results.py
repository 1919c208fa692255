"""Results with the default configuration on the demo, ML-100K and LFM-2k, beside the baselines.

    python -m benchmarks.first_results --data DIR [--only demo,ml100k,lfm2k] [--work DIR]

DIR contains the folders `ml100k` and `lfm2k`; a missing one is skipped with a line. A run in `--work` with the same
configuration is evaluated again but not trained again. Writes `benchmarks/results/first-<name>.json`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from benchmarks.quality.variants import example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.evaluation import evaluator as evaluate
from pipelines.reporting.report import report_json
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.demo import generate
from tfrecs.schema import MANIFEST_FILE


def measure(name: str, data: Path, work: Path) -> dict[str, object]:
    """Build, train and evaluate with the defaults; return the content of the result file."""
    config = Config()
    records, run = work / name / "records", work / name / "run"
    seconds = {}
    start = time.monotonic()
    if not (records / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(data, records, config, example_spec(data, None)))
        seconds["build"] = time.monotonic() - start
    train.run(train.TrainJob(records, run, config))
    # The sum over epochs counts all of a run that was continued.
    seconds["train"] = sum(row["seconds"] for row in RunFolder(run).read_metrics())
    start = time.monotonic()
    report = evaluate.run(evaluate.EvaluateJob(run)).report
    seconds["evaluate"] = time.monotonic() - start
    return {
        "command": command_line("first_results", f"--data DIR --only {name}"),
        "machine": machine(),
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
        "report": {**json.loads(report_json(report)), "commands": {}},
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", default="demo,ml100k,lfm2k", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True)
def main(data: Path, only: str, work: Path) -> None:
    """Measure the default configuration on several data sets."""
    for name in only.split(","):
        folder = work / "demo" / "data" if name == "demo" else data / name
        if name == "demo" and not folder.is_dir():
            size = Config().demo
            generate(folder, seed=0, items=size.items, users=size.users, interactions=size.interactions)
        if not folder.is_dir():
            say(f"{name}: skipped, there is no {folder}")
            continue
        write_result(RESULTS / f"first-{name}.json", measure(name, folder, work))


if __name__ == "__main__":
    main()
