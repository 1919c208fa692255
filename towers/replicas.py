"""What the replicas of a training step do together: means over the global batch, and tensors of all replicas."""

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


def of_all_replicas(value: tf.Tensor) -> tf.Tensor:
    """The values of all replicas, [R, ...] each, one after the other: [replicas * R, ...]. Gradients flow to each."""
    # What comes from the input pipeline as it is has no device, and a strategy of several workers needs to know one.
    return tf.distribute.get_replica_context().all_gather(tf.identity(value), axis=0)
