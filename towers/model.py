"""The base of models that are trained: a `tfrs.Model` whose steps are traced as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

Gradients = list[tf.Tensor | tf.IndexedSlices | None]


class Model(tfrs.Model):
    """A `tfrs.Model` whose steps AutoGraph leaves alone.

    Our models say control flow with TensorFlow's ops. To rewrite every function that a step reaches takes much
    of the time before the first step, and AutoGraph trails new versions of Python.

    The loss is multiplied by the loss scale of the optimizer, where that has one (`ScaledAdamW`).

    A model keeps the metrics of its steps in `step_metrics`. They start anew with every epoch, so checkpoints are without
    them; on several workers to save one would take all workers, because each has a part of the sum.
    """

    test_step = tf.autograph.experimental.do_not_convert(tfrs.Model.test_step)

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Take one step.

        Returns:
          the metrics, and `loss`, `regularization_loss` and `total_loss` as `tfrs.Model` has them.
        """
        scale = getattr(self.optimizer, "loss_scale", None)
        factor = tf.constant(1.0) if scale is None else scale.value
        loss, regularization, gradients = self.gradients(inputs, factor)
        if scale is not None:
            gradients = scale.unscaled(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        metrics = {metric.name: metric.result() for metric in self.metrics}
        total = loss + regularization
        return {**metrics, "loss": loss, "regularization_loss": regularization, "total_loss": total}

    def gradients(self, inputs: Any, factor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Gradients]:
        """Loss of a batch, in training, and its gradient.

        Args:
          inputs: the batch.
          factor: float [], what the loss that is derived is multiplied by.

        Returns:
          loss and regularisation losses float [], and the gradient of `factor` times their sum by each of
          `trainable_variables`.
        """
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
            regularization = self.regularization()
            scaled = factor * (loss + regularization)
        return loss, regularization, tape.gradient(scaled, self.trainable_variables)

    def regularization(self) -> tf.Tensor:
        """The sum of the layers' own losses, float []."""
        return tf.add_n([tf.constant(0.0), *(tf.reduce_sum(loss) for loss in self.losses)])

    @property
    def distribute_reduction_method(self) -> str:
        """How Keras makes one number of what the replicas' steps return: metrics are of all replicas on each of them."""
        return "first"

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        children: dict[str, Any] = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            children.pop("step_metrics", None)
        return children


@contextmanager
def layers_of(precision: str) -> Iterator[None]:
    """Make layers, within the block, that compute in another precision than float32; their variables are float32.

    Args:
      precision: float32, mixed_bfloat16 or mixed_float16 (`tf.keras.mixed_precision`).
    """
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
