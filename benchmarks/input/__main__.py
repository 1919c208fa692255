"""Throughput of reading and writing data, each figure beside its own limit in the same run.

    pip install -r benchmarks/requirements-benchmarks.txt
    python -m benchmarks.input --data DIR [--only build,parse,jpeg,mel,wait,memory] [--work DIR] [--rounds N]

DIR contains the folder `ml1m`, whose posters and events are used. Meant for two cores: the compared alternatives run on two
workers. Updates `benchmarks/results/input.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import tensorflow as tf

from benchmarks.input.media import (
    IMAGE_SIZE,
    POSTER_SIZE,
    build_images,
    build_memory,
    image_build,
    image_folder,
    jpeg_decode,
    log_mel,
)
from benchmarks.input.pipeline import input_wait, parse_speed
from benchmarks.measurement import Measurement
from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.runs.progress import say
from tfrecs.errors import DataError
from tfrecs.schema import MANIFEST_FILE

NAMES = ("build", "parse", "jpeg", "mel", "wait", "memory")
_IMAGES_FOR_MEMORY = 300


def measure(only: tuple[str, ...], data: Path, work: Path, rounds: int) -> Iterator[Measurement]:
    """Yield the figures that are asked for, as they are measured."""
    images = data / "ml1m" / "images"
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; name the folder that contains ml1m with --data")
    names = sorted(path.name for path in images.iterdir())
    work.mkdir(parents=True, exist_ok=True)
    if "build" in only:
        yield image_build(images, names, work, rounds)
    for size in (IMAGE_SIZE, POSTER_SIZE) if "jpeg" in only else ():
        records = work / f"pictures-{size}"
        if not (records / MANIFEST_FILE).is_file():
            build_images(image_folder(work / "pictures", images, names), records, size)
        yield jpeg_decode(records, size, rounds)
    ml1m = work / "ml1m"
    if {"parse", "wait"} & set(only) and not (ml1m / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(data / "ml1m", ml1m, Config(), REPO / "examples" / "ml1m.yaml"))
    if "parse" in only:
        yield parse_speed(ml1m, rounds, None, "one thread each")
        yield parse_speed(ml1m, rounds, tf.data.AUTOTUNE, "AUTOTUNE each")
    if "mel" in only:
        yield from log_mel(work, rounds)
    if "wait" in only:
        yield input_wait(ml1m, work)
    if "memory" in only:
        yield build_memory(work, _IMAGES_FOR_MEMORY)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--only", default=",".join(NAMES), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/input"), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(data: Path, only: str, work: Path, rounds: int) -> None:
    """Measure input and output of data."""
    rows = []
    for row in measure(tuple(only.split(",")), data, work, rounds):
        say(row.line())
        rows.append(row)
    path = RESULTS / "input.json"
    previous = json.loads(path.read_text(encoding="utf-8"))["ratios"] if path.is_file() else []
    kept = [row for row in previous if row["name"] not in {measured.name for measured in rows}]
    ratios = sorted(kept + [row.as_dict() for row in rows], key=lambda row: str(row["name"]))
    write_result(path, {"command": command_line("input", "--data DIR"), "machine": machine(), "ratios": ratios})


if __name__ == "__main__":
    main()
