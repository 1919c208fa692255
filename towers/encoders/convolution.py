"""The small residual network for pictures and spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class ResidualTower(tf.keras.layers.Layer):
    """Residual convolutional tower: [B, H, W, C] float -> [B, filters[-1]].

    A stride-2 stage for each, each with one residual block (He et al., 2016, arXiv:1512.03385); then the mean over the
    plane of every stage and the maximum of the last. Only the residual branch is normalised: normalising the trunk
    would remove what is constant over the plane, the palette of a picture and the loudness of a clip. Group
    normalisation (Wu and He, 2018, arXiv:1803.08494) instead of batch
    normalisation: the number of items encoded in a step is small and differs from the number of interactions, and
    statistics must not depend on how many replicas share a batch.

    Args:
      filters: channels of each stage, multiples of 8.
    """

    def __init__(self, filters: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = tuple(filters)
        self.stages = []
        for channels in self.filters:
            self.stages.append(
                {
                    "down": tf.keras.layers.Conv2D(channels, 3, strides=2, padding="same"),
                    "first": tf.keras.layers.Conv2D(channels, 3, padding="same", use_bias=False),
                    # Statistics in float32, whatever the convolutions compute in.
                    "first_norm": tf.keras.layers.GroupNormalization(8, dtype="float32"),
                    "second": tf.keras.layers.Conv2D(channels, 3, padding="same", use_bias=False),
                    "second_norm": tf.keras.layers.GroupNormalization(8, dtype="float32"),
                }
            )
        self.project = tf.keras.layers.Dense(self.filters[-1])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = inputs
        pooled = []
        for stage in self.stages:
            x = tf.nn.relu(stage["down"](x))
            y = tf.nn.relu(stage["first_norm"](stage["first"](x)))
            x = tf.nn.relu(tf.cast(x, tf.float32) + stage["second_norm"](stage["second"](y)))
            pooled.append(tf.reduce_mean(x, axis=[1, 2]))
        return self.project(tf.concat([*pooled, tf.reduce_max(x, axis=[1, 2])], axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": list(self.filters)}
