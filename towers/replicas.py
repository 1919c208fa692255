"""How a training step is divided, among replicas and into parts one after the other, and still that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf


def part_of_mean(loss: tf.Tensor | float, count: tf.Tensor) -> tf.Tensor:
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
    replica = tf.distribute.get_replica_context()
    gathered = replica.all_gather(tf.identity(value), axis=0)
    # Which would not tell a static shape, though every replica has as many.
    rows = None if value.shape[0] is None else value.shape[0] * replica.num_replicas_in_sync
    return tf.ensure_shape(gathered, [rows, *value.shape[1:]])


def gradients_by_parts(
    losses_of: Callable[..., dict[str, tf.Tensor]],
    shared: tf.Tensor,
    by_row: tf.Tensor | None,
    rows: Mapping[str, Any],
    *,
    weights: Mapping[str, tf.Tensor],
    variables: Sequence[tf.Variable],
    parts: int,
) -> tuple[dict[str, tf.Tensor], tuple[tf.Tensor, tf.Tensor | None], list[tf.Tensor]]:
    """Losses of a batch and their gradients, of which only those of a part of the rows are in memory at a time.

    Args:
      losses_of: (`shared`, `by_row` of the part, `rows` of the part) -> name -> summed loss float []. Of one replica alone.
      shared: float, what all rows take.
      by_row: float [B, ...], what each row takes and a gradient is needed of; None: nothing.
      rows: tensors [B, ...], in any structure.
      weights: name of a loss -> its weight float [] in the sum that is derived.
      variables: that the losses depend on beside.
      parts: a divisor of B.

    Returns:
      the losses of all rows, and the gradients of their weighted sum by (`shared`, `by_row`) and by each of `variables`.
    """

    def divided(value: tf.Tensor) -> tf.Tensor:
        return tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])

    rows = tf.nest.map_structure(divided, dict(rows))
    by_part = None if by_row is None else divided(by_row)

    def step(number: tf.Tensor, losses: dict[str, tf.Tensor], of_rows: Any, sums: list[tf.Tensor]) -> Any:
        part = tf.nest.map_structure(lambda value: tf.gather(value, number), rows)
        mine = None if by_part is None else tf.gather(by_part, number)
        sources = [shared, *variables, *([] if mine is None else [mine])]
        with tf.GradientTape() as tape:
            tape.watch(shared)
            if mine is not None:
                tape.watch(mine)
            found = losses_of(shared, mine, part)
            total = tf.add_n([weights[name] * loss for name, loss in found.items()])
        gradients = [
            tf.convert_to_tensor(one)
            for one in tape.gradient(total, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        ]
        if mine is not None:
            of_rows = of_rows.write(number, gradients.pop())
        losses = {name: losses[name] + loss for name, loss in found.items()}
        return number + 1, losses, of_rows, [total + one for total, one in zip(sums, gradients, strict=True)]

    start = (
        tf.constant(0),
        {name: tf.constant(0.0) for name in weights},
        () if by_part is None else tf.TensorArray(by_part.dtype, parts, element_shape=by_part.shape[1:]),
        [tf.zeros(value.shape) for value in (shared, *variables)],
    )
    # More than one at a time would save no memory.
    _, losses, of_rows, sums = tf.while_loop(
        lambda number, *_: number < parts, step, start, parallel_iterations=1, maximum_iterations=parts
    )
    of_by_row = None if by_row is None else tf.reshape(of_rows.stack(), by_row.shape)
    return losses, (sums[0], of_by_row), sums[1:]
