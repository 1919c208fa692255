"""Causal self-attention over histories: the softmax of a Transformer, and the pointwise attention of HSTU."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

TIME_BUCKETS = 64
"""Two per doubling of the gap in seconds: up to 136 years; one more for "unknown"."""
_EXCLUDED = -1e9


def time_bucket(now: tf.Tensor, then: tf.Tensor) -> tf.Tensor:
    """Logarithmic bucket of the gap between two moments.

    Args:
      now: int64, unix seconds, 0 = unknown.
      then: int64, of a shape that broadcasts with it.

    Returns:
      int32: floor(2 log2(gap + 1)), at most 63; 64 where either time is unknown. A gap below zero counts as zero.
    """
    gap = tf.cast(tf.maximum(now - then, 0), tf.float32)
    bucket = tf.cast(2.0 * tf.math.log(gap + 1.0) / tf.math.log(2.0), tf.int32)
    known = (now > 0) & (then > 0)
    return tf.where(known, tf.minimum(bucket, TIME_BUCKETS - 1), TIME_BUCKETS)


class RelativeAttention(tf.keras.layers.Layer):
    """What both kinds of attention share: heads, learned biases of distance and of elapsed time, and the mask.

    Relative distance as in T5 (Raffel et al., 2020, arXiv:1910.10683), one bias per distance; elapsed time between
    the moment a position predicts for and the attended event as in HSTU (Zhai et al., 2024, arXiv:2402.17152).
    Both depend on differences alone, so a history may start anywhere.

    Args:
      hidden_dim: D, divisible by num_heads.
      num_heads: H.
      max_length: the longest sequence.
      dropout: rate.

    Call arguments:
      inputs: float [B, S, D].
      time_gaps: int32 [B, S, S], `time_bucket` of query position i and key j.
      segments: int32 [B, S]; a position attends to those of its own segment alone. None: all are of one.
      training: whether dropout is on.

    Returns:
      float [B, S, D].
    """

    def __init__(self, hidden_dim: int, num_heads: int, max_length: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = {"hidden_dim": hidden_dim, "num_heads": num_heads, "max_length": max_length, "dropout": dropout}
        self.hidden_dim, self.num_heads, self.max_length = hidden_dim, num_heads, max_length

    def build(self, input_shape: Any) -> None:
        # The logits are float32 in every precision, and so is what is added to them.
        zeros = {"initializer": "zeros", "experimental_autocast": False}
        self.distance_bias = self.add_weight("distance_bias", [self.max_length, self.num_heads], **zeros)
        self.time_bias = self.add_weight("time_bias", [TIME_BUCKETS + 1, self.num_heads], **zeros)
        super().build(input_shape)

    def split(self, values: tf.Tensor, parts: int) -> list[tf.Tensor]:
        """Take values [B, S, parts * D] apart into `parts` tensors [B, S, H, D / H]."""
        shape = [tf.shape(values)[0], tf.shape(values)[1], parts, self.num_heads, self.hidden_dim // self.num_heads]
        return tf.unstack(tf.reshape(values, shape), num=parts, axis=2)

    def merged(self, heads: tf.Tensor) -> tf.Tensor:
        """Put heads [B, S, H, D / H] together: [B, S, D]."""
        return tf.reshape(heads, [tf.shape(heads)[0], tf.shape(heads)[1], self.hidden_dim])

    def products(self, query: tf.Tensor, key: tf.Tensor, scale: float = 1.0) -> tf.Tensor:
        """Inner products of queries and keys [B, S, H, D / H], float32 [B, H, S, S]."""
        return scale * tf.cast(tf.einsum("bihd,bjhd->bhij", query, key), tf.float32)

    def biases(self, time_gaps: tf.Tensor) -> tf.Tensor:
        """What is added to the products, float32 [B, H, S, S]."""
        distance = tf.clip_by_value(_distance(tf.shape(time_gaps)[1]), 0, self.max_length - 1)
        of_distance = tf.transpose(tf.gather(self.distance_bias, distance), [2, 0, 1])
        return of_distance + tf.transpose(tf.gather(self.time_bias, time_gaps), [0, 3, 1, 2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


class CausalAttention(RelativeAttention):
    """Multi-head causal self-attention with a softmax (Vaswani et al., 2017, arXiv:1706.03762).

    Arguments, call arguments and result: see `RelativeAttention`; dropout is on the attention weights.
    """

    def __init__(self, hidden_dim: int, num_heads: int, max_length: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(hidden_dim, num_heads, max_length, dropout, **kwargs)
        self.qkv = tf.keras.layers.Dense(3 * hidden_dim)
        self.out = tf.keras.layers.Dense(hidden_dim)
        self.dropout = tf.keras.layers.Dropout(dropout)

    def call(
        self, inputs: tf.Tensor, time_gaps: tf.Tensor, segments: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        query, key, value = self.split(self.qkv(inputs), 3)
        logits = self.products(query, key, (self.hidden_dim // self.num_heads) ** -0.5) + self.biases(time_gaps)
        logits = tf.where(_allowed(tf.shape(inputs)[1], segments), logits, _EXCLUDED)
        weights = self.dropout(tf.nn.softmax(logits), training=training)
        return self.out(self.merged(tf.einsum("bhij,bjhd->bihd", weights, value)))


class HstuAttention(RelativeAttention):
    """A hierarchical sequential transduction unit without its residual (HSTU: Zhai et al., 2024, arXiv:2402.17152).

        U, V, Q, K = silu(W x)
        A = silu(Q K^T + biases) / max_length, 0 where a position may not attend
        y = W' (norm(A V) * U)

    Without a softmax, what a position gathers grows with how often the same was done before; U, a gate by the position's own
    embedding, takes the place of the feed-forward layer. The divisor is a constant, so that neither padding nor packing
    changes anything.

    Arguments, call arguments and result: see `RelativeAttention`; dropout is on what the last projection gets.
    """

    def __init__(self, hidden_dim: int, num_heads: int, max_length: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(hidden_dim, num_heads, max_length, dropout, **kwargs)
        self.uvqk = tf.keras.layers.Dense(4 * hidden_dim, activation="silu")
        # In float32: a short history gathers little, and its squares vanish in half precision.
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, dtype="float32")
        self.out = tf.keras.layers.Dense(hidden_dim)
        self.dropout = tf.keras.layers.Dropout(dropout)

    def call(
        self, inputs: tf.Tensor, time_gaps: tf.Tensor, segments: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        gate, value, query, key = self.split(self.uvqk(inputs), 4)
        weights = tf.nn.silu(self.products(query, key) + self.biases(time_gaps)) / self.max_length
        weights = tf.where(_allowed(tf.shape(inputs)[1], segments), weights, 0.0)
        gathered = tf.einsum("bhij,bjhd->bihd", weights, tf.cast(value, tf.float32))
        gated = tf.cast(self.norm(self.merged(gathered)), gate.dtype) * self.merged(gate)
        return self.out(self.dropout(gated, training=training))


def _distance(size: tf.Tensor) -> tf.Tensor:
    """int32 [S, S], how many positions a key is before a query."""
    steps = tf.range(size)
    return steps[:, None] - steps[None, :]


def _allowed(size: tf.Tensor, segments: tf.Tensor | None) -> tf.Tensor:
    """bool [S, S] or [B, 1, S, S], which keys a query attends to: none behind it, and those of its own segment alone."""
    allowed = _distance(size) >= 0
    return allowed if segments is None else allowed & (segments[:, :, None] == segments[:, None, :])[:, None]
