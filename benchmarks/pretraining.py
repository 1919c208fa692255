"""What `triptych pretrain` does for items that nobody has taken yet.

    python -m benchmarks.pretraining --data DIR/ml100k [--epochs N] [--work DIR]

ML-100K (plots, posters, genres) with a tenth of the items made cold: all their training interactions are removed. (The
generated demo would not do: its modalities are drawn independently, so that none tells of another.) Pretrains on the
catalogue, then trains the towers with the encoders frozen and with the co-occurrence stage, each from fresh and from
pretrained encoders, and ranks the whole catalogue for every test request. Recall@20 of requests for cold items is
what it is about; the difference has a bootstrap interval over requests. Writes `benchmarks/results/pretraining.json`.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml

from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import with_targets
from pipelines.training import pretraining as pretrain
from pipelines.training import trainer as train
from tfrecs.schema import MANIFEST_FILE

RESULTS = Path(__file__).resolve().parent / "results"
SPEC = RESULTS.parent.parent / "examples" / "ml100k.yaml"
MODES = ("frozen", "cooccurrence")
RESAMPLES = 2000


def cold_records(data: Path, work: Path, config: Config) -> Path:
    """Records whose training interactions with a tenth of the items are gone."""
    records = work / "records"
    if (records / MANIFEST_FILE).is_file():
        return records
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    spec["split"]["cold_items"] = 0.1
    path = work / "cold.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return build.run(build.BuildJob(data, records, config, spec=path)).out


def recalls(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Recall@20 of every test request, float [Q], and whether its target is a cold item, bool [Q]."""
    session = load_trained(RunFolder(run))
    requests = held_out_requests(session)
    queries = with_targets(requests.queries)
    settings = session.config.evaluate
    ranking = metrics.rank(
        ModelScorer.of_towers(session.model, requests),
        queries,
        num_items=len(session.catalogue),
        depth=settings.depth,
        batch=settings.batch,
    )
    counts = session.catalogue.counts(session.manifest)
    cold = np.array([bool((counts[targets] == 0).all()) for targets in queries.targets])
    return metrics.per_query(ranking, queries, "recall@20"), cold


def interval(fresh: np.ndarray, pretrained: np.ndarray) -> list[float]:
    """95 % of the mean difference of paired requests, by a bootstrap over them."""
    rng = np.random.default_rng(0)
    difference = pretrained - fresh
    means = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(RESAMPLES)]
    return [round(float(value), 4) for value in np.quantile(means, [0.025, 0.975])]


def compare(records: Path, work: Path, mode: str, pretrained: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for start, more in (("fresh", ()), ("pretrained", (f"train.pretrained={pretrained}",))):
        config = load_config(None, (*changes, f"train.encoders={mode}", *more))
        found[start] = recalls(train.run(train.TrainJob(records, work / f"{mode}-{start}", config)).out)
    (fresh, cold), (better, _) = found["fresh"], found["pretrained"]
    rows = {}
    for name, part in (("cold_items", cold), ("warm_items", ~cold)):
        rows[name] = {
            "requests": int(part.sum()),
            "fresh": round(float(fresh[part].mean()), 4),
            "pretrained": round(float(better[part].mean()), 4),
            "difference_95": interval(fresh[part], better[part]),
        }
        row = rows[name]
        say(f"{mode}, {name}: Recall@20 {row['fresh']:.4f} -> {row['pretrained']:.4f}, 95 % {row['difference_95']}")
    return rows


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--epochs", default=8, show_default=True, help="Of every training; too few for the best model.")
@click.option("--pretrain-epochs", default=30, show_default=True, help="At most; it stops by itself.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work") / "pretraining", show_default=True)
@click.option("--modes", default=",".join(MODES), show_default=True)
def main(data: Path, epochs: int, pretrain_epochs: int, work: Path, modes: str) -> None:
    changes = (f"train.epochs={epochs}", f"pretrain.epochs={pretrain_epochs}")
    config = load_config(None, changes)
    work.mkdir(parents=True, exist_ok=True)
    records = cold_records(data, work, config)
    done = pretrain.run(pretrain.TrainJob(records, work / "pretrained", config))
    result = {
        "command": f"python -m benchmarks.pretraining --data DIR/ml100k --epochs {epochs} --pretrain-epochs {pretrain_epochs} "
        f"--modes {modes}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "seed": config.seed,
        "pretraining": {name: round(value, 4) for name, value in done.metrics.items()},
        "recall@20": {mode: compare(records, work, mode, done.out, changes) for mode in modes.split(",")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pretraining.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
