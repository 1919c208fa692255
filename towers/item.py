"""Item tower: fused content plus an item-id embedding that is dropped at random in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from towers.fusion import FUSIONS

_SCALE = 0.1  # of both parts of an item embedding at the start, per dimension


class ItemTower(tf.keras.layers.Layer):
    """Encodings of the modalities -> item embedding.

    Modality dropout hides modalities at random in training, never all of an item's, so that any subset gives a
    usable embedding (cf. ModDrop, Neverova et al., 2016, arXiv:1501.00102). Id dropout hides the id embedding of an
    item (DropoutNet, Volkovs et al., 2017), so that content alone carries an item that was never seen in training.

    Args:
      num_items: N.
      num_modalities: M.
      hidden_dim: D.
      fusion: a key of `towers.fusion.FUSIONS`.
      modality_dropout, id_dropout: probabilities.
    """

    def __init__(
        self,
        num_items: int,
        num_modalities: int,
        hidden_dim: int,
        fusion: str,
        modality_dropout: float,
        id_dropout: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.options = {
            "num_items": num_items,
            "num_modalities": num_modalities,
            "hidden_dim": hidden_dim,
            "fusion": fusion,
            "modality_dropout": modality_dropout,
            "id_dropout": id_dropout,
        }
        self.hidden_dim = hidden_dim
        self.projections = [tf.keras.layers.Dense(hidden_dim) for _ in range(num_modalities)]
        self.norms = [tf.keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(num_modalities)]
        self.fusion = FUSIONS[fusion](hidden_dim)
        # Content starts as small as the id embeddings: a louder start would drown what interactions teach.
        self.content_norm = tf.keras.layers.LayerNormalization(
            epsilon=1e-5, gamma_initializer=tf.keras.initializers.Constant(_SCALE)
        )
        self.drop_modality = tf.keras.layers.Dropout(modality_dropout)
        self.drop_id = tf.keras.layers.Dropout(id_dropout)

    def build(self, input_shape: Any) -> None:
        self.id_table = self.add_weight(
            "id_table",
            [self.options["num_items"], self.hidden_dim],
            initializer=tf.keras.initializers.RandomNormal(stddev=_SCALE),
        )
        super().build(input_shape)

    def call(
        self, encodings: Sequence[tf.Tensor], presence: tf.Tensor, id_index: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Args:
          encodings: M tensors [N, d_m].
          presence: bool [N, M].
          id_index: int32 [N], row of the id table; -1: an item without an id embedding.

        Returns:
          embedding float [N, D], modality weights float [N, M].
        """
        known = tf.cast(id_index >= 0, self.compute_dtype)[:, None]
        if training:
            # Dropout of ones gives 0 or 1 / (1 - rate): the sign says which, and the scale is not wanted here.
            known = known * tf.sign(self.drop_id(tf.ones_like(known), training=True))
        identity = known * tf.gather(self.id_table, tf.maximum(id_index, 0))
        if not encodings:  # a catalogue of bare ids
            return identity, tf.zeros([tf.shape(id_index)[0], 0], identity.dtype)
        if training:
            presence = self._drop_modalities(presence)
        values = tf.stack(
            [norm(project(h)) for project, norm, h in zip(self.projections, self.norms, encodings, strict=True)], axis=1
        )
        fused, weights = self.fusion(values, presence)
        some = tf.cast(tf.reduce_any(presence, axis=-1, keepdims=True), fused.dtype)
        content = self.content_norm(fused) * some
        return content + identity, weights

    def _drop_modalities(self, presence: tf.Tensor) -> tf.Tensor:
        kept = presence & (self.drop_modality(tf.ones(tf.shape(presence)), training=True) > 0)
        # Where dropout would leave nothing, everything stays.
        return tf.where(tf.reduce_any(kept, axis=-1, keepdims=True), kept, presence)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}
