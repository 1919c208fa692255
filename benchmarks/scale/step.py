"""The cost of a training step by the size of the catalogue.

    python -m benchmarks.scale.step [--items N ...] [--set section.key=value ...]

Models of catalogues of each size, with a vector of 64 numbers and up to four of 1,000 categories an item, take the same
number of steps on the same number of events, drawn with a long tail, with the in-batch softmax; those of up to
`retrieval.full_limit` items with the full softmax as well. Encoders are frozen and cached, as they are by default. Rounds
alternate between the models, and the median of the rounds counts. Writes `benchmarks/results/scale-step.json`.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from benchmarks.results_file import RESULTS, command_line, machine, write_result
from pipelines.config import Config, load_config
from pipelines.model.encodings import Encodings
from pipelines.model.model_factory import make_encoders, make_model
from pipelines.runs.progress import say
from pipelines.training.input_pipeline import sample_candidates, shares_of
from pipelines.training.optimization import make_optimizer
from tfrecs.schema import FeatureSchema, Schema
from towers.two_tower import TwoTower

SIZES = (5_000, 10_000, 100_000, 1_000_000)
WARM_UP, STEPS, ROUNDS = 10, 40, 5
DIM, CATEGORIES = 64, 1000
SETTINGS = ("train.encoders=frozen",)
SCHEMA = Schema(
    items=(
        FeatureSchema(name="vector", kind="vector", params={"dim": DIM, "mean": [0.0] * DIM, "std": [1.0] * DIM}),
        FeatureSchema(
            name="genres",
            kind="categories",
            params={"vocabulary": [f"c{number}" for number in range(CATEGORIES)], "max_values": 4},
        ),
    )
)


def random_encodings(num_items: int, dims: Mapping[str, int], seed: int) -> Encodings:
    """Encodings in a file, as of a trained run."""
    rng, shape = np.random.default_rng(seed), (num_items, sum(dims.values()))
    with tempfile.TemporaryFile() as file:
        stored = np.memmap(file, np.float16, "w+", shape=shape)
    for start in range(0, num_items, 10_000):
        part = stored[start : start + 10_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
    nothing = {name: np.zeros(dim, np.float32) for name, dim in dims.items()}
    return Encodings(stored, nothing, {name: 1.0 + zeros for name, zeros in nothing.items()})


def batches(num_items: int, softmax: str, config: Config, seed: int, encodings: Encodings | None) -> tf.data.Dataset:
    """Batches as `TrainingFeed` makes them; item i is drawn in proportion to 1 / (i + 10)."""
    length, size = config.user.max_history, config.train.batch_size
    counts = 1e9 / (np.arange(num_items) + 10.0)
    cumulated = tf.constant(np.cumsum(counts / counts.sum()), tf.float64)
    shares = shares_of(counts)

    @tf.autograph.experimental.do_not_convert
    def make(step: tf.Tensor) -> dict[str, Any]:
        seeds = tf.stack([tf.constant(seed, tf.int64), step])
        points = tf.random.stateless_uniform([size * length], seeds, dtype=tf.float64)
        index = tf.reshape(tf.minimum(tf.searchsorted(cumulated, points), num_items - 1), [size, length])
        batch = {
            "item_index": index,
            "values": tf.zeros([size, length]),
            "times": tf.tile(tf.range(length, dtype=tf.int64)[None] * 3600 + 1_700_000_000, [size, 1]),
            "target": tf.ones([size, length], tf.bool),
            "positive": tf.ones([size, length], tf.bool),
            "segment": tf.zeros([size, length], tf.int32),
            "labels": tf.zeros([size, length, 0]),
            "context": {},
        }
        if softmax == "in_batch":
            batch["candidates"], batch["item_index"], batch["log_sampled"] = sample_candidates(
                index, batch["target"], shares, config.retrieval.uniform_negatives, seeds + 1
            )
        if encodings is not None:
            batch["encodings"] = encodings.gather(tf.maximum(batch["candidates"], 0))
        return batch

    return tf.data.Dataset.counter(dtype=tf.int64).map(make, tf.data.AUTOTUNE).prefetch(4)


def model_of(num_items: int, config: Config) -> TwoTower:
    """A model with random encodings, in its cache or in a file, compiled as `triptych train` does."""
    tf.keras.backend.experimental.enable_tf_random_generator()
    tf.keras.utils.set_random_seed(config.seed)
    model = make_model(
        config,
        SCHEMA,
        make_encoders(SCHEMA.items, config, []),
        {},
        np.ones([num_items, len(SCHEMA.items)], bool),
        np.ones(num_items, np.int64),
        np.zeros(num_items, np.int64),
    )
    encodings = random_encodings(
        num_items, {name: encoder.output_dim for name, encoder in model.item_encoders.items()}, config.seed
    )
    if model.stores_encodings:
        model.fill_cache({name: column[:] for name, column in encodings.items()})
    else:
        model.cache = encodings
    optimizer = make_optimizer(
        config.train, 1000, tables=model.item_tower.tables, ema_momentum=config.train.ema_momentum
    )
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, steps_per_execution=config.train.steps_per_call)
    return model


def with_softmax(config: Config, softmax: str) -> Config:
    """The configuration with that softmax, on which it depends where the encodings lie."""
    retrieval = config.retrieval.model_copy(update={"softmax": softmax})
    return config.model_copy(update={"retrieval": retrieval})


@click.command()
@click.option(
    "--items", "sizes", type=int, multiple=True, default=SIZES, show_default=True, help="Sizes of catalogues."
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scale-step.json", help="Result file.")
def main(sizes: tuple[int, ...], changes: tuple[str, ...], out: Path) -> None:
    """Time training steps by the size of the catalogue."""
    config = load_config(None, (*SETTINGS, *changes))
    cases = [(size, "in_batch") for size in sizes]
    cases += [(size, "full") for size in sizes if size <= config.retrieval.full_limit]
    learners = {}
    for size, softmax in cases:
        model = model_of(size, with_softmax(config, softmax))
        encodings = None if model.stores_encodings else model.cache
        learners[size, softmax] = (model, batches(size, softmax, config, 1, encodings))
    times: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    for number in range(ROUNDS + 1):
        for case, (model, source) in learners.items():
            started = time.perf_counter()
            steps = STEPS if number else WARM_UP
            model.fit(source, steps_per_epoch=steps, verbose=0)
            if number:
                times[case].append((time.perf_counter() - started) / steps)
        say(f"round {number} of {ROUNDS}")
    median = {case: statistics.median(values) for case, values in times.items()}
    smallest = min(size for size, _ in cases)
    rows = [
        {
            "items": size,
            "softmax": softmax,
            "milliseconds": round(1000 * median[size, softmax], 2),
            "ratio": round(median[size, softmax] / median[smallest, "in_batch"], 3),
        }
        for size, softmax in cases
    ]
    for row in rows:
        say(
            "{items:>9,} items  {softmax:<8}  {milliseconds:7.2f} ms a step  {ratio:.2f} times the smallest".format(
                **row
            )
        )
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    events = config.train.batch_size * config.user.max_history
    result = {"machine": machine(), "events_a_step": events, "peak_gigabytes_of_all": peak, "rows": rows}
    write_result(out, {"command": command_line("scale.step", changes=changes), **result})


if __name__ == "__main__":
    main()
