"""Contribution of each part of the model: the same data with one part removed or changed at a time.

    python -m benchmarks.ablation --data DIR [--cold-items 0.1] [--only NAME,...] [--set KEY=VALUE ...] [--work DIR]
        [--out FILE]

DIR is the folder of one data set. The first row is the configuration as it is, with the changes of `--set`; each other row
changes one thing more. The validation split (NDCG@20) decides what a part contributes; test values of the towers alone and
of the hybrid score stand beside it, and Recall@20 of requests for items without training events, as exported. `--cold-items`
makes a share of the items such. Runs in `--work` are reused. Writes `benchmarks/results/ablation-<data>[-<variant>].json`;
some of the rows, or another configuration, would replace the whole table there and need an `--out` of their own.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.triptych_runs import rank_queries, train_runs
from benchmarks.quality.variants import Variant, build_variant, example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.config import load_config
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.generative import GenerativeScorer, beam_search
from pipelines.scoring.held_out import held_out_requests, validation_requests
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Requests, Scorer, with_targets
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
    "semantic ids beside ids": ("item.semantic_ids=beside",),
    "semantic ids instead of ids": ("item.semantic_ids=instead",),
    "HSTU": ("user.block=hstu",),
    "generative head": ("generative.weight=0.5",),
}
METRICS = ("recall@20", "ndcg@20")
NEW = "new_recall@20"  # of requests for items without training events


def measure_row(records: Path, work: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    """Train one configuration, or reuse its run, and measure it."""
    config = load_config(None, changes)
    run = RunFolder(train_runs(records, work / "runs", config, [config.seed])[0])
    session = load_trained(run)
    epochs = run.read_metrics()
    requests = held_out_requests(session)
    row: dict[str, Any] = {"set": list(changes)}
    towers = ModelScorer.of_towers(session.model, requests)
    for name, scorer in {"towers": towers, "hybrid": session.scorer(requests)}.items():
        row[name] = _values(session, scorer, requests)
    if session.hybrid_weights is not None:
        steps = session.hybrid_weights.steps
        row["valid_ndcg@20"] = {"towers": steps[0]["ndcg@20"], "hybrid": steps[-1]["ndcg@20"]}
    search = beam_search(session.model, session.item_index().codes, config.generative.beam)
    if search is not None:
        valid = validation_requests(session)
        found = _values(session, GenerativeScorer(replace(towers, requests=valid), search), valid)
        row.setdefault("valid_ndcg@20", {})["generative"] = found["ndcg@20"]
        row["generative"] = _values(session, GenerativeScorer(towers, search), requests)
    seconds = statistics.median(epoch["seconds"] for epoch in epochs)
    return {**row, "epochs": len(epochs), "seconds_of_an_epoch": round(seconds, 2)}


def _values(session: TrainedRun, scorer: Scorer, requests: Requests) -> dict[str, float]:
    """Measure the lists of a scorer for the requests that have a target."""
    queries = with_targets(requests.queries)
    ranking = rank_queries(session, scorer, queries)
    values = {metric: metrics.per_query(ranking, queries, metric) for metric in METRICS}
    result = {metric: round(float(of.mean()), 5) for metric, of in values.items()}
    is_new = np.array([bool(session.is_cold[targets].all()) for targets in queries.targets], bool)
    if is_new.any():  # items without a training event
        result[NEW] = round(float(values[METRICS[0]][is_new].mean()), 5)
    return result


def markdown_table(rows: dict[str, dict[str, Any]]) -> str:
    """Format the rows as Markdown."""
    lines = [
        "| | valid NDCG@20, towers | hybrid | test Recall@20, towers | NDCG@20 | hybrid Recall@20 | NDCG@20 "
        "| new items, towers | hybrid | s an epoch |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        valid = row.get("valid_ndcg@20", {})
        cells = [f"{valid[part]:.4f}" if part in valid else "" for part in ("towers", "hybrid")]
        cells += [f"{row[part][metric]:.4f}" for part in ("towers", "hybrid") for metric in METRICS]
        cells += [f"{row[part][NEW]:.4f}" if NEW in row[part] else "" for part in ("towers", "hybrid")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['seconds_of_an_epoch']:.1f} |")
        if "generative" in row:  # lists of its own, without the hybrid score
            own = row["generative"]
            cells = [f"{valid['generative']:.4f}", "", *(f"{own[metric]:.4f}" for metric in METRICS), "", ""]
            cells += [f"{own[NEW]:.4f}" if NEW in own else "", ""]
            lines.append(f"| {name}, its own lists | {' | '.join(cells)} | |")
    return "\n".join(lines)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", help="Rows, separated by commas; all by default.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of every row.")
@click.option("--cold-items", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path, only: str | None, changes: tuple[str, ...], cold_items: float, work: Path, out: Path | None
) -> None:
    """Measure the contribution of each part of the model."""
    names = only.split(",") if only else list(ROWS)
    variant = Variant(data, example_spec(data, None), cold_items=cold_items)
    folder = work / variant.folder_name
    try:
        if out is None and (only or changes):
            raise SpecError(
                "--only and --set make another table than the one in benchmarks/results; name its file with --out"
            )
        for name in names:
            if name not in ROWS:
                raise SpecError(f"--only {name}: there are {', '.join(ROWS)}")
        records = build_variant(variant, folder, load_config(None, changes))
        rows = {}
        for name in names:
            say(f"{name}:")
            rows[name] = measure_row(records, folder, (*changes, *ROWS[name]))
    except TriptychError as error:
        click.echo(f"ablation: {error}", err=True)
        sys.exit(2)
    say(markdown_table(rows))
    cold = f"--cold-items {cold_items:g}" if cold_items else ""
    named = f'--only "{only}"' if only else ""
    to = f"--out {out.name}" if out else ""
    command = command_line("ablation", f"--data DIR/{data.name}", cold, named, to, changes=changes)
    path = out or RESULTS / f"ablation-{variant.folder_name}.json"
    write_result(path, {"command": command, "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
