"""Categories: a bag of learned embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from towers.encoders.base import Encoder


class CategoriesEncoder(Encoder):
    """Strings [B, C] -> multi-hot float [B, V + 1] (`preprocess`; column 0 is the unknown) -> float [B, hidden_dim].

    The embeddings of an item's categories are summed and divided by the square root of their number, so that an
    item with many tags is neither drowned nor loud.

    Args:
      schema: the feature's row in the manifest; `params["vocabulary"]` lists the V known values.
      hidden_dim: d_m.
      dropout: share of an item's categories hidden in training.
    """

    def __init__(self, schema: Mapping[str, Any], hidden_dim: int, dropout: float, **kwargs: Any):
        super().__init__(schema, **kwargs)
        self.hidden_dim, self.dropout_rate = hidden_dim, dropout
        self.vocabulary = list(self.schema.params["vocabulary"])
        self.lookup = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(self.vocabulary, tf.string), tf.range(1, len(self.vocabulary) + 1, dtype=tf.int64)
            ),
            default_value=0,
        )
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.embed = tf.keras.layers.Dense(hidden_dim, use_bias=False)

    @property
    def output_dim(self) -> int:
        return self.hidden_dim

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([len(self.vocabulary) + 1], tf.float32)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        # A depth of -1 for padding: one_hot leaves such a row empty.
        index = tf.where(values == "", tf.constant(-1, tf.int64), self.lookup.lookup(values))
        return tf.minimum(tf.reduce_sum(tf.one_hot(index, len(self.vocabulary) + 1), axis=1), 1.0)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.dropout(inputs, training=training)
        count = tf.reduce_sum(tf.cast(inputs, tf.float32), axis=1, keepdims=True)
        return tf.cast(self.embed(x), tf.float32) / tf.sqrt(tf.maximum(count, 1.0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "dropout": self.dropout_rate}
