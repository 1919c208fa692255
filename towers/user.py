"""User tower: a causal Transformer over the history, in which every position is a training example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrecs.schema import ContextSchema, History

_TIME_BUCKETS = 64  # two per doubling of the gap in seconds: up to 136 years; one more for "unknown"
_FUTURE = -1e9


def time_bucket(now: tf.Tensor, then: tf.Tensor) -> tf.Tensor:
    """Logarithmic bucket of the gap between two unix times (int64 seconds, 0 = unknown), int32 in [0, 64].

    Bucket floor(2 log2(gap + 1)); 64 where either time is unknown. A gap below zero counts as zero.
    """
    gap = tf.cast(tf.maximum(now - then, 0), tf.float32)
    bucket = tf.cast(2.0 * tf.math.log(gap + 1.0) / tf.math.log(2.0), tf.int32)
    known = (now > 0) & (then > 0)
    return tf.where(known, tf.minimum(bucket, _TIME_BUCKETS - 1), _TIME_BUCKETS)


class CausalAttention(tf.keras.layers.Layer):
    """Multi-head causal self-attention with learned biases for distance and for elapsed time.

    Relative distance as in T5 (Raffel et al., 2020, arXiv:1910.10683), one bias per distance; elapsed time between
    the moment a position predicts for and the attended event as in HSTU (Zhai et al., 2024, arXiv:2402.17152).
    Both depend on differences alone, so a history may start anywhere.

    Args:
      hidden_dim: D, divisible by num_heads.
      num_heads: number of heads H.
      max_length: the longest sequence S.
      dropout: on the attention weights.
    """

    def __init__(self, hidden_dim: int, num_heads: int, max_length: int, dropout: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = {"hidden_dim": hidden_dim, "num_heads": num_heads, "max_length": max_length, "dropout": dropout}
        self.hidden_dim, self.num_heads, self.max_length = hidden_dim, num_heads, max_length
        self.qkv = tf.keras.layers.Dense(3 * hidden_dim)
        self.out = tf.keras.layers.Dense(hidden_dim)
        self.dropout = tf.keras.layers.Dropout(dropout)

    def build(self, input_shape: Any) -> None:
        self.distance_bias = self.add_weight("distance_bias", [self.max_length, self.num_heads], initializer="zeros")
        self.time_bias = self.add_weight("time_bias", [_TIME_BUCKETS + 1, self.num_heads], initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor, gaps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """x float [B, S, D], gaps int32 [B, S, S] (time bucket of query position i and key j) -> [B, S, D]."""
        size = tf.shape(x)[1]
        heads = tf.reshape(self.qkv(x), [tf.shape(x)[0], size, 3, self.num_heads, self.hidden_dim // self.num_heads])
        query, key, value = tf.unstack(heads, num=3, axis=2)
        logits = tf.einsum("bihd,bjhd->bhij", query, key) * (self.hidden_dim // self.num_heads) ** -0.5
        steps = tf.range(size)
        distance = steps[:, None] - steps[None, :]
        logits += tf.transpose(
            tf.gather(self.distance_bias, tf.clip_by_value(distance, 0, self.max_length - 1)), [2, 0, 1]
        )
        logits += tf.transpose(tf.gather(self.time_bias, gaps), [0, 3, 1, 2])
        logits = tf.where(distance >= 0, logits, _FUTURE)
        weights = self.dropout(tf.nn.softmax(logits), training=training)
        mixed = tf.einsum("bhij,bjhd->bihd", weights, value)
        return self.out(tf.reshape(mixed, [tf.shape(x)[0], size, self.hidden_dim]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


class UserTower(tf.keras.layers.Layer):
    """History, context, user features and an optional text query -> one query embedding per position.

    The sequence is a start token (it carries the user's features) followed by the events, oldest first. Position i
    has seen the start and the first i events and predicts event i, at the time and in the context of that event: what
    is known at the moment of a request. Because attention is causal, padding stands at the end and is never seen.

    Pre-norm Transformer blocks (Vaswani et al., 2017, arXiv:1706.03762; SASRec, Kang and McAuley, 2018,
    arXiv:1808.09781).

    Args:
      hidden_dim: D.
      num_layers, num_heads, intermediate_dim, dropout: the Transformer's shape.
      max_history: L, the longest history.
      use_values, use_time_gaps: whether it looks at event values, and at the time that has passed since each event.
      context: rows of the schema's context, as dictionaries.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        intermediate_dim: int,
        dropout: float,
        max_history: int,
        use_values: bool,
        use_time_gaps: bool,
        context: Sequence[Mapping[str, Any]],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.options = {
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
            "max_history": max_history,
            "use_values": use_values,
            "use_time_gaps": use_time_gaps,
        }
        self.use_values, self.use_time_gaps = use_values, use_time_gaps
        self.hidden_dim, self.max_history = hidden_dim, max_history
        self.context = [ContextSchema.model_validate(row) for row in context]
        self.value_embed = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.gap_embed = tf.keras.layers.Embedding(_TIME_BUCKETS + 1, hidden_dim)
        self.context_embed = [
            tf.keras.layers.Embedding(len(row.vocabulary) + 1, hidden_dim)
            if row.kind == "categories"
            else tf.keras.layers.Dense(hidden_dim, use_bias=False)
            for row in self.context
        ]
        # Without a bias, so that a zero query is the same as none.
        self.query_embed = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.input_dropout = tf.keras.layers.Dropout(dropout)
        self.blocks = [
            {
                "norm_attention": tf.keras.layers.LayerNormalization(epsilon=1e-5),
                "attention": CausalAttention(hidden_dim, num_heads, max_history + 1, dropout),
                "norm_forward": tf.keras.layers.LayerNormalization(epsilon=1e-5),
                "hidden": tf.keras.layers.Dense(intermediate_dim, activation="gelu"),
                "out": tf.keras.layers.Dense(hidden_dim),
                "dropout": tf.keras.layers.Dropout(dropout),
            }
            for _ in range(num_layers)
        ]
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)

    def build(self, input_shape: Any) -> None:
        self.start = self.add_weight("start", [1, 1, self.hidden_dim], initializer="glorot_uniform")
        super().build(input_shape)

    def call(
        self,
        history_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        user: tf.Tensor | None = None,
        query: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Args:
          history_embeddings: float [B, S - 1, D], embeddings of the events' items.
          history: the S - 1 events, their values standardised.
          now: int64 [B, S], the moment each position predicts for, 0 = unknown.
          context: name -> int32 [B, S] (0 = unknown, else 1 + index in the vocabulary) or float [B, S]
            (standardised), for contexts that come from columns.
          user: float [B, D], the user's features, or None.
          query: float [B, S, D], the encoded text query of each position (zero = none), or None.

        Returns:
          float [B, S, D].
        """
        batch = tf.shape(history_embeddings)[0]
        start = tf.tile(self.start, [batch, 1, 1])
        if user is not None:
            start += user[:, None]
        events = history_embeddings
        if self.use_values:
            events += self.value_embed(history.values[..., None])
        x = tf.concat([start, events], axis=1)
        previous = tf.pad(history.times, [[0, 0], [1, 0]]) if self.use_time_gaps else tf.zeros_like(now)
        x += self.gap_embed(time_bucket(now, previous))
        for row, embed in zip(self.context, self.context_embed, strict=True):
            value = time_context(row.name, now) if row.source == "time" else context[row.name]
            x += embed(value if row.kind == "categories" else value[..., None])
        if query is not None:
            x += self.query_embed(query)
        x = self.input_dropout(x, training=training)
        gaps = time_bucket(now[:, :, None], previous[:, None, :])
        for block in self.blocks:
            attended = block["attention"](block["norm_attention"](x), gaps, training=training)
            x += block["dropout"](attended, training=training)
            forward = block["out"](block["hidden"](block["norm_forward"](x)))
            x += block["dropout"](forward, training=training)
        return self.norm(x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.options,
            "context": [row.model_dump(mode="json") for row in self.context],
        }


def time_context(name: str, now: tf.Tensor) -> tf.Tensor:
    """Index of a context that time gives: 1 + hour of the day, 1 + weekday (Monday first), UTC; 0 where unknown.

    Raises:
      KeyError: no such context.
    """
    index = {
        "hour": lambda: now // 3600 % 24,
        # 1970-01-01 was a Thursday.
        "weekday": lambda: (now // 86400 + 3) % 7,
    }[name]()
    return tf.where(now > 0, tf.cast(index, tf.int32) + 1, 0)
