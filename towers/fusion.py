"""Fusion of the modalities of an item into one vector, with weights that sum to 1 over those that are present.

Every fusion ignores the values of absent modalities, even NaN; an item without any modality is the zero vector with zero
weights.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_ABSENT = -1e9


def masked_softmax(logits: tf.Tensor, presence: tf.Tensor) -> tf.Tensor:
    """Softmax float32 over the last axis among present entries; all zero where none is present."""
    mask = tf.cast(presence, tf.float32)
    return tf.nn.softmax(tf.where(presence, tf.cast(logits, tf.float32), _ABSENT), axis=-1) * mask


def _normalised(contribution: tf.Tensor, presence: tf.Tensor) -> tf.Tensor:
    """Divide contributions [N, M] by their sum over what is present, in float32."""
    contribution = tf.cast(contribution, tf.float32) * tf.cast(presence, tf.float32)
    return tf.math.divide_no_nan(contribution, tf.reduce_sum(contribution, axis=-1, keepdims=True))


class Fusion(tf.keras.layers.Layer):
    """Base class of the fusions.

    Args:
      hidden_dim: D.

    Call arguments:
      values: float [N, M, D].
      presence: bool [N, M].

    Returns:
      fused float [N, D] and weights float32 [N, M].
    """

    def __init__(self, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

    def fuse(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Fuse `values` whose absent entries are zero. Arguments and results as of `call`."""
        raise NotImplementedError

    def call(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = tf.where(presence[..., None], values, tf.zeros([], values.dtype))
        fused, weights = self.fuse(values, presence)
        has_any = tf.reduce_any(presence, axis=-1, keepdims=True)
        return tf.where(has_any, fused, tf.zeros([], fused.dtype)), weights

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


class AttentionFusion(Fusion):
    """Additive attention over the modalities of one item (Bahdanau et al., 2015, arXiv:1409.0473).

    weights = softmax over the present of u . tanh(W x_m + C c), c the mean of the present ones, so that a modality's
    weight depends on the other modalities. A gated residual lets modalities interact beyond the weighted sum.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any):
        super().__init__(hidden_dim, **kwargs)
        self.key = tf.keras.layers.Dense(hidden_dim)
        self.context = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.score = tf.keras.layers.Dense(1, use_bias=False)
        self.value = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = tf.keras.layers.Dense(2 * hidden_dim, activation="gelu")
        self.out = tf.keras.layers.Dense(hidden_dim)

    def fuse(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mask = tf.cast(presence, values.dtype)
        count = tf.maximum(tf.reduce_sum(mask, axis=-1, keepdims=True), 1.0)
        mean = tf.reduce_sum(values, axis=1) / count
        energy = self.score(tf.nn.tanh(self.key(values) + self.context(mean)[:, None]))[..., 0]
        weights = masked_softmax(energy, presence)
        fused = tf.einsum("nm,nmd->nd", tf.cast(weights, values.dtype), self.value(values))
        return fused + self.out(self.hidden(self.norm(fused))), weights


class ConcatFusion(Fusion):
    """Concatenation and a perceptron; the weight of a modality is its part of the hidden layer's input norm."""

    def build(self, input_shape: Any) -> None:
        modalities = int(input_shape[1])
        self.kernels = self.add_weight(
            "kernels", [modalities, self.hidden_dim, 2 * self.hidden_dim], initializer="glorot_uniform"
        )
        self.bias = self.add_weight("bias", [2 * self.hidden_dim], initializer="zeros")
        self.out = tf.keras.layers.Dense(self.hidden_dim)
        super().build(input_shape)

    def fuse(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # One matrix per modality, summed: the same as one matrix on the concatenation, but with each modality's part.
        parts = tf.einsum("nmd,mdh->nmh", values, self.kernels)
        fused = self.out(tf.nn.gelu(tf.reduce_sum(parts, axis=1) + self.bias))
        # The epsilon keeps the gradient of the norm finite at zero.
        norms = tf.sqrt(tf.reduce_sum(tf.square(tf.cast(parts, tf.float32)), axis=-1) + 1e-12)
        return fused, tf.stop_gradient(_normalised(norms, presence))


class GatedFusion(Fusion):
    """Gated multimodal unit (Arevalo et al., 2017, arXiv:1702.01992) for M modalities; weights are the gates over their sum."""

    def __init__(self, hidden_dim: int, **kwargs: Any):
        super().__init__(hidden_dim, **kwargs)
        self.value = tf.keras.layers.Dense(hidden_dim, activation="tanh")
        self.gate = tf.keras.layers.Dense(1, activation="sigmoid")
        self.out = tf.keras.layers.Dense(hidden_dim)

    def fuse(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        weights = _normalised(self.gate(values)[..., 0], presence)
        return self.out(tf.einsum("nm,nmd->nd", tf.cast(weights, values.dtype), self.value(values))), weights


class TransformerFusion(Fusion):
    """One Transformer block over the modalities and a learned summary token; weights are that token's attention."""

    def __init__(self, hidden_dim: int, **kwargs: Any):
        super().__init__(hidden_dim, **kwargs)
        # Over a handful of tokens: its softmax is in float32 at no cost.
        self.attention = tf.keras.layers.MultiHeadAttention(num_heads=2, key_dim=hidden_dim // 2, dtype="float32")
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = tf.keras.layers.Dense(2 * hidden_dim, activation="gelu")
        self.out = tf.keras.layers.Dense(hidden_dim)

    def build(self, input_shape: Any) -> None:
        self.summary = self.add_weight("summary", [1, 1, self.hidden_dim], initializer="glorot_uniform")
        super().build(input_shape)

    def fuse(self, values: tf.Tensor, presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        query = tf.tile(self.summary, [tf.shape(values)[0], 1, 1])
        attended, scores = self.attention(
            query, values, attention_mask=presence[:, None, :], return_attention_scores=True
        )
        fused = tf.cast(attended[:, 0], values.dtype)
        weights = _normalised(tf.reduce_mean(scores, axis=1)[:, 0], presence)
        return fused + self.out(self.hidden(self.norm(fused))), weights


FUSIONS: dict[str, type[Fusion]] = {
    "attention": AttentionFusion,
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "transformer": TransformerFusion,
}
