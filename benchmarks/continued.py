"""What `triptych train --continue` costs and gives, beside training anew on the same records.

    python -m benchmarks.continued --data DIR [--share 0.8] [--set KEY=VALUE ...] [--work DIR]

DIR is the folder of one data set. A first model learns from the oldest `--share` of the interactions and the items in
them. Then all the rest is appended (`--append --resplit`), and the first model is continued, and another trained anew;
both are measured on the same newest requests. What is in `--work` already is not made again. Writes
`benchmarks/results/continued-<data>.json`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.quality import RESULTS, example_spec
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
from tfrecs.tables.table import as_ids, as_numbers, read_table

MEASURED = ("recall@20", "ndcg@20")


def early(data: Path, spec: DatasetSpec, out: Path, share: float) -> Path:
    """A folder with the oldest share of the interactions and the items in them; media are linked.

    Args:
      spec: its tables of items and interactions are one text file each.

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
    table = read_table(data, events.file, [events.item, events.time], Rejects(), events.encoding)
    times, _ = as_numbers(table.column(events.time))
    old = times < np.quantile(times, share)
    _write(data / events.file, out / events.file, table.lines[old], header=True)
    known = set(as_ids(table.column(events.item))[old])
    listed = read_table(data, items.file, [items.id], Rejects(), None)
    there = as_ids(listed.column(items.id)).isin(known).to_numpy()
    _write(data / items.file, out / items.file, listed.lines[there], header=not items.file.endswith(".jsonl"))
    return out


def _write(source: Path, target: Path, lines: np.ndarray, *, header: bool) -> None:
    rows = source.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [*([rows[0]] if header else []), *(rows[line - 1] for line in lines)]
    target.write_text("".join(kept), encoding="utf-8")


def grown_records(data: Path, spec: DatasetSpec, work: Path, config: Config, share: float) -> tuple[Path, Path]:
    """-> the first model's run, and records that hold everything."""
    file, before, records, first = work / SPEC_FILE, work / "before", work / "records", work / "first"
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(spec_to_yaml(spec), encoding="utf-8")
    if not (before / MANIFEST_FILE).is_file():
        shutil.rmtree(work / "early", ignore_errors=True)
        build.run(build.BuildJob(early(data, spec, work / "early", share), before, config, file))
    train.run(train.TrainJob(before, first, config))
    if not (records / MANIFEST_FILE).is_file():
        half = work / "growing"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(before, half)
        build.run(build.BuildJob(data, half, config, file, append=True, resplit=True))
        half.rename(records)
    return first, records


def measured(records: Path, run: Path, config: Config) -> dict[str, Any]:
    train.run(train.TrainJob(records, run, config))
    epochs = RunFolder(run).read_metrics()
    report = evaluate.run(evaluate.EvaluateJob(run)).report
    return {
        **{name: round(value_of(report.model, name), 4) for name in MEASURED},
        "new_items": {name: round(value_of(report.slices["cold_items"], name), 4) for name in MEASURED},
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
        "baselines": {name: round(value_of(found, MEASURED[0]), 4) for name, found in report.baselines.items()},
    }


def compare(data: Path, work: Path, changes: Sequence[str], share: float) -> dict[str, Any]:
    config = load_config(None, changes)
    # The true preferences of generated data are by position: they would not fit the items that are there at first.
    spec = load_spec(data, example_spec(data, None)).model_copy(update={"oracle": None})
    first, records = grown_records(data, spec, work, config, share)
    continued = load_config(RunFolder(first).config_file, [f"train.warm_start={first.resolve()}"])
    rows = {
        "continued": measured(records, work / "continued", continued),
        "anew": measured(records, work / "anew", config),
    }
    was, now = (Manifest.load(folder) for folder in (work / "before", records))
    grew = {name: [getattr(was, name), getattr(now, name)] for name in ("items", "users", "interactions")}
    return {"grew": grew, "rows": rows, "time": round(rows["continued"]["seconds"] / rows["anew"]["seconds"], 3)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.8, show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of every run.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/continued"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(data: Path, share: float, changes: tuple[str, ...], work: Path, out: Path | None) -> None:
    name = data.resolve().parent.name if data.resolve().name == "data" else data.name
    try:
        found = compare(data, work / name, changes, share)
    except TriptychError as error:
        click.echo(f"continued: {error}", err=True)
        sys.exit(2)
    for row, values in found["rows"].items():
        numbers = "  ".join(f"{metric} {values[metric]:.4f}" for metric in MEASURED)
        say(f"{row:>10}  {numbers}  new items {values['new_items'][MEASURED[0]]:.4f}  {values['seconds']:.0f} s")
    command = f"python -m benchmarks.continued --data DIR/{name} --share {share}"
    result = {
        "command": command + "".join(f" --set {one}" for one in changes),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        **found,
    }
    path = out or RESULTS / f"continued-{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(f"Results: {path}")


if __name__ == "__main__":
    main()
