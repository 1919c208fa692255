"""The input pipeline: parsing of records, and the time that training waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import tensorflow as tf

from benchmarks.measurement import Measurement, speedup
from pipelines.config import Config
from pipelines.training.trainer import Trainer, TrainJob
from tfrecs.reading.features import feature_for, parse_spec
from tfrecs.reading.reader import load_catalogue
from tfrecs.schema import Manifest

_WARMUP_STEPS, _MEASURED_STEPS = 10, 100
_PARSED_RECORDS = 20_000


def parse_speed(records: Path, rounds: int, parallel_calls: int | None, label: str) -> Measurement:
    """Compare the reader's batched parse of items with `parse_single_example` per record, both in tf.data."""
    manifest = Manifest.load(records)
    features = [feature_for(schema) for schema in manifest.schema_.items]
    serialized = tf.constant(load_catalogue(records, manifest).records[:])
    # Repeated, so that the start of a pipeline, which costs both the same, does not dominate with a small catalogue.
    serialized = tf.tile(serialized, [-(-_PARSED_RECORDS // len(serialized))])
    spec = parse_spec(features, "items")
    # Features of variable length are left out of both, because `batch` cannot stack them.
    spec = {key: feature for key, feature in spec.items() if isinstance(feature, tf.io.FixedLenFeature)}
    source = tf.data.Dataset.from_tensor_slices(serialized)
    # Slices of the catalogue, as in training.
    batched = tf.data.Dataset.range(0, len(serialized), 256).map(
        lambda start: tf.io.parse_example(serialized[start : start + 256], spec), parallel_calls
    )
    single = source.map(lambda record: tf.io.parse_single_example(record, spec), parallel_calls).batch(256)

    def drain(dataset: tf.data.Dataset) -> None:
        dataset.reduce(0, lambda count, _: count + 1)

    ratio, ours, reference = speedup(lambda: drain(batched), lambda: drain(single), rounds)
    facts = f"{len(serialized) / ours:,.0f} against {len(serialized) / reference:,.0f} records/s"
    return Measurement(f"batched parse / parse_single_example, {label}", ratio, 4.0, True, facts)


def input_wait(records: Path, work: Path) -> Measurement:
    """Measure the fraction of a training epoch that the step waits for a batch.

    The wait for the first batch counts in full; the other steps are measured on a part of the epoch and extrapolated. The
    training step is that of the trainer.
    """
    trainer = Trainer(TrainJob(records, work / "run", Config()))
    step = tf.function(trainer.session.model.train_step)
    iterator = iter(trainer.feed.epoch(0))
    for _ in range(_WARMUP_STEPS):
        step(next(iterator))
    start = time.perf_counter()
    iterator = iter(trainer.feed.epoch(1))
    batch = next(iterator)
    first = time.perf_counter() - start
    waited = worked = 0.0
    steps = min(_MEASURED_STEPS, trainer.feed.steps - 1)
    for _ in range(steps):
        start = time.perf_counter()
        step(batch)["loss"].numpy()
        stepped = time.perf_counter()
        batch = next(iterator)
        worked += stepped - start
        waited += time.perf_counter() - stepped
    epoch_steps = trainer.feed.steps
    idle, busy = first + waited / steps * epoch_steps, worked / steps * epoch_steps
    facts = (
        f"first batch {first:.1f} s, then {1000 * waited / steps:.2f} ms of waiting beside {1000 * worked / steps:.1f} ms "
        f"of work a step, {epoch_steps} steps"
    )
    return Measurement("share of an epoch spent waiting for input", idle / (idle + busy), 0.05, False, facts)
