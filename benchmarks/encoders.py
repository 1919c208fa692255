"""Frozen encoders: ten epochs with their cache, filling it included, against encoding each step's items anew.

    python -m benchmarks.encoders [--records RECORDS] [--set KEY=VALUE ...]

Without RECORDS, on the demo's catalogue. Both ways train the same towers on the same batches with the in-batch softmax,
which needs no other items than the batch's own; the other way encodes, in each step, every different item of the batch
once (no gradient goes into a frozen encoder). Cached: ten whole epochs, the refresh of the cache before them included.
Each step: `--steps` steps, times the number of steps of ten epochs. Writes `benchmarks/results/encoders.json`.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from benchmarks.input.ratios import Measured
from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.model.model_factory import refresh
from pipelines.model.session import Session
from pipelines.runs.progress import say
from pipelines.training.trainer import Trainer, TrainJob
from tfrecs.demo import generate

RESULTS = Path(__file__).resolve().parent / "results"
EPOCHS = 10


def demo_records(root: Path, config: Config) -> Path:
    size = config.demo
    data = generate(root / "data", seed=0, items=size.items, users=size.users, interactions=size.interactions)
    return build.run(build.BuildJob(data, root / "records", config)).out


def cached(trainer: Trainer) -> float:
    """Seconds of ten epochs, the cache included, once the step is compiled."""
    session = trainer.session
    model, batch = session.model, trainer.config.train.encode_batch_size
    model.fit(trainer.batches(0), steps_per_epoch=1, verbose=0)
    trainer.encode(session.items.rows(tf.zeros([batch], tf.int64)))
    clock = time.perf_counter()
    refresh(model, trainer.encode, session.items, batch)
    for epoch in range(EPOCHS):
        model.fit(trainer.batches(epoch), steps_per_epoch=trainer.feed.steps, verbose=0)
    return time.perf_counter() - clock


def each_step(trainer: Trainer, steps: int) -> tuple[float, float]:
    """Seconds of a step that encodes its own items first, and how many these are: means over `steps` of an epoch."""
    session, batch = trainer.session, trainer.config.train.encode_batch_size
    model = session.model
    step = tf.function(model.train_step)
    clocks, counts = [], []
    for number, inputs in enumerate(trainer.feed.epoch(0).take(steps + 1)):
        clock = time.perf_counter()
        index = np.unique(inputs["item_index"].numpy())
        for start in range(0, len(index), batch):
            # Padded, so that nothing is compiled again; the padding is not counted as an item.
            rows = np.resize(index[start : start + batch], batch)
            for name, encoding in trainer.encode(session.items.rows(tf.constant(rows))).items():
                model.cache[name].scatter_nd_update(rows[:, None], encoding)
        step(inputs)
        if number:  # the first one compiles
            clocks.append(time.perf_counter() - clock)
            counts.append(len(index))
    return float(np.mean(clocks)), float(np.mean(counts))


def farthest(trainer: Trainer) -> float:
    """1 - cosine, the largest over all items and modalities: encodings in the cache against one item at a time."""
    session: Session = trainer.session
    refresh(session.model, trainer.encode, session.items, trainer.config.train.encode_batch_size)
    worst = 0.0
    for row in range(0, len(session.catalogue), 7):
        for name, alone in trainer.session.model.encode_items(session.items.rows(tf.constant([row]))).items():
            ours, theirs = (
                session.model.cache[name].numpy()[row].astype(np.float64),
                alone.numpy()[0].astype(np.float64),
            )
            lengths = np.linalg.norm(ours) * np.linalg.norm(theirs)
            if lengths > 0:
                worst = max(worst, 1.0 - float(ours @ theirs) / float(lengths))
    return worst


def measure(records: Path, config: Config, run: Path, steps: int) -> list[Measured]:
    trainer = Trainer(TrainJob(records, run, config))
    ours = cached(trainer)
    one, items = each_step(trainer, steps)
    total = one * trainer.feed.steps * EPOCHS
    facts = (
        f"{EPOCHS} epochs of {trainer.feed.steps} steps: {ours:.1f} s cached; encoding each step {1000 * one:.0f} ms a step "
        f"({items:.0f} items), so {total:.0f} s"
    )
    return [
        Measured("ten epochs, frozen and cached / encoding each step", total / ours, 20.0, True, facts),
        Measured(
            "1 - cosine, cached against encoded alone", farthest(trainer), 1e-4, False, "largest of every 7th item"
        ),
    ]


@click.command()
@click.option("--records", type=click.Path(path_type=Path), help="Records of a build; default: the demo's.")
@click.option("--steps", default=20, show_default=True, help="Steps of the slow way that are timed.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "encoders.json", show_default=False)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE")
def main(records: Path | None, steps: int, out: Path, changes: tuple[str, ...]) -> None:
    settings = ("train.encoders=frozen", "retrieval.softmax=in_batch", *changes)
    config = load_config(None, settings)
    with tempfile.TemporaryDirectory() as work:
        rows = measure(records or demo_records(Path(work), config), config, Path(work) / "run", steps)
    for row in rows:
        say(row.line())
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.encoders", *(f"--set {change}" for change in changes)]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "rows": [row.as_dict() for row in rows],
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
