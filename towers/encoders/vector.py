"""Precomputed feature vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from towers.encoders.base import Encoder


class VectorEncoder(Encoder):
    """float [B, dim] -> float [B, hidden_dim]: standardised per dimension, then a two-layer perceptron with a skip path.

    Args:
      schema: the feature's row in the manifest; `params` has `dim`, `mean` and `std` (lists).
      hidden_dim: d_m.
      dropout: on the standardised input, in training.
    """

    def __init__(self, schema: Mapping[str, Any], hidden_dim: int, dropout: float, **kwargs: Any):
        super().__init__(schema, **kwargs)
        self.hidden_dim, self.dropout_rate = hidden_dim, dropout
        self.dim = int(self.schema.params["dim"])
        self.mean = np.asarray(self.schema.params["mean"], np.float32)
        self.std = np.asarray(self.schema.params["std"], np.float32)
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.skip = tf.keras.layers.Dense(hidden_dim)
        self.hidden = tf.keras.layers.Dense(hidden_dim, activation="gelu")
        self.out = tf.keras.layers.Dense(hidden_dim)

    @property
    def output_dim(self) -> int:
        return self.hidden_dim

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.dim], tf.float32)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        # Beyond ten standard deviations a value is an outlier that would drown its row.
        return tf.clip_by_value((values - self.mean) / self.std, -10.0, 10.0)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.dropout(inputs, training=training)
        return self.skip(x) + self.out(self.hidden(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "dropout": self.dropout_rate}
