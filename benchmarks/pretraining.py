"""Effect of `triptych pretrain` on items without training events.

    python -m benchmarks.pretraining --data DIR/ml100k [--epochs N] [--work DIR]

A tenth of the items is made cold: all their training interactions are removed. (The generated demo is unsuitable: its
modalities are drawn independently and say nothing about each other.) Pretrains on the catalogue, then trains the towers with
frozen encoders and with the co-occurrence stage, each from fresh and from pretrained encoders, and ranks the whole catalogue
for every test request. The figure of interest is Recall@20 of requests for cold items; its difference has a bootstrap
interval over requests. Writes `benchmarks/results/pretraining.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.triptych_runs import rank_queries
from benchmarks.quality.variants import Variant, build_variant, example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.bootstrap import mean_interval
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import with_targets
from pipelines.training import pretraining as pretrain
from pipelines.training import trainer as train

MODES = ("frozen", "cooccurrence")
COLD_ITEMS = 0.1


def recall_per_request(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return Recall@20 of every test request, float [Q], and whether its targets are cold, bool [Q]."""
    session = load_trained(RunFolder(run))
    requests = held_out_requests(session)
    queries = with_targets(requests.queries)
    ranking = rank_queries(session, ModelScorer.of_towers(session.model, requests), queries)
    counts = session.catalogue.counts(session.manifest)
    cold = np.array([bool((counts[targets] == 0).all()) for targets in queries.targets])
    return metrics.per_query(ranking, queries, "recall@20"), cold


def compare_starts(records: Path, work: Path, mode: str, pretrained: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    """Train from fresh and from pretrained encoders; return the recall of requests for cold and warm items."""
    recalls = {}
    for start, settings in (("fresh", ()), ("pretrained", (f"train.pretrained={pretrained}",))):
        config = load_config(None, (*changes, f"train.encoders={mode}", *settings))
        run = train.run(train.TrainJob(records, work / f"{mode}-{start}", config)).out
        recalls[start], cold = recall_per_request(run)
    rows = {}
    for name, part in (("cold_items", cold), ("warm_items", ~cold)):
        fresh, better = (recalls[start][part] for start in ("fresh", "pretrained"))
        row = rows[name] = {
            "requests": int(part.sum()),
            "fresh": round(float(fresh.mean()), 4),
            "pretrained": round(float(better.mean()), 4),
            "difference_95": mean_interval(better - fresh, seed=0),
        }
        say(f"{mode}, {name}: Recall@20 {row['fresh']:.4f} -> {row['pretrained']:.4f}, 95 % {row['difference_95']}")
    return rows


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--epochs", default=8, show_default=True, help="Of every training; too few for the best model.")
@click.option("--pretrain-epochs", default=30, show_default=True, help="At most; pretraining stops by itself.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work") / "pretraining", show_default=True)
@click.option("--modes", default=",".join(MODES), show_default=True)
def main(data: Path, epochs: int, pretrain_epochs: int, work: Path, modes: str) -> None:
    """Measure the effect of pretraining."""
    changes = (f"train.epochs={epochs}", f"pretrain.epochs={pretrain_epochs}")
    config = load_config(None, changes)
    records = build_variant(Variant(data, example_spec(data, None), cold_items=COLD_ITEMS), work, config)
    pretrained = pretrain.run(pretrain.TrainJob(records, work / "pretrained", config))
    result = {
        "command": command_line(
            "pretraining",
            f"--data DIR/{data.name} --epochs {epochs} --pretrain-epochs {pretrain_epochs} --modes {modes}",
        ),
        "machine": machine(),
        "seed": config.seed,
        "pretraining": {name: round(value, 4) for name, value in pretrained.metrics.items()},
        "recall@20": {mode: compare_starts(records, work, mode, pretrained.out, changes) for mode in modes.split(",")},
    }
    write_result(RESULTS / "pretraining.json", result)


if __name__ == "__main__":
    main()
