"""`triptych run`: build, train, evaluate and export."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.evaluation import evaluator as evaluate
from pipelines.exporting import exporter as export
from pipelines.model.strategy import check_one_machine
from pipelines.runs.progress import say
from pipelines.training import trainer as train
from pipelines.workflow import check


@dataclass(frozen=True)
class RunJob:
    """Arguments of `triptych run`.

    Attributes:
      data: folder with tables and media.
      name: of the model.
      config: of every step.
      work: records go to `<work>/<name>/records`, the run to `<work>/<name>/run`.
      models: the export goes to `<models>/<name>`.
      spec: a dataset.yaml elsewhere.
    """

    data: Path
    name: str
    config: Config
    work: Path
    models: Path
    spec: Path | None = None


@dataclass(frozen=True)
class RunResult:
    """The folders that were written, the results of evaluation and export, and the seconds of each step."""

    records: Path
    run: Path
    evaluation: evaluate.EvaluateResult
    export: export.ExportResult
    seconds: dict[str, float]


def run(job: RunJob) -> RunResult:
    """Run every step from a data folder to a model that can be served, after a check of the data (see `check`).

    Raises:
      TriptychError: the check found what stops a build, or a step failed; the results of the steps before it stay.
    """
    check_one_machine(job.config.train.strategy)
    folder = job.work / job.name
    seconds: dict[str, float] = {}

    def timed(title: str, started: float) -> float:
        now = time.monotonic()
        seconds[title] = now - started
        return now

    clock = time.monotonic()
    plan = check.run(check.CheckJob(job.data, job.config, job.spec, folder / "records")).plan
    clock = timed("check", clock)
    heading(1, "Build records")
    records = build.run(build.BuildJob(job.data, folder / "records", job.config, job.spec), plan).out
    clock = timed("build", clock)
    heading(2, "Train")
    trained = train.run(train.TrainJob(records, folder / "run", job.config))
    clock = timed("train", clock)
    heading(3, "Evaluate")
    evaluation = evaluate.run(evaluate.EvaluateJob(trained.out))
    clock = timed("evaluate", clock)
    heading(4, "Export")
    exported = export.run(export.ExportJob(trained.out, job.models / job.name))
    timed("export", clock)
    say("Time: " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    return RunResult(records, trained.out, evaluation, exported, seconds)


def heading(number: int, title: str) -> None:
    """Print the heading of a step."""
    say(f"\n[{number}] {title}")
