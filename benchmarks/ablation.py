"""What each piece of the model is worth: the same data, one piece less or another way at a time.

    python -m benchmarks.ablation --data DIR [--only NAME,...] [--set KEY=VALUE ...] [--work DIR]

DIR is the folder of one data set. The first row is the configuration as it is, with the changes of `--set`; each other row
changes one thing more. All are chosen by the validation split (its NDCG@20 decides what a piece is worth) and measured on
test, towers alone and in the hybrid score. A run that is in `--work` already is not made again. Writes
`benchmarks/results/ablation-<data>.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.quality import ours
from benchmarks.quality.quality import RESULTS, example_spec
from benchmarks.quality.variants import Variant, records_of
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import with_targets
from tfrecs.errors import SpecError, TriptychError

ROWS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "no event values": ("user.use_values=false",),
    "no time gaps": ("user.use_time_gaps=false",),
    "half the history": ("user.max_history=25", "user.stride=12"),
    "twice the history": ("user.max_history=100", "user.stride=50"),
    "item ids never hidden": ("item.id_dropout=0",),
    "no modality dropout": ("item.modality_dropout=0",),
    "label smoothing 0.1": ("retrieval.label_smoothing=0.1",),
    "half the temperature": ("retrieval.temperature=1",),
    "in-batch softmax with logQ": ("retrieval.softmax=in_batch",),
    "encoders not taught before": ("train.encoders=frozen",),
    "no averaging of weights": ("train.ema_momentum=0",),
    "concat fusion": ("item.fusion=concat",),
}
MEASURED = ("recall@20", "ndcg@20")


def row(records: Path, work: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    """Trains, or finds, one configuration and measures it."""
    config = load_config(None, changes)
    run = ours.trained(records, work / "runs", config, [config.seed])[0]
    session = load_trained(RunFolder(run))
    epochs = RunFolder(run).read_metrics()
    requests = held_out_requests(session)
    queries = with_targets(requests.queries)
    settings = session.config.evaluate
    found: dict[str, Any] = {"set": list(changes)}
    scorers = {
        "towers": ModelScorer.of_towers(session.model, requests),
        "hybrid": session.scorer(requests),
    }
    for name, scorer in scorers.items():
        ranking = metrics.rank(
            scorer, queries, num_items=len(session.catalogue), depth=settings.depth, batch=settings.batch
        )
        found[name] = {
            metric: round(float(metrics.per_query(ranking, queries, metric).mean()), 5) for metric in MEASURED
        }
    if session.hybrid_weights is not None:
        steps = session.hybrid_weights.steps
        found["valid_ndcg@20"] = {"towers": steps[0]["ndcg@20"], "hybrid": steps[-1]["ndcg@20"]}
    return {
        **found,
        "epochs": len(epochs),
        "seconds_of_an_epoch": round(statistics.median(epoch["seconds"] for epoch in epochs), 2),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | valid NDCG@20, towers | hybrid | test Recall@20, towers | NDCG@20 | hybrid Recall@20 | NDCG@20 | s an epoch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in rows.items():
        valid = found.get("valid_ndcg@20", {})
        cells = [f"{valid[part]:.4f}" if part in valid else "" for part in ("towers", "hybrid")]
        cells += [f"{found[part][metric]:.4f}" for part in ("towers", "hybrid") for metric in MEASURED]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['seconds_of_an_epoch']:.1f} |")
    return "\n".join(lines)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", help="Rows, comma between; all by default.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of every row.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(data: Path, only: str | None, changes: tuple[str, ...], work: Path, out: Path | None) -> None:
    chosen = only.split(",") if only else list(ROWS)
    folder = work / data.name
    try:
        for name in chosen:
            if name not in ROWS:
                raise SpecError(f"--only {name}: there are {', '.join(ROWS)}")
        records = records_of(Variant(data, example_spec(data, None)), folder, load_config(None, changes))
        rows = {}
        for name in chosen:
            say(f"{name}:")
            rows[name] = row(records, folder, (*changes, *ROWS[name]))
    except TriptychError as error:
        click.echo(f"ablation: {error}", err=True)
        sys.exit(2)
    say(table(rows))
    command = f"python -m benchmarks.ablation --data DIR/{data.name}" + (f' --only "{only}"' if only else "")
    result = {
        "command": command + "".join(f" --set {one}" for one in changes),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "rows": rows,
    }
    path = out or RESULTS / f"ablation-{data.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(f"\nResults: {path}")


if __name__ == "__main__":
    main()
