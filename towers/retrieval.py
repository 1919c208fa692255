"""The retrieval losses: exact full softmax, and the in-batch softmax of `tfrs.tasks.Retrieval` with logQ correction."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

_NO_CANDIDATE = -1e9
_SURE = 1e-6  # smallest -log p of which 1 - p is taken, so that its logarithm is finite


def full_softmax(
    logits: tf.Tensor,
    labels: tf.Tensor,
    sample_weight: tf.Tensor,
    label_smoothing: float,
    candidates: tf.Tensor | None = None,
    negatives: bool = False,
) -> tf.Tensor:
    """Summed cross-entropy of the exact softmax over all candidates.

    Args:
      logits: float [P, N].
      labels: int32 [P], the index of the positive.
      sample_weight: float [P].
      label_smoothing: share of the target mass spread evenly over the candidates.
      candidates: bool [N] or [P, N], what the softmax runs over; None: everything.
      negatives: whether a weight below 0 marks an explicit negative, see `with_negatives`.

    Returns:
      float [].
    """
    if candidates is None:
        candidates = tf.ones([tf.shape(logits)[1]], tf.bool)
    # The positive itself is always a candidate, even where times contradict that.
    candidates = candidates | tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
    log_z = tf.reduce_logsumexp(tf.where(candidates, logits, _NO_CANDIDATE), axis=1)
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


def _in_batch_with_negatives(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor) -> tf.Tensor:
    loss = tf.nn.softmax_cross_entropy_with_logits(y_true, y_pred)
    return with_negatives(loss, loss, sample_weight)


class RetrievalLoss(tf.keras.layers.Layer):
    """Summed cross-entropy of the softmax over candidates: the whole catalogue, or the positives of the batch.

    The in-batch softmax is that of `tfrs.tasks.Retrieval` with logQ correction (Yi et al., 2019, "Sampling-bias-corrected
    neural modeling for large corpus item recommendations"): an item is in the batch as often as it is consumed, so its
    logit is reduced by the log of that probability. Other positions with the same item are no negatives (accidental
    hits).

    Args:
      softmax: "full" or "in_batch".
      temperature: what inner products are divided by.
      label_smoothing: of the full softmax.
      negatives: whether a weight below 0 marks an explicit negative, see `with_negatives`.
    """

    def __init__(
        self,
        softmax: str = "full",
        temperature: float = 1.0,
        label_smoothing: float = 0.0,
        negatives: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.softmax, self.temperature, self.label_smoothing = softmax, temperature, label_smoothing
        self.negatives = negatives
        self.task = tfrs.tasks.Retrieval(
            loss=_in_batch_with_negatives if negatives else None, temperature=temperature, remove_accidental_hits=True
        )
        # TFRS (0.7.7) says `len(tf.shape(...))`, which only AutoGraph can trace, and our steps do without (`Model`).
        self.task.call = tf.autograph.to_graph(self.task.call).__get__(self.task)

    def full(
        self,
        logits: tf.Tensor,
        labels: tf.Tensor,
        sample_weight: tf.Tensor,
        candidates: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Summed loss over all candidates; arguments as of `full_softmax`, the temperature already in the logits."""
        return full_softmax(logits, labels, sample_weight, self.label_smoothing, candidates, self.negatives)

    def in_batch(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        item_index: tf.Tensor,
        probability: tf.Tensor,
        sample_weight: tf.Tensor,
    ) -> tf.Tensor:
        """Summed loss over the positives of the batch.

        Args:
          query_embeddings: float [P, D].
          candidate_embeddings: float [P, D], of each position's positive.
          item_index: int32 [P], which item that is.
          probability: float [P], the share of training events that are of this item.
          sample_weight: float [P], 0 = padding; that is no candidate, and neither are explicit negatives but for their own
            position.

        Returns:
          float [].
        """
        # The positive's own logit stays for padded rows too, or their softmax would be empty; their weight is zero.
        valid = (sample_weight > 0)[None, :] | tf.eye(tf.shape(query_embeddings)[0], dtype=tf.bool)
        return self.task(
            query_embeddings,
            candidate_embeddings,
            sample_weight=sample_weight,
            candidate_sampling_probability=probability,
            candidate_ids=item_index,
            score_mask=valid,
            compute_metrics=False,
            compute_batch_metrics=False,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "softmax": self.softmax,
            "temperature": self.temperature,
            "label_smoothing": self.label_smoothing,
            "negatives": self.negatives,
        }
