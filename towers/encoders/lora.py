"""Low-rank adapters (LoRA): a trained correction beside a frozen pretrained projection."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class LowRankDense(tf.keras.layers.Layer):
    """A frozen projection plus a trained correction of rank r: LoRA (Hu et al., 2021, arXiv:2106.09685).

    float [..., d] -> base(x) + (alpha / r) x A B, with A [d, r] random and B [r, *units] zero initially, so that the
    output is unchanged before the first step.

    Args:
      base: a Dense or EinsumDense over the last axis, with kernel [d, *units]; it is frozen.
      rank: r.
      alpha: scale of the correction, independent of the rank.
    """

    def __init__(self, base: tf.keras.layers.Layer, rank: int, alpha: float, **kwargs: Any):
        super().__init__(**{"name": f"{base.name}_lora", **kwargs})
        self.base, self.rank, self.alpha = base, rank, alpha
        base.trainable = False
        if base.built:
            self.build([None, base.kernel.shape[0]])

    def build(self, input_shape: Any) -> None:
        if not self.base.built:
            self.base.build(input_shape)
        inputs, *units = self.base.kernel.shape
        self.a = self.add_weight("lora_a", [inputs, self.rank], initializer=tf.keras.initializers.HeUniform())
        self.b = self.add_weight("lora_b", [self.rank, *units], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        down = tf.tensordot(inputs, self.a, axes=1)
        return self.base(inputs) + (self.alpha / self.rank) * tf.tensordot(down, self.b, axes=1)

    def get_config(self) -> dict[str, Any]:
        base = tf.keras.layers.serialize(self.base)
        return {**super().get_config(), "base": base, "rank": self.rank, "alpha": self.alpha}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LowRankDense:
        return cls(**{**config, "base": tf.keras.layers.deserialize(config["base"])})
