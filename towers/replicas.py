"""Means over the global batch of a training step on several replicas."""

from __future__ import annotations

import tensorflow as tf


def part_of_mean(loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """This replica's part of a mean over the global batch.

    Args:
      loss: float [], this replica's sum.
      count: float [], the number of its terms, or their total weight.

    Returns:
      float []: `loss` over the sum of the counts of all replicas; 0 where that is 0.
    """
    replica = tf.distribute.get_replica_context()
    return tf.math.divide_no_nan(loss, replica.all_reduce(tf.distribute.ReduceOp.SUM, count))
