"""What a training step adds up or gathers over all replicas."""

from __future__ import annotations

import tensorflow as tf


def part_of_mean(loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """This replica's part of the mean over the global batch: its sum `loss` over the `count` of all, at least 1."""
    replica = tf.distribute.get_replica_context()
    return loss / tf.maximum(replica.all_reduce(tf.distribute.ReduceOp.SUM, count), 1.0)


def queries_at(
    spans: tf.Tensor, fresh_index: tf.Tensor, index: tf.Tensor, target: tf.Tensor, keep: tf.Tensor
) -> tf.Tensor:
    """The text query that asks for each position's item, where any replica encoded one for it: float [B, L, D], else 0.

    Args:
      spans: float [R, D], encoded parts of the texts of this replica's fresh items.
      fresh_index: int32 [R], which items these are, -1 = padding.
      index, target: int32 and bool [B, L], the positions' items and whether they are targets.
      keep: float [B, L], 1 where the query is to be given, 0 elsewhere.
    """
    replica = tf.distribute.get_replica_context()
    fresh = replica.all_gather(fresh_index, axis=0)
    spans = replica.all_gather(spans, axis=0)
    match = tf.cast(index[:, :, None] == fresh[None, None, :], tf.float32)
    match *= tf.cast(target, tf.float32)[:, :, None]
    return tf.einsum("blr,rd->bld", match * keep[:, :, None], spans)
