"""A modality from outside the packages: the mean colour of a swatch, read from a picture file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecs.errors import DataError
from tfrecs.kinds.base import Feature, Note, Options, float_payload, validated
from tfrecs.modalities import Modality
from towers.encoders.base import Encoder

ROW = Modality(
    "swatch",
    "toy_modality:SwatchFeature",
    "toy_modality:SwatchEncoder",
    from_file=True,
    shown_as="image",
    columns=("swatch",),
)


class SwatchFeature(Feature):
    """float32 [3]: red, green and blue, in [0, 1]. Raw values: paths of picture files."""

    kind = "swatch"

    @classmethod
    def params_from(cls, options: Mapping[str, Any], values: Iterable[Any]) -> dict[str, Any]:
        return validated(Options, options, cls.kind).model_dump()

    def _encode(self, value: Any, note: Note) -> tf.train.Feature:
        try:
            pixels = np.asarray(Image.open(value).convert("RGB"), np.float32)
        except OSError as error:
            raise DataError(f"{Path(value).name}: not a picture") from error
        return float_payload((pixels.mean(axis=(0, 1)) / 255.0).tolist())

    @property
    def parse_spec(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([3], tf.float32, [float("nan")] * 3)

    @property
    def spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([3], tf.float32)

    def decode(self, payload: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        presence = tf.reduce_all(tf.math.is_finite(payload), axis=-1)
        return tf.where(presence[:, None], payload, 0.0), presence

    @property
    def raw_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, 3], tf.float32)

    def decode_raw(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.decode(raw)

    def render(self, value: np.ndarray) -> str:
        red, green, blue = np.rint(value * 255).astype(int)
        return f'<b style="background: rgb({red} {green} {blue})">swatch</b>'


class SwatchEncoder(Encoder):
    """float [B, 3] -> float [B, 8]."""

    def __init__(self, schema: Mapping[str, Any], **kwargs: Any):
        super().__init__(schema, **kwargs)
        self.dense = tf.keras.layers.Dense(self.output_dim)

    @property
    def output_dim(self) -> int:
        return 8

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([3], tf.float32)

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return 2.0 * values - 1.0

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.dense(inputs)
