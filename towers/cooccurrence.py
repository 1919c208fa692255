"""Training of item encoders by co-occurrence: content predicts which items the same users took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from towers.encoders.base import Encoder
from towers.model import Model
from towers.replicas import part_of_mean


class CoOccurrence(Model):
    """Trains item encoders before the towers, on items alone.

    The content of item i, through a head for each of its modalities, gives logits over all items j; the target is the
    share of j among the other items that i's users took. It is item2vec (Barkan and Koenigstein, 2016, arXiv:1603.04259) with
    content in place of the input embedding, on the exact softmax, and does for any modality what van den Oord et al.
    (2013, "Deep content-based music recommendation") did for sound. A step costs a few items and no users, so encoders
    see the catalogue many times over.

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
        self.item_embeddings = self.add_weight("item_embeddings", [len(counts), hidden_dim], initializer=start)
        popularity = np.log((counts + 1.0) / (counts + 1.0).sum())
        self.bias = self.add_weight("bias", [len(counts)], initializer=tf.keras.initializers.Constant(popularity))
        self.cross_entropy = tf.keras.metrics.Mean(name="cross_entropy")

    def logits(self, encodings: Mapping[str, tf.Tensor], presence: tf.Tensor) -> tf.Tensor:
        """Logits float [R, N] of encodings, name -> [R, d_m], with presence bool [R, M]."""
        parts = self.standardize(encodings)
        masks = tf.unstack(tf.cast(presence, self.compute_dtype), axis=1)
        content = tf.add_n(
            [head(part) * mask[:, None] for head, part, mask in zip(self.heads, parts, masks, strict=True)]
        )
        return tf.matmul(content, self.item_embeddings, transpose_b=True) + self.bias

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """Mean cross-entropy over the items of the GLOBAL batch.

        Args:
          inputs: `items` name -> [R, ...], preprocessed; `presence` bool [R, M]; `neighbours` int32 [R, K] and their
            `probabilities` float [R, K], which sum to 1, or to 0 in a row that is padding.

        Returns:
          float []. Summed over replicas it is the loss of the global batch.
        """
        encodings = {name: encoder(inputs["items"][name], training=training) for name, encoder in self.encoders.items()}
        logits = self.logits(encodings, inputs["presence"])
        probabilities = inputs["probabilities"]
        weight = tf.reduce_sum(probabilities, axis=1)
        chosen = tf.gather(logits, inputs["neighbours"], batch_dims=1)
        loss = tf.reduce_sum(
            weight * tf.reduce_logsumexp(logits, axis=1) - tf.reduce_sum(probabilities * chosen, axis=1)
        )
        mine = tf.reduce_sum(weight)
        self.cross_entropy.update_state(tf.math.divide_no_nan(loss, mine), sample_weight=mine)
        return part_of_mean(loss, mine)
