"""Quality of the sampled softmax against the full one: two runs that differ in nothing else.

    python -m benchmarks.scale.sampled_softmax --data DIR/ml1m [--epochs 8] [--negatives 256] [--features text,genres]
                                               [--set section.key=value ...]

Both train for the same number of epochs from the same seed, with frozen encoders, and keep the epoch with the best validation
NDCG@10. The sampled one takes the items of its batch and `--negatives` others (`retrieval.uniform_negatives`; mixed
negatives). The towers alone are measured, because the rest of the hybrid score would hide a difference: NDCG@20 and Recall@20 on all requests of
validation and test, and the ratio with its 95 % bootstrap interval over users. Finished runs in `--work` are reused. Writes
`benchmarks/results/scale-softmax-<data>.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.heldout import DEPTH
from benchmarks.quality.triptych_runs import train_runs
from benchmarks.quality.variants import Variant, build_variant, example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.bootstrap import compare
from pipelines.scoring.held_out import all_validation_requests, held_out_requests
from pipelines.scoring.requests import with_targets

TARGET = 0.98
MEASURED = ("ndcg@20", "recall@20")
SOFTMAXES = ("full", "in_batch")


def measure(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """Rank all held-out requests with a run: split -> metric of each request, float64 [Q], and `users` str [Q]."""
    session = load_trained(RunFolder(run))
    settings, measured = session.config.evaluate, {}
    for split, requests in (("valid", all_validation_requests(session)), ("test", held_out_requests(session))):
        queries = with_targets(requests.queries)
        ranking = metrics.rank(
            session.scorer(requests), queries, num_items=len(session.catalogue), depth=DEPTH, batch=settings.batch
        )
        measured[split] = {name: metrics.per_query(ranking, queries, name) for name in MEASURED}
        measured[split]["users"] = queries.user_ids
    return measured


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A data folder.")
@click.option("--features", default="", help="Item features to keep, separated by commas; all by default.")
@click.option("--epochs", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--negatives", type=click.IntRange(min=0), help="Uniform negatives of the sampled run.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of both runs.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/sampled-softmax"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path,
    features: str,
    epochs: int,
    negatives: int | None,
    changes: tuple[str, ...],
    work: Path,
    out: Path | None,
) -> None:
    """Compare the sampled softmax with the full one."""
    fixed = (
        "train.encoders=frozen",
        "hybrid.enabled=false",
        f"train.epochs={epochs}",
        f"train.min_epochs={epochs}",
        f"train.patience={epochs}",
        *changes,
    )
    kept = tuple(features.split(",")) if features else ()
    variant = Variant(data, example_spec(data, None), kept)
    folder = work / variant.folder_name
    records = build_variant(variant, folder, load_config(None, fixed))
    measured, seconds = {}, {}
    for softmax in SOFTMAXES:
        own = () if negatives is None or softmax == "full" else (f"retrieval.uniform_negatives={negatives}",)
        config = load_config(None, (*fixed, f"retrieval.softmax={softmax}", *own))
        say(f"{softmax.replace('_', '-')} softmax")
        (run,) = train_runs(records, folder / "runs", config, [config.seed])
        rows = RunFolder(run).read_metrics()
        seconds[softmax] = round(sum(row["seconds"] for row in rows), 1)
        measured[softmax] = measure(run)
    result: dict[str, Any] = {}
    for split in ("valid", "test"):
        full, sampled = (measured[softmax][split] for softmax in SOFTMAXES)
        result[split] = {
            name: {
                **{softmax: round(float(measured[softmax][split][name].mean()), 5) for softmax in SOFTMAXES},
                "sampled_against_full": compare(sampled[name], full[name], full["users"]).as_dict(),
            }
            for name in MEASURED
        }
        say(f"{split}: {result[split]}")
    ratio = result["test"]["ndcg@20"]["sampled_against_full"]["ratio"]
    command = command_line(
        "scale.sampled_softmax",
        f"--data DIR/{data.name}",
        f"--epochs {epochs}",
        f"--negatives {negatives}" * (negatives is not None),
        f"--features {features}" * bool(features),
        changes=changes,
    )
    write_result(
        out or RESULTS / f"scale-softmax-{data.name}.json",
        {
            "command": command,
            "machine": machine(),
            "epochs": epochs,
            "seconds_of_all_epochs": seconds,
            "target": TARGET,
            "holds": ratio is not None and ratio >= TARGET,
            **result,
        },
    )


if __name__ == "__main__":
    main()
