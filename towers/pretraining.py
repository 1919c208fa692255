"""Self-supervised training of item encoders: masked tokens, and a contrastive loss between modalities of one item."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):  # a dependency prints the backend's name at import
    import keras_nlp

from towers.encoders.base import Encoder, TextQueryEncoder
from towers.model import Model
from towers.replicas import of_all_replicas, part_of_mean

_MOST_SCALE = float(np.log(100.0))  # CLIP's bound on the inverse temperature


class SelfSupervised(Model):
    """Trains item encoders without any interaction.

    Between every two modalities that an item has, a symmetric cross-entropy over the items of the batch (InfoNCE, van
    den Oord et al., 2018, arXiv:1807.03748; symmetric and with a learned temperature as CLIP, Radford et al., 2021,
    arXiv:2103.00020). Encoders of tokens also fill in masked tokens (Devlin et al., 2019, arXiv:1810.04805), from the
    same forward pass: a masked text must still find its picture.

    Args:
      encoders: modality -> encoder, in the schema's order.
      projection_dim: of the space in which modalities meet.
      temperature: of the softmax at the start.
      mask_rate: share of a text's tokens that are masked.
      mask_loss_weight: of the masked tokens' cross-entropy beside the modalities' 1.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        projection_dim: int,
        temperature: float,
        mask_rate: float,
        mask_loss_weight: float,
    ):
        super().__init__()
        self.encoders, self.mask_loss_weight = dict(encoders), mask_loss_weight
        self.pairs = list(combinations(self.encoders, 2))
        # An untrained network encodes all items nearly alike; without normalisation their embeddings collapse (Ioffe
        # and Szegedy, 2015; in such heads: Chen et al., 2020).
        self.norms = {
            name: tf.keras.layers.BatchNormalization(momentum=0.9, synchronized=True) for name in self.encoders
        }
        self.projections = {name: tf.keras.layers.Dense(projection_dim, use_bias=False) for name in self.encoders}
        self.log_scale = self.add_weight(
            "log_scale", [], initializer=tf.keras.initializers.Constant(-np.log(temperature))
        )
        self.texts = {name: encoder for name, encoder in self.encoders.items() if isinstance(encoder, TextQueryEncoder)}
        self.maskers = {name: encoder.masker(mask_rate) for name, encoder in self.texts.items()}
        self.heads = {
            name: keras_nlp.layers.MaskedLMHead(
                token_embedding=encoder.token_embedding,
                intermediate_activation="gelu",
                kernel_initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02),
            )
            for name, encoder in self.texts.items()
        }
        self.step_metrics = {name: tf.keras.metrics.Mean(name=name) for name in ("contrastive_loss", "masked_loss")}

    def mask(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """Mask tokens of preprocessed items. Draws from TensorFlow's global seed; on the host.

        Args:
          inputs: name -> [R, T].

        Returns:
          name of each text -> `token_ids` [R, T] with masked tokens, `mask_positions`, `mask_ids` and `mask_weights`
          [R, P].
        """
        return {name: masker(inputs[name]) for name, masker in self.maskers.items()}

    def encode(
        self, inputs: Mapping[str, tf.Tensor], masked: Mapping[str, Mapping[str, tf.Tensor]], training: bool = False
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Encode items into the shared space.

        Args:
          inputs: name -> [R, ...], preprocessed.
          masked: see `mask`.
          training: whether dropout is on.

        Returns:
          embeddings of length 1, name -> [R, projection_dim], and logits of masked tokens, name -> [R, P, V].
        """
        embeddings, logits = {}, {}
        for name, encoder in self.encoders.items():
            if name in masked:
                text = self.texts[name]
                token_embeddings = text.states(masked[name]["token_ids"], training=training)
                logits[name] = tf.cast(self.heads[name](token_embeddings, masked[name]["mask_positions"]), tf.float32)
                encoding = text.pool(token_embeddings, masked[name]["token_ids"])
            else:
                encoding = encoder(inputs[name], training=training)
            encoding = self.norms[name](encoding, training=training)
            embeddings[name] = tf.math.l2_normalize(self.projections[name](encoding), axis=-1)
        return embeddings, logits

    def contrast(self, embeddings: Mapping[str, tf.Tensor], presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Contrast this replica's items with the GLOBAL batch.

        Args:
          embeddings: name -> [R, projection_dim].
          presence: bool [R, M]; an item counts for a pair of modalities where it has both.

        Returns:
          the sum of the cross-entropies and their number, float [] each.
        """
        replica = tf.distribute.get_replica_context()
        scale = tf.exp(tf.minimum(self.log_scale, _MOST_SCALE))
        rows = tf.shape(presence)[0]
        labels = tf.range(rows) + rows * tf.cast(replica.replica_id_in_sync_group, tf.int32)
        names, loss, count = list(self.encoders), tf.constant(0.0), tf.constant(0.0)
        for first, second in self.pairs:
            both = presence[:, names.index(first)] & presence[:, names.index(second)]
            valid = of_all_replicas(tf.cast(both, tf.float32))
            weight = tf.cast(both, tf.float32)
            for query, answer in ((first, second), (second, first)):
                logits = scale * tf.matmul(embeddings[query], of_all_replicas(embeddings[answer]), transpose_b=True)
                logits += (valid - 1.0) * 1e9
                loss += tf.reduce_sum(weight * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
                count += tf.reduce_sum(weight)
        return loss, count

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """Mean over the GLOBAL batch.

        Args:
          inputs: `items` name -> [R, ...], preprocessed; `presence` bool [R, M], all False in a row of padding;
            `masked`: what `mask` gives, its weights 0 in such a row.

        Returns:
          float []. Summed over replicas it is the loss of the global batch.
        """
        embeddings, logits = self.encode(inputs["items"], inputs["masked"], training=training)
        loss, count = self.contrast(embeddings, inputs["presence"])
        total = self._global_mean("contrastive_loss", loss, count)
        loss, count = tf.constant(0.0), tf.constant(0.0)
        for name, values in logits.items():
            weight = inputs["masked"][name]["mask_weights"]
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(inputs["masked"][name]["mask_ids"], values)
            loss, count = loss + tf.reduce_sum(weight * entropy), count + tf.reduce_sum(weight)
        return total + self.mask_loss_weight * self._global_mean("masked_loss", loss, count)

    def _global_mean(self, name: str, loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """This replica's part of the mean over the global batch; updates the metric of that name."""
        self.step_metrics[name].update_state(tf.math.divide_no_nan(loss, count), sample_weight=count)
        return part_of_mean(loss, count)
