"""Fit one peer in its own process and interpreter: reads the data from files and writes ranked lists.

    python -m benchmarks.quality.peers.worker --exchange DIR --peer NAME --params JSON --scoring JSON --seed N --depth N --out FILE

DIR holds `training.npz` and `valid.npz`, `test.npz` (see `interface.py`). FILE gets `valid` and `test`, int32
[A, Q, depth], lists for each of the scoring options (`--scoring`), made by `pipelines.scoring.metrics.rank` as for every
other model, `seconds` of fitting and of ranking, and `epochs` of a peer that stops early: the best one and all trained.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.quality.peers.early_stopping import EarlyStopped
from benchmarks.quality.peers.interface import load_queries, load_training
from benchmarks.quality.peers.table import peers_named
from pipelines.scoring.metrics import rank

_BATCH = 512  # queries scored at a time


def main() -> None:
    """Run the job of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exchange", type=Path, required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--scoring", type=json.loads, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    job = parser.parse_args()
    queries = {split: load_queries(job.exchange / f"{split}.npz") for split in ("valid", "test")}
    training = replace(load_training(job.exchange / "training.npz"), validation=queries["valid"])
    fit = peers_named([job.peer])[0].resolve()
    start = time.monotonic()
    make_scorer = fit(training, job.params, job.seed)
    fitted = time.monotonic()
    scorers = [make_scorer(options) for options in job.scoring]
    lists = {}
    for split, requests in queries.items():
        rankings = [
            rank(scorer, requests, num_items=training.num_items, depth=job.depth, batch=_BATCH) for scorer in scorers
        ]
        lists[split] = np.stack([ranking.items for ranking in rankings])
    seconds = np.array([fitted - start, time.monotonic() - fitted])
    stopped = isinstance(make_scorer, EarlyStopped)
    epochs = np.array([make_scorer.best_epoch, make_scorer.trained_epochs] if stopped else [], np.int64)
    temporary = job.out.with_name(f".{job.out.name}.tmp.npz")
    np.savez(temporary, seconds=seconds, epochs=epochs, **lists)
    os.replace(temporary, job.out)


if __name__ == "__main__":
    main()
