"""Cost and quality of `triptych train --continue` beside training from scratch on the same records.

    python -m benchmarks.continued --data DIR [--share 0.8] [--set KEY=VALUE ...] [--work DIR]

DIR is the folder of one data set. A first model is trained on the oldest `--share` of the interactions and their items.
Then the rest is appended (`--append --resplit`), the first model is continued, and another one is trained from scratch; both
are measured on the same newest requests. Records and runs in `--work` are reused. Writes
`benchmarks/results/continued-<data>.json`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.variants import example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.evaluation import evaluator as evaluate
from pipelines.reporting.report_data import value_of
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.errors import DataError, TriptychError
from tfrecs.rejects import Rejects
from tfrecs.schema import MANIFEST_FILE, Manifest
from tfrecs.spec.dataset_yaml import SPEC_FILE, load_spec, spec_to_yaml
from tfrecs.spec.models import DatasetSpec
from tfrecs.tables.table import as_ids, read_table
from tfrecs.tables.times import read_times

METRICS = ("recall@20", "ndcg@20")


def write_oldest(data: Path, spec: DatasetSpec, out: Path, share: float) -> Path:
    """Write a data folder with the oldest interactions and their items; media are linked.

    Args:
      data: the data folder.
      spec: of the data; its tables of items and interactions are one text file each.
      out: the new folder.
      share: fraction of the interactions.

    Raises:
      DataError: the interactions have no times.
    """
    events, items = spec.interactions, spec.items
    if events.time is None:
        raise DataError(f"{data}: interactions without times cannot be appended; take another data set")
    out.mkdir(parents=True)
    for path in data.iterdir():
        if path.name not in (events.file, items.file, SPEC_FILE):
            (out / path.name).symlink_to(path.resolve())
    table = read_table(data, events.file, [events.item, events.time], Rejects(), events.encoding, events.quoting)
    times = read_times(table.column(events.time), events.time_notation).seconds
    old = times < np.quantile(times, share)
    _write(data / events.file, out / events.file, table.lines[old], header=True)
    old_items = set(as_ids(table.column(events.item))[old])
    item_table = read_table(data, items.file, [items.id], Rejects(), None)
    is_old = as_ids(item_table.column(items.id)).isin(old_items).to_numpy()
    _write(data / items.file, out / items.file, item_table.lines[is_old], header=not items.file.endswith(".jsonl"))
    return out


def _write(source: Path, target: Path, lines: np.ndarray, *, header: bool) -> None:
    rows = source.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [*([rows[0]] if header else []), *(rows[line - 1] for line in lines)]
    target.write_text("".join(kept), encoding="utf-8")


def grown_records(data: Path, spec: DatasetSpec, work: Path, config: Config, share: float) -> tuple[Path, Path]:
    """Train on the oldest interactions and append the rest.

    Returns:
      The run folder of the first model, and the records of all data.
    """
    spec_file, before, records, first = work / SPEC_FILE, work / "before", work / "records", work / "first"
    work.mkdir(parents=True, exist_ok=True)
    spec_file.write_text(spec_to_yaml(spec), encoding="utf-8")
    if not (before / MANIFEST_FILE).is_file():
        shutil.rmtree(work / "early", ignore_errors=True)
        build.run(build.BuildJob(write_oldest(data, spec, work / "early", share), before, config, spec_file))
    train.run(train.TrainJob(before, first, config))
    if not (records / MANIFEST_FILE).is_file():
        growing = work / "growing"
        shutil.rmtree(growing, ignore_errors=True)
        shutil.copytree(before, growing)
        build.run(build.BuildJob(data, growing, config, spec_file, append=True, resplit=True))
        growing.rename(records)
    return first, records


def measure_run(records: Path, run: Path, config: Config) -> dict[str, Any]:
    """Train a run, or reuse it, and evaluate it."""
    train.run(train.TrainJob(records, run, config))
    epochs = RunFolder(run).read_metrics()
    report = evaluate.run(evaluate.EvaluateJob(run)).report
    return {
        **{name: round(value_of(report.model, name), 4) for name in METRICS},
        "new_items": {name: round(value_of(report.slices["cold_items"], name), 4) for name in METRICS},
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
        "baselines": {name: round(value_of(values, METRICS[0]), 4) for name, values in report.baselines.items()},
    }


def compare(data: Path, work: Path, changes: Sequence[str], share: float) -> dict[str, Any]:
    """Compare continuing with training from scratch; return the content of the result file."""
    config = load_config(None, changes)
    # The true preferences of generated data are indexed by item position, which the smaller catalogue would shift.
    spec = load_spec(data, example_spec(data, None)).model_copy(update={"oracle": None})
    first, records = grown_records(data, spec, work, config, share)
    continued = load_config(RunFolder(first).config_file, [f"train.warm_start={first.resolve()}"])
    rows = {
        "continued": measure_run(records, work / "continued", continued),
        "anew": measure_run(records, work / "anew", config),
    }
    before, after = (Manifest.load(folder) for folder in (work / "before", records))
    grew = {name: [getattr(before, name), getattr(after, name)] for name in ("items", "users", "interactions")}
    return {"grew": grew, "rows": rows, "time": round(rows["continued"]["seconds"] / rows["anew"]["seconds"], 3)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.8, show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of every run.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/continued"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(data: Path, share: float, changes: tuple[str, ...], work: Path, out: Path | None) -> None:
    """Compare continuing a model with training it from scratch."""
    name = data.resolve().parent.name if data.resolve().name == "data" else data.name
    try:
        result = compare(data, work / name, changes, share)
    except TriptychError as error:
        click.echo(f"continued: {error}", err=True)
        sys.exit(2)
    for row, values in result["rows"].items():
        numbers = "  ".join(f"{metric} {values[metric]:.4f}" for metric in METRICS)
        say(f"{row:>10}  {numbers}  new items {values['new_items'][METRICS[0]]:.4f}  {values['seconds']:.0f} s")
    command = command_line("continued", f"--data DIR/{name} --share {share}", changes=changes)
    path = out or RESULTS / f"continued-{name}.json"
    write_result(path, {"command": command, "machine": machine(), **result})


if __name__ == "__main__":
    main()
