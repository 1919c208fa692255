"""Means over the global batch of a training step on several replicas."""

from __future__ import annotations

import tensorflow as tf


def part_of_mean(loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """This replica's part of a mean over the global batch.

    Args:
      loss: float [], this replica's sum.
      count: float [], the number of its terms, or their total weight.

    Returns:
      float []: `loss` over the sum of the counts of all replicas, which is taken as at least 1.
    """
    replica = tf.distribute.get_replica_context()
    return loss / tf.maximum(replica.all_reduce(tf.distribute.ReduceOp.SUM, count), 1.0)
