"""The base of models that are trained: a `tfrs.Model` whose steps are traced as they are written."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs


class Model(tfrs.Model):
    """A `tfrs.Model` whose steps AutoGraph leaves alone.

    Our models say control flow with TensorFlow's ops. To rewrite every function that a step reaches takes much
    of the time before the first step, and AutoGraph trails new versions of Python.

    A model keeps the metrics of its steps in `step_metrics`. They start anew with every epoch, so checkpoints are without
    them; on several workers to save one would take all workers, because each has a part of the sum.
    """

    train_step = tf.autograph.experimental.do_not_convert(tfrs.Model.train_step)
    test_step = tf.autograph.experimental.do_not_convert(tfrs.Model.test_step)

    @property
    def distribute_reduction_method(self) -> str:
        """How Keras makes one number of what the replicas' steps return: metrics are of all replicas on each of them."""
        return "first"

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        children: dict[str, Any] = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            children.pop("step_metrics", None)
        return children
