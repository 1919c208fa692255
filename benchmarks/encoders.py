"""Frozen encoders: ten epochs with their cache, including the time to fill it, against encoding the items of each step.

    python -m benchmarks.encoders [--records RECORDS] [--set KEY=VALUE ...]

Without RECORDS, the demo's catalogue is used. Both train the same towers on the same batches with the in-batch softmax,
which needs only the items of the batch; without the cache, each step first encodes every distinct item of the batch once
(no gradient flows into a frozen encoder). The cached time is that of ten whole epochs and the refresh of the cache before
them; the other one is that of `--steps` steps, extrapolated to ten epochs. Writes `benchmarks/results/encoders.json`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import tensorflow as tf

from benchmarks.measurement import Measurement
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.model.session import Session
from pipelines.runs.progress import say
from pipelines.training.trainer import Trainer, TrainJob
from tfrecs.demo import generate

NUM_EPOCHS = 10


def demo_records(root: Path, config: Config) -> Path:
    """Generate the demo and build its records."""
    size = config.demo
    data = generate(root / "data", seed=0, items=size.items, users=size.users, interactions=size.interactions)
    return build.run(build.BuildJob(data, root / "records", config)).out


def time_cached_epochs(trainer: Trainer) -> float:
    """Return the seconds of ten epochs with the cache, after compilation."""
    session = trainer.session
    model, batch = session.model, trainer.config.train.encode_batch_size
    model.fit(trainer.batches(0), steps_per_epoch=1, verbose=0)
    trainer.encode(session.items.rows(tf.zeros([batch], tf.int64)))
    clock = time.perf_counter()
    trainer.refresh()
    for epoch in range(NUM_EPOCHS):
        model.fit(trainer.batches(epoch), steps_per_epoch=trainer.feed.steps, verbose=0)
    return time.perf_counter() - clock


def time_encoding_steps(trainer: Trainer, steps: int) -> tuple[float, float]:
    """Return the mean seconds of a step that first encodes its items, and their mean number."""
    session, batch = trainer.session, trainer.config.train.encode_batch_size
    model = session.model
    step = tf.function(model.train_step)
    seconds, counts = [], []
    for number, inputs in enumerate(trainer.feed.epoch(0).take(steps + 1)):
        start_time = time.perf_counter()
        index = np.unique(inputs["item_index"].numpy())  # in the candidates of the batch
        candidates = np.maximum(inputs["candidates"].numpy(), 0)
        encodings = {name: value.numpy() for name, value in inputs["encodings"].items()}
        for start in range(0, len(index), batch):
            # Padded to one shape, so that nothing is compiled again; the padding does not count as items.
            places = np.resize(index[start : start + batch], batch)
            for name, encoding in trainer.encode(session.items.rows(tf.constant(candidates[places]))).items():
                encodings[name][places] = encoding
        step({**inputs, "encodings": {name: tf.constant(value) for name, value in encodings.items()}})
        if number:  # the first step compiles
            seconds.append(time.perf_counter() - start_time)
            counts.append(len(index))
    return float(np.mean(seconds)), float(np.mean(counts))


def largest_cache_error(trainer: Trainer) -> float:
    """Return the largest 1 - cosine between cached encodings and those of one item at a time, over every 7th item."""
    session: Session = trainer.session
    trainer.refresh()
    worst = 0.0
    for row in range(0, len(session.catalogue), 7):
        for name, alone in trainer.session.model.encode_items(session.items.rows(tf.constant([row]))).items():
            cached, expected = (
                session.model.cache[name][row : row + 1][0].astype(np.float64),
                alone.numpy()[0].astype(np.float64),
            )
            lengths = np.linalg.norm(cached) * np.linalg.norm(expected)
            if lengths > 0:
                worst = max(worst, 1.0 - float(cached @ expected) / float(lengths))
    return worst


def measure(records: Path, config: Config, run: Path, steps: int) -> list[Measurement]:
    """Measure the speed of the cache and its error."""
    trainer = Trainer(TrainJob(records, run, config))
    cached = time_cached_epochs(trainer)
    step_seconds, items = time_encoding_steps(trainer, steps)
    total = step_seconds * trainer.feed.steps * NUM_EPOCHS
    facts = (
        f"{NUM_EPOCHS} epochs of {trainer.feed.steps} steps: {cached:.1f} s cached; encoding each step {1000 * step_seconds:.0f} ms a step "
        f"({items:.0f} items), so {total:.0f} s"
    )
    return [
        Measurement("ten epochs, frozen and cached / encoding each step", total / cached, 20.0, True, facts),
        Measurement(
            "1 - cosine, cached against encoded alone",
            largest_cache_error(trainer),
            1e-4,
            False,
            "largest of every 7th item",
        ),
    ]


@click.command()
@click.option("--records", type=click.Path(path_type=Path), help="Records of a build; default: the demo's.")
@click.option("--steps", default=20, show_default=True, help="Timed steps without the cache.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "encoders.json", show_default=False)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE")
def main(records: Path | None, steps: int, out: Path, changes: tuple[str, ...]) -> None:
    """Measure the cache of frozen encoders."""
    settings = ("train.encoders=frozen", "retrieval.softmax=in_batch", *changes)
    config = load_config(None, settings)
    with tempfile.TemporaryDirectory() as work:
        rows = measure(records or demo_records(Path(work), config), config, Path(work) / "run", steps)
    for row in rows:
        say(row.line())
    command = command_line("encoders", changes=changes)
    write_result(out, {"command": command, "machine": machine(), "rows": [row.as_dict() for row in rows]})


if __name__ == "__main__":
    main()
