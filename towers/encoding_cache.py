"""The catalogue's encodings, kept between steps: variables, their statistics, and the overlay of what a step encodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

Variables = dict[str, tf.Variable]


def cache_variables(num_items: int, dims: Mapping[str, int]) -> tuple[Variables, Variables, Variables]:
    """For each modality, name -> d_m: encodings float32 [N, d_m], and their mean and deviation [d_m].

    Training does not move them; checkpoints keep them.
    """
    cache = {name: _state(tf.zeros([num_items, dim]), f"cache_{name}") for name, dim in dims.items()}
    center = {name: _state(tf.zeros([dim]), f"center_{name}") for name, dim in dims.items()}
    spread = {name: _state(tf.ones([dim]), f"spread_{name}") for name, dim in dims.items()}
    return cache, center, spread


def _state(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)


def fill(
    cache: Variables,
    center: Variables,
    spread: Variables,
    encodings: Mapping[str, np.ndarray],
    presence: np.ndarray,
) -> None:
    """Puts the encodings of the whole catalogue, name -> [N, d_m], and their statistics into the variables.

    An untrained network says nearly the same of every item; what differs is what tells items apart. So the item
    tower sees encodings standardised over the catalogue: batch normalisation (Ioffe and Szegedy, 2015,
    arXiv:1502.03167) whose statistics are those of all items rather than of a batch.

    Args:
      presence: bool [N, M], its columns in the order of `encodings`; what is absent does not count in the statistics.
    """
    for column, (name, encoding) in enumerate(encodings.items()):
        cache[name].assign(encoding)
        present = encoding[presence[:, column]]
        if len(present) > 1:
            center[name].assign(present.mean(axis=0))
            spread[name].assign(present.std(axis=0) + 1e-4)


def standardize(encoding: tf.Tensor, center: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """Encodings [R, d_m] by the catalogue's mean and deviation. Beyond five deviations an encoding says no more."""
    return tf.clip_by_value((encoding - center) / spread, -5.0, 5.0)


def with_fresh(
    cache: Mapping[str, tf.Variable], fresh: Mapping[str, tf.Tensor], index: tf.Tensor, num_items: int
) -> dict[str, tf.Tensor]:
    """The cache, name -> [N, d_m], with the items that a step encodes anew on all replicas in their places.

    Args:
      fresh: name -> [R, d_m], this replica's; gradients flow through these alone.
      index: int32 [R], which items they are, -1 = padding; of one that comes twice the mean is taken.
    """
    replica = tf.distribute.get_replica_context()
    # Each replica encodes its share, every replica sees them all.
    index = replica.all_gather(index, axis=0)
    # Negative indices (padding) belong to no segment and drop out.
    count = tf.math.unsorted_segment_sum(tf.ones_like(index, tf.float32), index, num_items)[:, None]
    result = {}
    for name, encoding in fresh.items():
        total = tf.math.unsorted_segment_sum(replica.all_gather(encoding, axis=0), index, num_items)
        result[name] = tf.where(count > 0, tf.math.divide_no_nan(total, count), cache[name])
    return result
