"""How fast data goes in and out, each figure beside its own limit in the same run.

    pip install -r benchmarks/requirements-benchmarks.txt
    python -m benchmarks.input --data DIR [--only build,parse,jpeg,mel,wait,memory] [--work DIR] [--rounds N]

DIR holds the folder `ml1m`, whose posters and events are measured. Meant for two cores: what is compared runs on two
workers. Writes `benchmarks/results/input.json`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import click
import tensorflow as tf

from benchmarks.input.media import (
    PICTURE,
    POSTER,
    build_pictures,
    image_build,
    jpeg_decode,
    log_mel,
    memory,
    picture_folder,
)
from benchmarks.input.ratios import Measured, speedup
from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.runs.progress import say
from pipelines.training.trainer import Trainer, TrainJob
from tfrecs.errors import DataError
from tfrecs.reading.features import feature_for, parse_spec
from tfrecs.reading.reader import load_catalogue
from tfrecs.schema import MANIFEST_FILE, Manifest

REPO = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).resolve().parents[1] / "results" / "input.json"
NAMES = ("build", "parse", "jpeg", "mel", "wait", "memory")
_WARM, _STEPS = 10, 100
_PARSED = 20_000


def parsing(records: Path, rounds: int, calls: int | None, how: str) -> Measured:
    """The reader's batched parse of items against `parse_single_example` for each record, in tf.data."""
    manifest = Manifest.load(records)
    features = [feature_for(schema) for schema in manifest.schema_.items]
    serialized = load_catalogue(records, manifest).serialized
    # Several times over: starting a pipeline costs both ways the same, and would weigh more than a small catalogue.
    serialized = tf.tile(serialized, [-(-_PARSED // len(serialized))])
    spec = parse_spec(features, "items")
    # Of different length from record to record, which `batch` cannot stack; both ways have to leave them out.
    spec = {key: one for key, one in spec.items() if isinstance(one, tf.io.FixedLenFeature)}
    source = tf.data.Dataset.from_tensor_slices(serialized)
    # Slices of the catalogue, as training takes them.
    batched = tf.data.Dataset.range(0, len(serialized), 256).map(
        lambda start: tf.io.parse_example(serialized[start : start + 256], spec), calls
    )
    single = source.map(lambda one: tf.io.parse_single_example(one, spec), calls).batch(256)

    def drain(dataset: tf.data.Dataset) -> None:
        dataset.reduce(0, lambda count, _: count + 1)

    ratio, ours, theirs = speedup(lambda: drain(batched), lambda: drain(single), rounds)
    facts = f"{len(serialized) / ours:,.0f} against {len(serialized) / theirs:,.0f} records/s"
    return Measured(f"batched parse / parse_single_example, {how}", ratio, 4.0, True, facts)


def waiting(records: Path, work: Path) -> Measured:
    """Share of a training epoch in which the step has no batch to work on.

    The first batch of an epoch is waited for in full; the steps behind it are measured on a part of the epoch and taken
    to stand for all of it. The step itself is the trainer's own.
    """
    trainer = Trainer(TrainJob(records, work / "run", Config()))
    step = tf.function(trainer.session.model.train_step)
    iterator = iter(trainer.feed.epoch(0))
    for _ in range(_WARM):
        step(next(iterator))
    clock = time.perf_counter()
    iterator = iter(trainer.feed.epoch(1))
    batch = next(iterator)
    first = time.perf_counter() - clock
    waited = worked = 0.0
    steps = min(_STEPS, trainer.feed.steps - 1)
    for _ in range(steps):
        clock = time.perf_counter()
        step(batch)["loss"].numpy()
        worked += (then := time.perf_counter()) - clock
        batch = next(iterator)
        waited += time.perf_counter() - then
    whole = trainer.feed.steps
    idle, busy = first + waited / steps * whole, worked / steps * whole
    facts = (
        f"first batch {first:.1f} s, then {1000 * waited / steps:.2f} ms of waiting beside {1000 * worked / steps:.1f} ms "
        f"of work a step, {whole} steps"
    )
    return Measured("share of an epoch spent waiting for input", idle / (idle + busy), 0.05, False, facts)


def measure(only: tuple[str, ...], data: Path, work: Path, rounds: int) -> Iterator[Measured]:
    images = data / "ml1m" / "images"
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; name the folder that holds ml1m with --data")
    names = sorted(path.name for path in images.iterdir())
    work.mkdir(parents=True, exist_ok=True)
    if "build" in only:
        yield image_build(images, names, work, rounds)
    for size in (PICTURE, POSTER) if "jpeg" in only else ():
        records = work / f"pictures-{size}"
        if not (records / MANIFEST_FILE).is_file():
            build_pictures(picture_folder(work / "pictures", images, names), records, size)
        yield jpeg_decode(records, size, rounds)
    whole = work / "ml1m"
    if {"parse", "wait"} & set(only) and not (whole / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(data / "ml1m", whole, Config(), REPO / "examples" / "ml1m.yaml"))
    if "parse" in only:
        yield parsing(whole, rounds, None, "one thread each")
        yield parsing(whole, rounds, tf.data.AUTOTUNE, "AUTOTUNE each")
    if "mel" in only:
        yield from log_mel(work, rounds)
    if "wait" in only:
        yield waiting(whole, work)
    if "memory" in only:
        yield memory(work, 300)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", default=",".join(NAMES), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/input"), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(data: Path, only: str, work: Path, rounds: int) -> None:
    rows = []
    for row in measure(tuple(only.split(",")), data, work, rounds):
        say(row.line())
        rows.append(row)
    kept = json.loads(RESULT.read_text(encoding="utf-8"))["ratios"] if RESULT.is_file() else []
    kept = [row for row in kept if row["name"] not in {measured.name for measured in rows}]
    result = {
        "command": "python -m benchmarks.input --data DIR",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "ratios": sorted(kept + [row.as_dict() for row in rows], key=lambda row: str(row["name"])),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
