"""What `train` and `pretrain` have alike: what they are given, an epoch, the learning rate, what they give back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.config import Config
from pipelines.runs.progress import progress, say


@dataclass(frozen=True)
class LearningJob:
    records: Path
    out: Path
    config: Config


@dataclass(frozen=True)
class LearningResult:
    """`best_epoch` counts from 1; `metrics` are that epoch's; `seconds` is the time of this call."""

    out: Path
    epochs: int
    best_epoch: int
    metrics: dict[str, Any]
    seconds: float


@contextmanager
def kept_when_stopped(out: Path) -> Iterator[None]:
    """Tells whoever stops a run from the keyboard that it can go on; the interrupt itself goes through."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. Every finished epoch is kept: the same command continues in {out}.")
        raise


def seed_dropout(model: tf.keras.Model, seed: int, epoch: int) -> None:
    """Starts every layer's random numbers anew for an epoch, so that a continued run draws what a straight one does."""
    layers = [part for part in model.submodules if isinstance(part, tf.keras.__internal__.layers.BaseRandomLayer)]
    for position, layer in enumerate(layers):
        layer._random_generator._maybe_init()  # Keras makes the generator at the first call in training
        layer._random_generator._generator.reset_from_seed(1_000_003 * (epoch + 1) + 1009 * seed + position)


def schedule(
    learning_rate: float, warmup_share: float, steps: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then a cosine down to a hundredth (Loshchilov and Hutter, 2017, arXiv:1608.03983)."""
    warmup = int(warmup_share * steps)
    return tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(1, steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class Batches(tf.keras.callbacks.Callback):
    """Shows the steps of one epoch."""

    def __init__(self, advance: Callable[[int, int], None], steps: int):
        super().__init__()
        self.advance, self.steps = advance, steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.advance(batch + 1, self.steps)


def fit_epoch(
    model: tf.keras.Model,
    strategy: tf.distribute.Strategy,
    dataset: Callable[[int], Any],
    epoch: int,
    *,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Trains for one epoch.

    Args:
      dataset: makes the distributed batches of an epoch.
      epoch: from 0.

    Returns:
      `epoch`, from 1, and the means of the model's own metrics over the epoch and all replicas.
    """
    with strategy.scope():
        seed_dropout(model, seed, epoch)
    with progress(f"epoch {epoch + 1}", "steps") as advance:
        history = model.fit(
            dataset(epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=steps,
            verbose=0,
            callbacks=[Batches(advance, steps)],
        ).history
    row = {"epoch": epoch + 1, **{name: float(values[-1]) for name, values in history.items()}}
    # Keras takes these from one replica alone; the losses by name are means over all of them.
    for name in ("loss", "regularization_loss", "total_loss"):
        row.pop(name, None)
    return row
