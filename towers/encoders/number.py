"""Numbers: standardised, then a small perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from towers.encoders.base import Encoder


class NumberEncoder(Encoder):
    """float [B] -> standardised [B, 1] (`preprocess`) -> float [B, hidden_dim] (`call`).

    Args:
      schema: the feature's row in the manifest; `params` has `mean` and `std`.
      hidden_dim: d_m.
    """

    def __init__(self, schema: Mapping[str, Any], hidden_dim: int, **kwargs: Any):
        super().__init__(schema, **kwargs)
        self.hidden_dim = hidden_dim
        self.hidden = tf.keras.layers.Dense(hidden_dim, activation="gelu")
        self.out = tf.keras.layers.Dense(hidden_dim)

    @property
    def output_dim(self) -> int:
        return self.hidden_dim

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([1], tf.float32)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        scaled = (values - float(self.schema.params["mean"])) / float(self.schema.params["std"])
        return tf.clip_by_value(scaled, -10.0, 10.0)[:, None]

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.out(self.hidden(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
