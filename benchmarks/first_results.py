"""The results table of the README: the whole way on the demo, ML-100K and LFM-2k, beside the baselines.

    python -m benchmarks.first_results --data DIR [--only demo,ml100k,lfm2k] [--work DIR]

DIR holds the folders `ml100k` and `lfm2k`; one that is absent is skipped with a line. A run that is there already, in
the same state of the configuration, is evaluated again but not trained again. Writes
`benchmarks/results/first-<name>.json`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import click

from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.evaluation import evaluator as evaluate
from pipelines.reporting.report import report_json
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.demo import generate
from tfrecs.schema import MANIFEST_FILE

REPO = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def measure(name: str, data: Path, spec: Path | None, work: Path) -> dict[str, object]:
    """Builds, trains and evaluates with the defaults; returns what goes to the result file."""
    config = Config()
    records, run = work / name / "records", work / name / "run"
    seconds = {}
    clock = time.monotonic()
    if not (records / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(data, records, config, spec))
        seconds["build"] = time.monotonic() - clock
    train.run(train.TrainJob(records, run, config))
    # The sum of the epochs, so that a run that was continued counts whole.
    seconds["train"] = sum(row["seconds"] for row in RunFolder(run).read_metrics())
    clock = time.monotonic()
    report = evaluate.run(evaluate.EvaluateJob(run)).report
    seconds["evaluate"] = time.monotonic() - clock
    return {
        "command": f"python -m benchmarks.first_results --data DIR --only {name}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "seconds": {step: round(value, 1) for step, value in seconds.items()},
        "report": {**json.loads(report_json(report)), "commands": {}},
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", default="demo,ml100k,lfm2k", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True)
def main(data: Path, only: str, work: Path) -> None:
    RESULTS.mkdir(exist_ok=True)
    for name in only.split(","):
        folder, spec = (data / name, REPO / "examples" / f"{name}.yaml")
        if name == "demo":
            folder, spec = work / "demo" / "data", None
            if not folder.is_dir():
                size = Config().demo
                generate(folder, seed=0, items=size.items, users=size.users, interactions=size.interactions)
        elif not folder.is_dir():
            say(f"{name}: skipped, there is no {folder}")
            continue
        result = measure(name, folder, spec, work)
        (RESULTS / f"first-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
