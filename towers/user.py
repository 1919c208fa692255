"""User tower: causal blocks over the history, in which every position is a training example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrecs.schema import ContextSchema, History
from towers.blocks.attention import TIME_BUCKETS, CausalAttention, HstuAttention, time_bucket

_GAIN = 8.0  # initial weight of the mean; item embeddings begin with about 0.1 in each dimension, a normalised output with 1


class UserTower(tf.keras.layers.Layer):
    """A causal Transformer, or HSTU, over a user's events, with one query embedding per position.

    The sequence is a start token, which carries the user's features, followed by the events, oldest first. Position i
    attends to the start and the first i events and predicts event i, at the time and in the context of that event.
    Because attention is causal and padding stands at the end, padding is never attended to.

    A row may hold several short histories one after the other (packing: Krell et al., 2021, arXiv:2107.02027): each then
    begins with a start token of its own, and the last event of a history, which predicts nothing, gives way to the next
    one's start token.

    With `average` the mean embedding of the events before a position, weighted by dimension, is added to its embedding.
    So the tower begins as what neighbourhood models are, and need not learn to add up a set from few and short ones
    (the user side of FISM, Kabbur et al., 2013, "FISM: factored item similarity models for top-n recommender systems").

    Pre-norm Transformer blocks (Vaswani et al., 2017, arXiv:1706.03762; SASRec, Kang and McAuley, 2018,
    arXiv:1808.09781), or pre-norm HSTU blocks, see `HstuAttention`.

    Args:
      hidden_dim: D.
      num_layers: number of blocks.
      num_heads: attention heads of each.
      intermediate_dim: of the feed-forward layers of a Transformer.
      dropout: rate, on the input, within the attention and on each of a block's outputs.
      max_history: the longest history L.
      use_values: whether event values are inputs.
      use_time_gaps: whether the time since each event is an input.
      average: whether the mean of the events is added.
      block: transformer or hstu.
      context: rows of the schema's context, as dictionaries.

    Call arguments:
      history_embeddings: float [B, L, D], embeddings of the events' items.
      history: the L events, their values standardised.
      now: int64 [B, L + 1], the moment each position predicts for, unix seconds, 0 = unknown.
      context: name -> int32 [B, L + 1] (0 = unknown, else 1 + index in the vocabulary) or float [B, L + 1]
        (standardised), for contexts that come from columns.
      user: float [B, D], the user's features, or [B, L + 1, D] where a row holds several; None: none.
      query: float [B, L + 1, D], the encoded text query of each position (zero = none), or None.
      segments: int32 [B, L + 1], the history that each position belongs to, in one piece each; None: one a row.
      counted: bool [B, L], events that count in the mean of `average`; None: all.
      training: whether dropout is on.

    Returns:
      float32 [B, L + 1, D].

    Example:

    ```python
    tower = UserTower(hidden_dim=64, num_layers=2, num_heads=2, intermediate_dim=128, max_history=50)
    history = History(
        item_index=tf.constant([[3, 1, 2]]),
        values=tf.zeros([1, 3]),
        times=tf.constant([[100, 200, 300]], tf.int64),
        length=tf.constant([3]),
    )
    now = tf.constant([[100, 200, 300, 400]], tf.int64)
    query_embeddings = tower(tf.random.normal([1, 3, 64]), history, now, context={})  # [1, 4, 64]
    ```
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        max_history: int = 50,
        use_values: bool = True,
        use_time_gaps: bool = True,
        average: bool = False,
        block: str = "transformer",
        context: Sequence[Mapping[str, Any]] = (),
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
            "average": average,
            "block": block,
        }
        self.average = average
        self.use_values, self.use_time_gaps = use_values, use_time_gaps
        self.hidden_dim, self.max_history = hidden_dim, max_history
        self.context = [ContextSchema.model_validate(row) for row in context]
        self.value_embed = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.gap_embed = tf.keras.layers.Embedding(TIME_BUCKETS + 1, hidden_dim)
        self.context_embed = [
            tf.keras.layers.Embedding(len(row.vocabulary) + 1, hidden_dim)
            if row.kind == "categories"
            else tf.keras.layers.Dense(hidden_dim, use_bias=False)
            for row in self.context
        ]
        # Without a bias, so that a zero query is the same as none.
        self.query_embed = tf.keras.layers.Dense(hidden_dim, use_bias=False)
        self.input_dropout = tf.keras.layers.Dropout(dropout)
        self.blocks = [self._block(block, num_heads, intermediate_dim, dropout) for _ in range(num_layers)]
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5, dtype="float32")

    def _block(self, kind: str, num_heads: int, intermediate_dim: int, dropout: float) -> dict[str, Any]:
        """The layers of a block; an HSTU block has no feed-forward layers."""
        attention = {"transformer": CausalAttention, "hstu": HstuAttention}[kind]
        layers = {
            "norm_attention": tf.keras.layers.LayerNormalization(epsilon=1e-5),
            "attention": attention(self.hidden_dim, num_heads, self.max_history + 1, dropout),
        }
        if kind == "transformer":
            layers |= {
                "norm_forward": tf.keras.layers.LayerNormalization(epsilon=1e-5),
                "hidden": tf.keras.layers.Dense(intermediate_dim, activation="gelu"),
                "out": tf.keras.layers.Dense(self.hidden_dim),
            }
        return {**layers, "dropout": tf.keras.layers.Dropout(dropout)}

    def build(self, input_shape: Any) -> None:
        self.start = self.add_weight("start", [1, 1, self.hidden_dim], initializer="glorot_uniform")
        if self.average:
            start = tf.keras.initializers.Constant(_GAIN)
            self.gain = self.add_weight("gain", [self.hidden_dim], initializer=start, experimental_autocast=False)
        super().build(input_shape)

    def call(
        self,
        history_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        user: tf.Tensor | None = None,
        query: tf.Tensor | None = None,
        segments: tf.Tensor | None = None,
        counted: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        start = tf.convert_to_tensor(self.start)
        if user is not None:
            start += tf.cast(user if user.shape.rank == 3 else user[:, None], start.dtype)
        events = history_embeddings
        if self.use_values:
            events += self.value_embed(history.values[..., None])
        begins = tf.range(tf.shape(now)[1])[None, :] == 0
        if segments is not None:
            begins |= segments != tf.roll(segments, 1, axis=1)
        x = tf.where(begins[..., None], start, tf.pad(events, [[0, 0], [1, 0], [0, 0]]))
        previous = tf.zeros_like(now)
        if self.use_time_gaps:
            previous = tf.where(begins, previous, tf.pad(history.times, [[0, 0], [1, 0]]))
        x += self.gap_embed(time_bucket(now, previous))
        for row, embed in zip(self.context, self.context_embed, strict=True):
            value = time_context(row.name, now) if row.source == "time" else context[row.name]
            x += embed(value if row.kind == "categories" else value[..., None])
        if query is not None:
            x += self.query_embed(query)
        x = self.input_dropout(x, training=training)
        gaps = time_bucket(now[:, :, None], previous[:, None, :])
        for block in self.blocks:
            attended = block["attention"](block["norm_attention"](x), gaps, segments, training=training)
            x += block["dropout"](attended, training=training)
            if "hidden" in block:
                forward = block["out"](block["hidden"](block["norm_forward"](x)))
                x += block["dropout"](forward, training=training)
        if not self.average:
            return self.norm(x)
        return self.norm(x) + self.gain * self._mean_before(history_embeddings, begins, counted)

    @staticmethod
    def _mean_before(events: tf.Tensor, begins: tf.Tensor, counted: tf.Tensor | None = None) -> tf.Tensor:
        """The mean of the events float [B, L, D] of a history up to each of its positions, float32 [B, L + 1, D]; 0 without.

        Position i + 1 brings in event i where it is counted, bool [B, L], but where a history begins: there the last event
        of the one before has no place.
        """
        number = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
        size = tf.shape(begins)[1]
        counts = (number[:, :, None] == number[:, None, :]) & ~begins[:, None, :]
        counts &= tf.range(size)[:, None] >= tf.range(size)[None, :]
        if counted is not None:
            counts &= tf.pad(counted, [[0, 0], [1, 0]], constant_values=True)[:, None, :]
        weights = tf.cast(counts, tf.float32)
        weights /= tf.maximum(tf.reduce_sum(weights, axis=2, keepdims=True), 1.0)
        return tf.matmul(weights, tf.pad(tf.cast(events, tf.float32), [[0, 0], [1, 0], [0, 0]]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.options,
            "context": [row.model_dump(mode="json") for row in self.context],
        }


def time_context(name: str, now: tf.Tensor) -> tf.Tensor:
    """Index of a context that is derived from time.

    Args:
      name: "hour" (of the day) or "weekday" (Monday first), UTC.
      now: int64, unix seconds, 0 = unknown.

    Returns:
      int32: 1 + the index; 0 where the time is unknown.

    Raises:
      KeyError: no such context.
    """
    index = {
        "hour": lambda: now // 3600 % 24,
        # 1970-01-01 was a Thursday.
        "weekday": lambda: (now // 86400 + 3) % 7,
    }[name]()
    return tf.where(now > 0, tf.cast(index, tf.int32) + 1, 0)
