"""The retrieval losses: exact full softmax, and the in-batch softmax of `tfrs.tasks.Retrieval` with logQ."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

_NO_CANDIDATE = -1e9


def full_softmax(
    scores: tf.Tensor,
    targets: tf.Tensor,
    weight: tf.Tensor,
    label_smoothing: float,
    candidates: tf.Tensor | None = None,
) -> tf.Tensor:
    """Summed cross-entropy of the exact softmax over all candidates.

    Args:
      scores: float [P, N].
      targets: int32 [P], the index of the positive.
      weight: float [P].
      label_smoothing: share of the target mass spread evenly over the candidates.
      candidates: bool [N] or [P, N], what the softmax runs over; None: everything.

    Returns:
      float [].
    """
    if candidates is None:
        candidates = tf.ones([tf.shape(scores)[1]], tf.bool)
    # The positive itself is always one, whatever the clocks say.
    candidates = candidates | tf.one_hot(targets, tf.shape(scores)[1], on_value=True, off_value=False, dtype=tf.bool)
    log_z = tf.reduce_logsumexp(tf.where(candidates, scores, _NO_CANDIDATE), axis=1)
    loss = log_z - tf.gather(scores, targets, batch_dims=1)
    if label_smoothing:
        share = tf.cast(candidates, scores.dtype)
        share = tf.broadcast_to(share / tf.reduce_sum(share, axis=-1, keepdims=True), tf.shape(scores))
        mean = tf.reduce_sum(scores * share, axis=1)
        loss = (1.0 - label_smoothing) * loss + label_smoothing * (log_z - mean)
    return tf.reduce_sum(loss * weight)


class InBatchSoftmax(tf.keras.layers.Layer):
    """Sampled softmax over the positives of the batch, by `tfrs.tasks.Retrieval`.

    logQ correction (Yi et al., 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations"): an item is in the batch as often as it is consumed, so its logit is reduced by the log of that
    probability. Other positions with the same item are no negatives (accidental hits).
    """

    def __init__(self, temperature: float, **kwargs: object):
        super().__init__(**kwargs)
        self.task = tfrs.tasks.Retrieval(temperature=temperature, remove_accidental_hits=True)

    def call(
        self, query: tf.Tensor, item: tf.Tensor, index: tf.Tensor, probability: tf.Tensor, weight: tf.Tensor
    ) -> tf.Tensor:
        """Summed loss.

        Args:
          query: float [P, D].
          item: float [P, D], embedding of each position's positive.
          index: int32 [P], which item that is.
          probability: float [P], the share of training events that are of this item.
          weight: float [P], 0 = padding, which is no candidate either.

        Returns:
          float [].
        """
        positions = tf.shape(query)[0]
        # The positive's own logit stays for padded rows too, or their softmax would be empty; their weight is zero.
        valid = (weight > 0)[None, :] | tf.eye(positions, dtype=tf.bool)
        return self.task(
            query,
            item,
            sample_weight=weight,
            candidate_sampling_probability=probability,
            candidate_ids=index,
            score_mask=valid,
            compute_metrics=False,
            compute_batch_metrics=False,
        )
