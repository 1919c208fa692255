"""The training steps that are measured and compiled: those of `triptych train` on records, with a batch of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.encoders import demo_records
from pipelines.config import load_config
from pipelines.training.cooccurrence import CoOccurrenceStage
from pipelines.training.optimization import seed_dropout
from pipelines.training.trainer import Trainer, TrainJob
from towers.model import Model


@dataclass(frozen=True)
class Step:
    """A model that is compiled as `train` compiles it.

    Attributes:
      model: whose `train_step` is the step.
      batches: a dataset of its batches.
      trainer: that made it.
    """

    model: Model
    batches: tf.data.Dataset
    trainer: Trainer


@contextmanager
def records_or_demo(records: Path | None, changes: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """The records, or those of the demo's catalogue, made here, and a folder for runs."""
    with tempfile.TemporaryDirectory() as folder:
        if records is None:
            records = demo_records(Path(folder), load_config(None, changes))
        yield records, Path(folder)


def training_step(records: Path, out: Path, changes: Sequence[str]) -> Step:
    """The step of an epoch of `triptych train`, its encoders and its cache as they are made."""
    trainer = Trainer(TrainJob(records, out, load_config(None, ("train.strategy=cpu", *changes))))
    with trainer.strategy.scope():
        seed_dropout(trainer.session.model, trainer.config.seed, 0)
    trainer.batches(0)  # where encodings lie in a file it is made, and every batch brings along those it needs
    return Step(trainer.session.model, trainer.feed.epoch(0), trainer)


def encoder_stage_step(records: Path, out: Path, changes: Sequence[str]) -> Step:
    """The step of the encoders' stage before the first epoch."""
    trainer = training_step(records, out, changes).trainer
    session = trainer.session
    stage = CoOccurrenceStage(session.model, session.items, session.events, trainer.config, trainer.strategy)
    stage.compile()
    with trainer.strategy.scope():
        seed_dropout(stage.learner, trainer.config.seed, 0)
    return Step(stage.learner, stage.batches(tf.distribute.InputContext()), trainer)


Maker = Callable[[Path, Path, Sequence[str]], Step]


def compiled(step: Step, **options: Any) -> Any:
    """The step as a graph of its own."""
    return tf.function(step.model.train_step, autograph=False, **options)
