"""Images: a small convolutional tower, or any backbone of `tf.keras.applications`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from towers.encoders.base import Encoder
from towers.encoders.convolution import ResidualTower


class ImageEncoder(Encoder):
    """uint8 [B, S, S, 3] -> float [B, d].

    Args:
      schema: the feature's row in the manifest; `params["size"]` is S.
      backbone: "small" (`ResidualTower`) or the name of a class in `tf.keras.applications`.
      weights: a weights file of that backbone, or None for random initial weights. Ignored by "small".
      filters: channels of the small tower's stages.

    Raises:
      ValueError: `tf.keras.applications` has no such backbone.
    """

    def __init__(
        self, schema: Mapping[str, Any], backbone: str, weights: str | None, filters: Sequence[int], **kwargs: Any
    ):
        super().__init__(schema, **kwargs)
        self.size = int(self.schema.params["size"])
        self.backbone_name, self.weights_file, self.filters = backbone, weights, tuple(filters)
        if backbone == "small":
            self.backbone = ResidualTower(self.filters)
            self._dim = self.filters[-1]
        else:
            constructor = getattr(tf.keras.applications, backbone, None)
            if constructor is None:
                raise ValueError(f"image.backbone: tf.keras.applications has no {backbone!r}; 'small' is always there")
            self.backbone = constructor(
                include_top=False, weights=weights, input_shape=(self.size, self.size, 3), pooling="avg"
            )
            self._dim = int(self.backbone.output_shape[-1])

    @property
    def output_dim(self) -> int:
        return self._dim

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.size, self.size, 3], tf.uint8)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return values

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        pixels = tf.cast(inputs, self.compute_dtype)
        if self.backbone_name == "small":
            return self.backbone(pixels / 127.5 - 1.0)
        return self.backbone(pixels, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": self.backbone_name,
            "weights": self.weights_file,
            "filters": list(self.filters),
        }
