"""The catalogue's encodings, kept between steps: variables, their statistics, and the overlay of what a step encodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from towers.replicas import of_all_replicas

Variables = dict[str, tf.Variable]


def cache_variables(num_items: int | None, dims: Mapping[str, int]) -> tuple[Variables, Variables, Variables]:
    """Make the variables of the cache. Training does not change them; checkpoints keep them.

    Args:
      num_items: N; None: encodings lie elsewhere, and there are variables of their statistics only.
      dims: modality -> d_m.

    Returns:
      encodings, name -> float32 [N, d_m], and their mean and standard deviation, name -> [d_m].
    """
    cache = {}
    if num_items is not None:
        cache = {name: _state(tf.zeros([num_items, dim]), f"cache_{name}") for name, dim in dims.items()}
    center = {name: _state(tf.zeros([dim]), f"center_{name}") for name, dim in dims.items()}
    spread = {name: _state(tf.ones([dim]), f"spread_{name}") for name, dim in dims.items()}
    return cache, center, spread


def _state(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)


def fill(
    cache: Mapping[str, tf.Variable],
    center: Variables,
    spread: Variables,
    encodings: Mapping[str, np.ndarray],
    presence: np.ndarray,
) -> None:
    """Put the encodings of the whole catalogue and their statistics into the variables.

    An untrained network encodes all items nearly alike, and only what differs is of use. So the item tower gets
    encodings standardised over the catalogue: batch normalisation (Ioffe and Szegedy, 2015,
    arXiv:1502.03167) whose statistics are those of all items rather than of a batch.

    Args:
      cache: name -> variable [N, d_m].
      center: name -> variable [d_m], the mean.
      spread: name -> variable [d_m], the standard deviation.
      encodings: name -> float32 [N, d_m].
      presence: bool [N, M], its columns in the order of `encodings`; what is absent does not count in the statistics.
    """
    for column, (name, encoding) in enumerate(encodings.items()):
        cache[name].assign(encoding)
        present = encoding[presence[:, column]]
        if len(present) > 1:
            center[name].assign(present.mean(axis=0))
            spread[name].assign(present.std(axis=0) + 1e-4)


def standardize(encoding: tf.Tensor, center: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """Standardise encodings [R, d_m] by the catalogue's mean and deviation, clipped at five deviations."""
    return tf.clip_by_value((encoding - center) / spread, -5.0, 5.0)


def with_fresh(
    encodings: Mapping[str, tf.Tensor], fresh: Mapping[str, tf.Tensor], index: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The encodings of a step's candidates with those that it encodes anew, on all replicas, in their rows.

    Args:
      encodings: name -> [U, d_m].
      fresh: name -> [R, d_m], this replica's; gradients flow through these alone.
      index: int32 [R], which rows they are, -1 = padding; the mean is taken of an item that comes twice.

    Returns:
      name -> float [U, d_m].
    """
    # Each replica encodes its share, every replica sees them all.
    index = of_all_replicas(index)
    result = {}
    for name, encoding in fresh.items():
        rows = tf.shape(encodings[name])[0]
        # Negative indices (padding) belong to no segment and drop out.
        count = tf.math.unsorted_segment_sum(tf.ones_like(index, tf.float32), index, rows)[:, None]
        total = tf.math.unsorted_segment_sum(of_all_replicas(encoding), index, rows)
        result[name] = tf.where(count > 0, tf.math.divide_no_nan(total, count), encodings[name])
    return result
