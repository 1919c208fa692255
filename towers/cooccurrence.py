"""Training of item encoders by co-occurrence: content predicts which items the same users took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from towers.encoders.base import Encoder
from towers.model import Model
from towers.replicas import part_of_mean
from towers.retrieval import EXCLUDED


class CoOccurrence(Model):
    """Trains item encoders before the towers, on items alone.

    The content of item i, through a head for each of its modalities, gives logits over all items j; the target is the
    share of j among the other items that i's users took. It is item2vec (Barkan and Koenigstein, 2016, arXiv:1603.04259) with
    content in place of the input embedding, and does for any modality what van den Oord et al. (2013, "Deep content-based
    music recommendation") did for sound. A step costs a few items and no users, so encoders see the catalogue many times
    over. The softmax is exact, or over a sample of the items as in `towers.retrieval.softmax_loss`; then nothing in a step
    is of the size of the catalogue.

    Args:
      encoders: modality -> encoder.
      standardize: `TwoTower.standardize` of the model that the encoders belong to, its cache filled.
      hidden_dim: of the space in which contents and items meet.
      counts: float [N], how often each item is a neighbour, for the initial bias.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        standardize: Callable[[Mapping[str, tf.Tensor]], list[tf.Tensor]],
        hidden_dim: int,
        counts: np.ndarray,
    ):
        super().__init__()
        self.encoders, self.standardize = dict(encoders), standardize
        self.heads = [
            tf.keras.Sequential(
                [tf.keras.layers.Dense(2 * hidden_dim, activation="gelu"), tf.keras.layers.Dense(hidden_dim)]
            )
            for _ in self.encoders
        ]
        start = tf.keras.initializers.RandomNormal(stddev=0.1)
        # The last row of both stands for padding among candidates.
        self.item_embeddings = self.add_weight("item_embeddings", [len(counts) + 1, hidden_dim], initializer=start)
        popularity = np.log((counts + 1.0) / (counts + 1.0).sum())
        bias = tf.keras.initializers.Constant(np.append(popularity, 0.0))
        self.bias = self.add_weight("bias", [len(counts) + 1], initializer=bias)
        self.cross_entropy = tf.keras.metrics.Mean(name="cross_entropy")

    def logits(
        self, encodings: Mapping[str, tf.Tensor], presence: tf.Tensor, candidates: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Logits of encodings, name -> [R, d_m], with presence bool [R, M]: float [R, N], or [R, U] of candidates int32 [U]."""
        parts = self.standardize(encodings)
        masks = tf.unstack(tf.cast(presence, self.compute_dtype), axis=1)
        content = tf.add_n(
            [head(part) * mask[:, None] for head, part, mask in zip(self.heads, parts, masks, strict=True)]
        )
        last = self.bias.shape[0] - 1
        if candidates is None:
            embeddings, bias = self.item_embeddings[:last], self.bias[:last]
        else:
            rows = tf.where(candidates >= 0, candidates, last)
            embeddings, bias = tf.gather(self.item_embeddings, rows), tf.gather(self.bias, rows)
        return tf.matmul(content, embeddings, transpose_b=True) + bias

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """Mean cross-entropy over the items of the GLOBAL batch.

        Args:
          inputs: `items` name -> [R, ...], preprocessed; `presence` bool [R, M]; `neighbours` int32 [R, K] and their
            `probabilities` float [R, K], which sum to 1, or to 0 in a row that is padding; where the softmax is over a
            sample, `candidates` int32 [U] (-1 = padding) and `log_sampled` float [U], as of `TwoTower.compute_loss`:
            neighbours are then positions in it.

        Returns:
          float []. Summed over replicas it is the loss of the global batch.
        """
        encodings = {name: encoder(inputs["items"][name], training=training) for name, encoder in self.encoders.items()}
        candidates = inputs.get("candidates")
        logits = self.logits(encodings, inputs["presence"], candidates)
        neighbours, probabilities = inputs["neighbours"], inputs["probabilities"]
        weight = tf.reduce_sum(probabilities, axis=1)
        chosen = tf.gather(logits, neighbours, batch_dims=1)
        if candidates is None:
            log_z = tf.reduce_logsumexp(logits, axis=1)
        else:
            # An item's own neighbours are there for certain, the others stand for those that are not.
            certain = tf.where(probabilities > 0, neighbours, -1)  # which is nowhere in a one-hot vector
            own = tf.reduce_any(tf.one_hot(certain, tf.shape(candidates)[0], True, False, dtype=tf.bool), axis=1)
            corrected = tf.where(own, logits, logits - inputs["log_sampled"])
            log_z = tf.reduce_logsumexp(tf.where(candidates >= 0, corrected, EXCLUDED), axis=1)
        loss = tf.reduce_sum(weight * log_z - tf.reduce_sum(probabilities * chosen, axis=1))
        mine = tf.reduce_sum(weight)
        self.cross_entropy.update_state(tf.math.divide_no_nan(loss, mine), sample_weight=mine)
        return part_of_mean(loss, mine)
