"""Semantic IDs: each item's content as a few codes, by residual quantisation, which items of like content share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

UNUSED = 1e6
"""Coordinates of codes that no content is nearest to, in a codebook of more codes than the catalogue has contents."""


class SemanticCodes(tf.keras.layers.Layer):
    """The codes of items: level by level the nearest centre of what the levels before have left of the content.

    Residual quantisation as in TIGER (Rajput et al., 2023, arXiv:2305.05065), with codebooks by k-means rather than learned
    with a decoder, over the standardised encodings of all modalities together. Each modality counts alike, whatever its
    dimension; one that an item lacks counts as the catalogue's mean. Nothing here is trained: the codebooks are fitted once,
    before the first epoch, so that any content has codes, also one that was not there at the time.

    The codes of the catalogue are kept, with a last one that tells items with the same codes apart: 0, 1, 2, ... in the
    catalogue's order.

    Args:
      num_items: N.
      num_levels: levels, without the last code.
      num_codes: K, codes of a level.
      dims: d_m of each of the M modalities.

    Call arguments:
      encodings: M tensors [R, d_m], standardised.
      presence: bool [R, M].

    Returns:
      int32 [R, num_levels].

    Example:

    ```python
    codes = SemanticCodes(num_items=4, num_levels=1, num_codes=2, dims=[1])
    codes.codebooks.assign([[[0.0], [9.0]]])
    codes([tf.constant([[8.0], [1.0]])], presence=tf.constant([[True], [True]]))  # [[1], [0]]
    ```
    """

    def __init__(self, num_items: int, num_levels: int, num_codes: int, dims: Sequence[int], **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.options = {"num_items": num_items, "num_levels": num_levels, "num_codes": num_codes, "dims": list(dims)}
        self.num_levels, self.num_codes, self.dims = num_levels, num_codes, list(dims)
        self.codebooks = self.add_weight(
            "codebooks", [num_levels, num_codes, sum(self.dims)], initializer="zeros", trainable=False
        )
        # TensorFlow keeps variables of int64 on a GPU, those of int32 on the CPU, where a step compiled for a GPU cannot go.
        self.catalogue = self.add_weight(
            "catalogue", [num_items, num_levels + 1], dtype=tf.int64, initializer="zeros", trainable=False
        )

    def content(self, encodings: Sequence[tf.Tensor], presence: tf.Tensor) -> tf.Tensor:
        """What is quantised: the encodings side by side, each of about the same length, float32 [R, sum of the d_m]."""
        mask = tf.cast(presence, tf.float32)
        parts = [
            tf.cast(encoding, tf.float32) * (mask[:, column, None] * dim**-0.5)
            for column, (encoding, dim) in enumerate(zip(encodings, self.dims, strict=True))
        ]
        return tf.concat(parts, axis=1)

    def call(self, encodings: Sequence[tf.Tensor], presence: tf.Tensor) -> tf.Tensor:
        return quantise(self.content(encodings, presence), tf.unstack(tf.convert_to_tensor(self.codebooks)))

    def with_last(self, codes: tf.Tensor, rows: slice) -> tf.Tensor:
        """Codes int32 [R, num_levels] of rows of the catalogue, whatever their content is here, with their last code."""
        return tf.concat([codes, tf.cast(self.catalogue[rows, -1:], tf.int32)], axis=1)

    def of_catalogue(self, rows: tf.Tensor | None = None) -> tf.Tensor:
        """Codes int32 [R, num_levels + 1] of the catalogue's items at positions int32 [R], with last codes; None: of all."""
        codes = tf.convert_to_tensor(self.catalogue) if rows is None else tf.gather(self.catalogue, rows)
        return tf.cast(codes, tf.int32)

    def fill(self, codes: np.ndarray) -> None:
        """Keep the codes of the catalogue, int32 [N, num_levels], with their last codes."""
        self.catalogue.assign(np.concatenate([codes, last_codes(codes)[:, None]], axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


def quantise(content: tf.Tensor, codebooks: Sequence[tf.Tensor]) -> tf.Tensor:
    """Codes int32 [R, levels] of content [R, d]: of each level the nearest of its centres [K, d], the first of equal ones."""
    codes, rest = [], content
    for centres in codebooks:
        distances = tf.reduce_sum(tf.square(centres), axis=1) - 2.0 * tf.matmul(rest, centres, transpose_b=True)
        code = tf.argmin(distances, axis=1, output_type=tf.int32)
        rest -= tf.gather(centres, code)
        codes.append(code)
    return tf.stack(codes, axis=1)


def last_codes(codes: np.ndarray) -> np.ndarray:
    """int32 [N], how many rows before have the same codes, int [N, levels]."""
    _, group = np.unique(codes, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    grouped = group[order]
    first = np.searchsorted(grouped, grouped)  # where each one's group begins
    result = np.empty(len(codes), np.int32)
    result[order] = np.arange(len(codes)) - first
    return result


class CodeEmbeddings(tf.keras.layers.Layer):
    """The sum of an embedding for each code of an item (Singh et al., 2024, "Better generalization with semantic IDs",
    arXiv:2306.08121).

    Args:
      num_levels: levels, without the last code.
      num_codes: K, codes of a level.
      hidden_dim: D.
      scale: initial standard deviation of the sum.

    Call arguments:
      codes: int32 [N, num_levels].

    Returns:
      float32 [N, D].
    """

    def __init__(self, num_levels: int, num_codes: int, hidden_dim: int, scale: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.options: Mapping[str, Any] = {
            "num_levels": num_levels,
            "num_codes": num_codes,
            "hidden_dim": hidden_dim,
            "scale": scale,
        }

    def build(self, input_shape: Any) -> None:
        levels, codes = self.options["num_levels"], self.options["num_codes"]
        self.table = self.add_weight(
            "table",
            [levels * codes, self.options["hidden_dim"]],
            initializer=tf.keras.initializers.RandomNormal(stddev=self.options["scale"] * levels**-0.5),
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        levels, num_codes = self.options["num_levels"], self.options["num_codes"]
        return tf.reduce_sum(tf.gather(self.table, codes + num_codes * tf.range(levels)), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}
