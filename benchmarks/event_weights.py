"""Weights and explicit negatives on a generated log in which views are noise and purchases are taste.

    python -m benchmarks.event_weights [--seed 7] [--work DIR] [--set section.key=value ...]

Each user likes two of five genres and dislikes two. Purchases are drawn from the liked genres, dislikes from the disliked
ones, and views, six in ten events, from all items by a popularity of their own; nobody meets an item twice. The same log is
trained on with four readings of its event types. Each run stops by the validation split as that reading has it, and all
answer the same requests: at each purchase of the test split, is the item that was bought among the first 10, and at each
dislike, how often is the disliked item? The size of the log and the settings were chosen on the log of seed 0, so that a run
takes seconds; the figures are of another one. They show what the options do, not what they gain elsewhere. Writes
`benchmarks/results/event-weights.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import yaml

from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import held_out_requests
from pipelines.training import trainer as train

USERS, ITEMS, GENRES, EVENTS = 1000, 100, 5, 24
SHARES = {"view": 0.6, "buy": 0.25, "dislike": 0.15}
READINGS: dict[str, Mapping[str, float] | None] = {
    "every event counts the same": None,
    "purchases alone": {"view": 0, "buy": 1, "dislike": 0},
    "weights": {"view": 0.2, "buy": 3, "dislike": 0},
    "weights, dislikes as negatives": {"view": 0.2, "buy": 3, "dislike": -1},
}
# Small towers: seconds a run.
SETTINGS = ("user.hidden_dim=32", "user.num_layers=1", "train.epochs=16", "train.min_epochs=8", "train.patience=4")
K = 10


def make_log(seed: int) -> pd.DataFrame:
    """Draw the log: `user_id`, `item_id`, `event` and `timestamp` (all different), oldest first."""
    rng = np.random.default_rng(seed)
    genre = np.arange(ITEMS) % GENRES
    popularity = rng.permutation(1.0 / np.arange(1, ITEMS + 1) ** 0.8)  # of views; it says nothing of purchases
    rows = []
    for user in range(USERS):
        order = rng.permutation(GENRES)
        weights = {
            "view": popularity,
            "buy": np.isin(genre, order[:2]).astype(float),
            "dislike": np.isin(genre, order[2:4]).astype(float),
        }
        met = np.zeros(ITEMS, bool)
        for event in rng.choice(list(SHARES), EVENTS, p=list(SHARES.values())):
            chances = np.where(met, 0.0, weights[event])
            item = int(rng.choice(ITEMS, p=chances / chances.sum()))
            met[item] = True
            rows.append((f"u{user}", f"i{item}", event))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "event"])
    # Users' events interleave: event n of every user before event n + 1 of any.
    position = log.groupby("user_id", sort=False).cumcount().to_numpy()
    log["timestamp"] = 1_700_000_000 + 3600 * (position * USERS + rng.permutation(len(log)) % USERS)
    log["timestamp"] = log["timestamp"] + np.arange(len(log)) % 3600
    return log.sort_values("timestamp", kind="stable", ignore_index=True)


def write_data(folder: Path, log: pd.DataFrame, weights: Mapping[str, float] | None) -> None:
    """Write the data folder of a reading."""
    folder.mkdir(parents=True, exist_ok=True)
    log.to_csv(folder / "interactions.csv", index=False)
    items = [(f"i{item}", f"genre {item % GENRES}") for item in range(ITEMS)]
    pd.DataFrame(items, columns=["item_id", "genre"]).to_csv(folder / "items.csv", index=False)
    events: dict[str, Any] = {"file": "interactions.csv", "user": "user_id", "item": "item_id", "time": "timestamp"}
    if weights is not None:
        bought = {"held_out_at_least": max(weights.values())}
        events["weight"] = {"column": "event", "values": dict(weights), **bought}
    features = {"genre": {"kind": "categories", "column": "genre"}}
    items_spec = {"file": "items.csv", "id": "item_id", "features": features}
    spec = {"name": "event-weights", "items": items_spec, "interactions": events}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def measure(folder: Path, log: pd.DataFrame, config: Config) -> dict[str, float]:
    """Build, train and measure one reading on the purchases and dislikes of the test split."""
    records, run = folder / "records", folder / "run"
    build.run(build.BuildJob(folder, records, config))
    train.run(train.TrainJob(records, run, config))
    trained = load_trained(RunFolder(run))
    requests = held_out_requests(trained)
    queries, settings = requests.queries, config.evaluate
    scorer = trained.scorer(requests)
    scorers = {"": scorer, "towers_": scorer.with_items(trained.model.item_embeddings()[0])}
    kind = log.set_index(["user_id", "timestamp"])["event"].loc[list(zip(queries.user_ids, queries.times, strict=True))]
    result: dict[str, float] = {}
    for event, name in (("buy", "bought"), ("dislike", "disliked")):
        asked = queries.take(kind.to_numpy() == event)
        # Requests are in the order of their events, one each: the item is the target whatever this reading makes of it.
        asked = replace(asked, targets=[requests.pair_items[row : row + 1] for row in asked.rows])
        result[f"{name}_requests"] = len(asked)
        for part, score in scorers.items():
            ranking = metrics.rank(score, asked, num_items=ITEMS, depth=settings.depth, batch=settings.batch)
            result[f"{part}{name}_recall@{K}"] = metrics.accuracy(ranking, asked)[f"recall@{K}"]
    return result


@click.command()
@click.option("--seed", type=int, default=7, show_default=True, help="Of the log and of the runs.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/event-weights"), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the runs.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "event-weights.json", help="Result file.")
def main(seed: int, work: Path, changes: tuple[str, ...], out: Path) -> None:
    """Train on a generated log with four readings of its event types."""
    log, config = make_log(seed), load_config(None, (*SETTINGS, f"seed={seed}", *changes))
    rows = {}
    for number, (name, weights) in enumerate(READINGS.items()):
        folder = work / f"reading{number}"
        write_data(folder, log, weights)
        rows[name] = {"weights": dict(weights or {}), **measure(folder, log, config)}
        say(f"{name}: {rows[name]}")
    command = command_line("event_weights", f"--seed {seed}", changes=changes)
    write_result(out, {"command": command, "machine": machine(), "chance": K / ITEMS, "rows": rows})


if __name__ == "__main__":
    main()
