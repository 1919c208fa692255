"""Images: a small convolutional tower, or any backbone of `tf.keras.applications`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecs.errors import DataError, SpecError
from towers.encoders.base import Encoder
from towers.encoders.convolution import ResidualTower

SMALL = "small"


class ImageEncoder(Encoder):
    """uint8 [B, S, S, 3] -> float [B, d].

    Pixels are scaled as the backbone's own `preprocess_input` does, which pretrained weights expect.

    Args:
      schema: the feature's row in the manifest; `params["size"]` is S.
      backbone: "small" (`ResidualTower`) or the name of a class in `tf.keras.applications`.
      weights: a file that `load_pretrained` reads, for such a class without its top; None: random initial weights.
      filters: channels of the small tower's stages.

    Raises:
      SpecError: `tf.keras.applications` has no such backbone, or it cannot take pictures of this size.
    """

    def __init__(
        self, schema: Mapping[str, Any], backbone: str, weights: str | None, filters: Sequence[int], **kwargs: Any
    ):
        super().__init__(schema, **kwargs)
        self.size = int(self.schema.params["size"])
        self.backbone_name, self.weights_file, self.filters = backbone, weights, tuple(filters)
        if backbone == SMALL:
            self.backbone = ResidualTower(self.filters)
            self._dim = self.filters[-1]
            self._scaled: Callable[[tf.Tensor], tf.Tensor] = lambda pixels: pixels / 127.5 - 1.0
        else:
            constructor = _constructor(backbone)
            try:
                self.backbone = constructor(
                    include_top=False, weights=None, input_shape=(self.size, self.size, 3), pooling="avg"
                )
            except ValueError as error:
                raise SpecError(
                    f"image.backbone={backbone}: takes no pictures of {self.size} pixels ({_line(error)}); give the "
                    "feature a larger size in dataset.yaml, or choose another"
                ) from error
            self._dim = int(self.backbone.output_shape[-1])
            self._scaled = sys.modules[constructor.__module__].preprocess_input

    @property
    def output_dim(self) -> int:
        return self._dim

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.size, self.size, 3], tf.uint8)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return values

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.backbone(self._scaled(tf.cast(inputs, self.compute_dtype)), training=training)

    @classmethod
    def resolve_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Check that backbone and weights go together, before anything else is done.

        Raises:
          SpecError: there is no such backbone, or weights are named for the small one.
          DataError: there is no such file.
        """
        weights = options["weights"]
        if options["backbone"] != SMALL:
            _constructor(options["backbone"])
        elif weights is not None:
            raise SpecError(
                f"image.weights={weights}: the small backbone has no pretrained weights; name a class of "
                "tf.keras.applications with --set image.backbone, or leave image.weights away"
            )
        if weights is not None and not Path(weights).expanduser().is_file():
            raise DataError(
                f"image.weights={weights}: no such file; save {options['backbone']}(include_top=False).save_weights(...) "
                "where there is a network, and name that file"
            )
        return dict(options)

    @property
    def is_pretrained(self) -> bool:
        return self.weights_file is not None

    def load_pretrained(self) -> None:
        """Load the weights file. Raises DataError where it is not of this backbone."""
        if self.weights_file is None:
            return
        path = Path(self.weights_file).expanduser()
        try:
            self.backbone.load_weights(str(path))
        # Keras and h5py raise whatever they stumble over: another shape, fewer layers, a file that is no HDF5.
        except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"image.weights={self.weights_file}: not the weights of {self.backbone_name} without its top "
                f"({_line(error)}); name a file of {self.backbone_name}(include_top=False).save_weights, or "
                "the image.backbone that it is of"
            ) from error

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": self.backbone_name,
            "weights": self.weights_file,
            "filters": list(self.filters),
        }


def _constructor(backbone: str) -> Callable[..., tf.keras.Model]:
    constructor = getattr(tf.keras.applications, backbone, None)
    if not inspect.isfunction(constructor):
        raise SpecError(
            f"image.backbone={backbone}: tf.keras.applications has no such class; name one, such as MobileNetV2, or small"
        )
    return constructor


def _line(error: Exception) -> str:
    """The first line of an error, cut."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
