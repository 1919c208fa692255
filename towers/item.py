"""Item tower: fused content plus an item-id embedding that is dropped at random in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from towers.fusion import FUSIONS
from towers.semantic.codes import CodeEmbeddings

_SCALE = 0.1  # initial standard deviation, per dimension, of content and id embeddings


class ItemTower(tf.keras.layers.Layer):
    """Fuses the encodings of an item's modalities and adds its id embedding.

    Modality dropout hides modalities at random in training, never all of an item's, so that any subset gives a
    usable embedding (cf. ModDrop, Neverova et al., 2016, arXiv:1501.00102). Id dropout hides the id embedding of an
    item (DropoutNet, Volkovs et al., 2017), so that content alone carries an item that was never seen in training.
    Without modalities an item is its id embedding, which is then never hidden.

    With semantic IDs the embeddings of an item's codes are added, which items of like content share, new ones too. In place
    of the id embeddings, an item's own share is then the embedding of its last code, which is hidden as an id is.

    Args:
      num_items: number of id embeddings.
      num_modalities: M.
      hidden_dim: D.
      fusion: a key of `towers.fusion.FUSIONS`.
      modality_dropout: rate at which a modality is hidden in training.
      id_dropout: rate at which an id embedding is hidden in training.
      semantic_ids: none, beside the id embeddings, or instead of them; the latter need modalities.
      num_levels: levels of the codes, without the last one.
      num_codes: codes of a level.

    Call arguments:
      encodings: M tensors [N, d_m].
      presence: bool [N, M].
      id_index: int32 [N], row of the id embeddings, different ones; -1: an item without one.
      codes: int32 [N, num_levels + 1], codes of the content and the last code; None where there are no semantic IDs.
      training: whether modalities and ids are hidden.

    Returns:
      embeddings float32 [N, D], modality weights float32 [N, M].

    Example:

    ```python
    tower = ItemTower(num_items=5, num_modalities=2, hidden_dim=64)
    encodings = [tf.random.normal([3, 128]), tf.random.normal([3, 32])]
    presence = tf.constant([[True, True], [True, False], [False, True]])
    embeddings, weights = tower(encodings, presence, id_index=tf.constant([0, 4, -1]))  # [3, 64], [3, 2]
    ```
    """

    def __init__(
        self,
        num_items: int,
        num_modalities: int,
        hidden_dim: int,
        fusion: str = "attention",
        modality_dropout: float = 0.0,
        id_dropout: float = 0.0,
        semantic_ids: str = "none",
        num_levels: int = 0,
        num_codes: int = 0,
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
            "semantic_ids": semantic_ids,
            "num_levels": num_levels,
            "num_codes": num_codes,
        }
        self.hidden_dim, self.num_levels = hidden_dim, num_levels
        self.semantic_ids = semantic_ids
        # Last codes beyond those of a level are as rare as they are without meaning: they share embeddings.
        self.num_ids = num_codes if semantic_ids == "instead" else num_items
        self.projections = [tf.keras.layers.Dense(hidden_dim) for _ in range(num_modalities)]
        self.norms = [tf.keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(num_modalities)]
        if not num_modalities:
            return
        self.fusion = FUSIONS[fusion](hidden_dim)
        # Content starts as small as the id embeddings: a louder start would drown what interactions teach.
        self.content_norm = tf.keras.layers.LayerNormalization(
            epsilon=1e-5, gamma_initializer=tf.keras.initializers.Constant(_SCALE), dtype="float32"
        )
        self.drop_modality = tf.keras.layers.Dropout(modality_dropout)
        self.drop_id = tf.keras.layers.Dropout(id_dropout)
        if semantic_ids != "none":
            self.code_embeddings = CodeEmbeddings(num_levels, num_codes, hidden_dim, _SCALE)

    def build(self, input_shape: Any) -> None:
        self.id_embeddings = self.add_weight(
            "id_embeddings",
            # One row more, for items without one: no row that is learned is then gathered twice.
            [self.num_ids + 1, self.hidden_dim],
            initializer=tf.keras.initializers.RandomNormal(stddev=_SCALE),
            experimental_autocast=False,  # what is learned of an item is not rounded
        )
        super().build(input_shape)

    def call(
        self,
        encodings: Sequence[tf.Tensor],
        presence: tf.Tensor,
        id_index: tf.Tensor,
        codes: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        has_id = tf.cast(id_index >= 0, tf.float32)[:, None]
        own = id_index
        if self.semantic_ids != "none" and codes is None:
            raise ValueError("a tower with semantic IDs needs the codes of its items")
        if self.semantic_ids == "instead" and codes is not None:
            own = codes[:, -1] % self.num_ids
        identity = tf.gather(self.id_embeddings, tf.where(id_index >= 0, own, self.num_ids))
        if not self.projections:  # a catalogue of bare ids
            return has_id * identity, tf.zeros([tf.shape(id_index)[0], 0], identity.dtype)
        if training:
            # Dropout of ones gives 0 or 1 / (1 - rate): only whether it is 0 matters here.
            has_id = has_id * tf.cast(tf.sign(self.drop_id(tf.ones_like(has_id), training=True)), tf.float32)
            presence = self._drop_modalities(presence)
        values = tf.stack(
            [norm(project(h)) for project, norm, h in zip(self.projections, self.norms, encodings, strict=True)], axis=1
        )
        fused, weights = self.fusion(values, presence)
        has_content = tf.cast(tf.reduce_any(presence, axis=-1, keepdims=True), tf.float32)
        content = self.content_norm(fused) * has_content
        if self.semantic_ids != "none" and codes is not None:
            content += self.code_embeddings(codes[:, : self.num_levels]) * has_content
        return content + has_id * identity, weights

    @property
    def tables(self) -> list[tf.Variable]:
        """Variables of which a step gathers different rows, so that it may update them by rows."""
        return [] if self.semantic_ids == "instead" else [self.id_embeddings]

    def _drop_modalities(self, presence: tf.Tensor) -> tf.Tensor:
        kept = presence & (self.drop_modality(tf.ones(tf.shape(presence)), training=True) > 0)
        # Where dropout would leave nothing, everything stays.
        return tf.where(tf.reduce_any(kept, axis=-1, keepdims=True), kept, presence)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}
