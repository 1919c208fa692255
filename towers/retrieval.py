"""The retrieval loss: the softmax over the whole catalogue, or over a sample of it with logQ correction."""

from __future__ import annotations

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
    is_label = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
    if candidates is None:
        candidates = tf.ones([tf.shape(logits)[1]], tf.bool)
    # The positive itself is always a candidate, even where times contradict that.
    candidates = candidates | is_label
    corrected = logits if log_sampled is None else tf.where(is_label, logits, logits - log_sampled)
    log_z = tf.reduce_logsumexp(tf.where(candidates, corrected, EXCLUDED), axis=1)
    surprise = loss = log_z - tf.gather(logits, labels, batch_dims=1)
    if label_smoothing:
        smoothing = tf.cast(candidates, logits.dtype)
        smoothing /= tf.reduce_sum(smoothing, axis=-1, keepdims=True)
        mean = tf.reduce_sum(logits * tf.broadcast_to(smoothing, tf.shape(logits)), axis=1)
        loss = (1.0 - label_smoothing) * loss + label_smoothing * (log_z - mean)
    if negatives:
        return with_negatives(loss, surprise, sample_weight)
    return tf.reduce_sum(loss * sample_weight)


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
