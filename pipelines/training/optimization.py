"""The optimizer of a run, its learning rate, and the random numbers of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from pipelines.config import PretrainConfig, TrainConfig
from towers.optimizer import ScaledAdamW, loss_scale_for


def seed_dropout(model: tf.keras.Model, seed: int, epoch: int) -> None:
    """Start every layer's random numbers anew for an epoch, so that a continued run draws what a straight one does.

    The numbers depend on the order of `model.submodules`, which is that in which layers are assigned to attributes.
    """
    layers = [part for part in model.submodules if isinstance(part, tf.keras.__internal__.layers.BaseRandomLayer)]
    for position, layer in enumerate(layers):
        layer._random_generator._maybe_init()  # Keras makes the generator at the first call in training
        layer._random_generator._generator.reset_from_seed(1_000_003 * (epoch + 1) + 1009 * seed + position)


def make_optimizer(
    settings: TrainConfig | PretrainConfig,
    steps: int,
    *,
    scale: Callable[[tf.Variable], float] = lambda variable: 1.0,
    tables: Sequence[tf.Variable] = (),
    ema_momentum: float = 0.0,
    precision: str = "float32",
) -> ScaledAdamW:
    """Make the optimizer of a run.

    Args:
      settings: learning rate, warm-up, weight decay and clipping.
      steps: of the whole run.
      scale, tables: see `ScaledAdamW`.
      ema_momentum: of the moving average of the weights, 0 = none.
      precision: `train.precision`; mixed_float16 gets a loss scale.
    """
    return ScaledAdamW(
        schedule(settings.learning_rate, settings.warmup, steps),
        scale=scale,
        tables=tables,
        loss_scale=loss_scale_for(precision),
        weight_decay=settings.weight_decay,
        # Keras puts the averages in place at the end of every epoch: what is validated and kept is less noisy.
        use_ema=ema_momentum > 0,
        ema_momentum=ema_momentum,
        global_clipnorm=settings.clip_norm,
    )


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
