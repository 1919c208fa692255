"""The retrieval loss: the softmax over the whole catalogue, or over a sample of it with logQ correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

EXCLUDED = -1e9
"""The logit of what a softmax does not run over."""
_SURE = 1e-6  # smallest -log p of which 1 - p is taken, so that its logarithm is finite


def softmax_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    sample_weight: tf.Tensor,
    label_smoothing: float = 0.0,
    *,
    candidates: tf.Tensor | None = None,
    log_sampled: tf.Tensor | None = None,
    negatives: bool = False,
) -> tf.Tensor:
    """Summed cross-entropy of the softmax over candidates: all items, or a sample that holds every positive.

    Of a sample, each candidate stands for as many items as it had chances not to be drawn: its logit is reduced by the log
    of the probability that the sample holds it (the logQ correction of Yi et al., 2019, "Sampling-bias-corrected neural
    modeling for large corpus item recommendations"). The positive is there for certain, so its own logit stays: the
    denominator is then an unbiased estimate of the full softmax's (Horvitz and Thompson, 1952; for two-tower models
    Khrylchenko et al., 2025, "Correcting the LogQ correction", arXiv:2507.09331).

    Args:
      logits: float [P, U].
      labels: int32 [P], the index of the positive.
      sample_weight: float [P].
      label_smoothing: share of the target mass spread evenly over the candidates.
      candidates: bool [U] or [P, U], what the softmax runs over; None: everything.
      log_sampled: float [U], log of the probability that a candidate is in the sample; None: all items are there.
      negatives: whether a weight below 0 marks an explicit negative, see `with_negatives`.

    Returns:
      float [].
    """
    surprise = loss = surprisal(logits, labels, candidates, log_sampled)
    if label_smoothing:
        # The positive itself is always a candidate, even where times contradict that.
        smoothing = tf.cast(is_label(labels, tf.shape(logits)[1]), logits.dtype)
        smoothing = (
            tf.ones_like(logits) if candidates is None else tf.maximum(tf.cast(candidates, logits.dtype), smoothing)
        )
        mean = tf.reduce_sum(logits * smoothing, axis=1) / tf.reduce_sum(smoothing, axis=1)
        log_z = surprise + tf.gather(logits, labels, batch_dims=1)
        loss = (1.0 - label_smoothing) * loss + label_smoothing * (log_z - mean)
    if negatives:
        return with_negatives(loss, surprise, sample_weight)
    return tf.reduce_sum(loss * sample_weight)


def is_label(labels: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """bool [P, U], whether a column is the label, int32 [P], of its row."""
    return labels[:, None] == tf.range(size, dtype=labels.dtype)


def surprisal(
    logits: tf.Tensor, labels: tf.Tensor, candidates: tf.Tensor | None, log_sampled: tf.Tensor | None
) -> tf.Tensor:
    """-log p of the labels, float [P], arguments as of `softmax_loss`.

    With the log-sum-exp of all others, p is 1 / (1 + exp(it - the label's logit)). The logits are by far the largest tensor
    of a training step, so its gradient is written out: one pass over them, where that of the single operations takes eight.
    """
    others = ~is_label(labels, tf.shape(logits)[1])
    if candidates is not None:
        others &= candidates

    @tf.custom_gradient
    def of(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        corrected = tf.where(others, logits if log_sampled is None else logits - log_sampled, EXCLUDED)
        largest = tf.reduce_max(corrected, axis=1, keepdims=True)
        powers = tf.exp(corrected - largest)
        total = tf.reduce_sum(powers, axis=1)
        ahead = largest[:, 0] + tf.math.log(total) - tf.gather(logits, labels, batch_dims=1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            of_others = upstream * tf.sigmoid(ahead)  # 1 - p of the label
            cells = tf.stack([tf.range(tf.size(labels), dtype=labels.dtype), labels], axis=1)
            return tf.tensor_scatter_nd_sub(powers * (of_others / total)[:, None], cells, of_others)

        return tf.nn.softplus(ahead), gradient

    result: tf.Tensor = of(logits)
    return result


def over_targets(
    loss_of: Callable[..., tf.Tensor], sample_weight: tf.Tensor, values: Sequence[tf.Tensor], share: float
) -> tf.Tensor:
    """Sum a loss over the positions that count, and over few others: shapes stay static, and nothing is left out.

    The positions are put in an order in which those with a weight come first. The first `share` of them are computed in any
    case, the rest only in a step in which some of these have a weight too.

    Args:
      loss_of: (sample_weight, *values) of some positions -> their summed loss, float [].
      sample_weight: float [P], 0 = does not count.
      values: [P, ...] each, what the loss takes of a position.
      share: of the positions.

    Returns:
      float [].
    """
    count = sample_weight.shape[0]
    first = None if count is None else math.ceil(share * count)
    if first is None or first >= count:
        return loss_of(sample_weight, *values)
    counts = tf.cast(sample_weight != 0, tf.int32)
    with_weight = tf.reduce_sum(counts)
    place = tf.where(counts > 0, tf.cumsum(counts), with_weight + tf.cumsum(1 - counts)) - 1
    order = tf.scatter_nd(place[:, None], tf.range(count), [count])
    # Gathered here, not in the branch: there the gradient would have a shape that depends on which branch was taken.
    ordered = [tf.gather(value, order) for value in (sample_weight, *values)]
    rest = [value[first:] for value in ordered]
    begin = loss_of(*(value[:first] for value in ordered))
    return begin + tf.cond(with_weight > first, lambda: loss_of(*rest), lambda: 0.0)


def with_negatives(loss: tf.Tensor, surprise: tf.Tensor, sample_weight: tf.Tensor) -> tf.Tensor:
    """Summed loss of positives and of explicit negatives.

    An explicit negative adds -log(1 - p), the negative log-likelihood of not recommending it, where p is its probability
    under the same softmax (Wang et al., 2023, "Learning from negative user feedback and measuring responsiveness for
    sequential recommenders", arXiv:2308.12256; for words Welleck et al., 2020, "Neural text generation with unlikelihood
    training", arXiv:1908.04319). The derivative by its logit is p: it is pushed down as far as it would be recommended.

    Args:
      loss: float [P], of a positive.
      surprise: float [P], -log p of the event's item.
      sample_weight: float [P], the weight of a positive, minus that of an explicit negative, 0 = padding.

    Returns:
      float [].
    """
    unlikelihood = -tf.math.log(-tf.math.expm1(-tf.maximum(surprise, _SURE)))
    return tf.reduce_sum(tf.where(sample_weight < 0, unlikelihood, loss) * tf.abs(sample_weight))
