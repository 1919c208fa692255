"""Whether pretraining learned: on held-out items, each number beside what one gets without learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
import tensorflow as tf

DEPTHS = (1, 10)


def masked_accuracy(logits: tf.Tensor, asked: Mapping[str, tf.Tensor]) -> dict[str, float]:
    """Share of masked tokens that are guessed right, and their mean cross-entropy in nats.

    Args:
      logits: float [R, P, V].
      asked: `mask_ids` int [R, P] and `mask_weights` float [R, P], 0 where there is no question.
    """
    ids, weight = asked["mask_ids"], asked["mask_weights"]
    total = tf.maximum(tf.reduce_sum(weight), 1.0)
    right = tf.cast(tf.argmax(logits, axis=-1, output_type=ids.dtype) == ids, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
    return {
        "valid_masked_accuracy": float(tf.reduce_sum(weight * right) / total),
        "valid_masked_loss": float(tf.reduce_sum(weight * entropy) / total),
    }


def constant_guess(asked: Mapping[str, tf.Tensor]) -> float:
    """Accuracy of the best single token for all masks: the most frequent one's share among them."""
    ids = np.asarray(asked["mask_ids"])[np.asarray(asked["mask_weights"]) > 0]
    return float(np.bincount(ids).max() / len(ids)) if len(ids) else 0.0


def retrieval(points: Mapping[str, np.ndarray], presence: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """How often an item's one modality finds its other among all items that have both.

    Args:
      points: name -> [R, D], of length 1.
      presence: bool [R, M], columns in the order of `names`.

    Returns:
      `valid_retrieval@k`: share of items among the first k, the mean over all ordered pairs of modalities;
      `valid_chance@k`: the same for a random order; {} where no two items share two modalities. Ties count against.
    """
    found: dict[int, list[float]] = {k: [] for k in DEPTHS}
    chance: dict[int, list[float]] = {k: [] for k in DEPTHS}
    for asks, answers in permutations(names, 2):
        both = presence[:, names.index(asks)] & presence[:, names.index(answers)]
        if both.sum() < 2:
            continue
        scores = points[asks][both] @ points[answers][both].T
        place = (scores >= np.diag(scores)[:, None]).sum(axis=1)
        for k in DEPTHS:
            found[k].append(float((place <= k).mean()))
            chance[k].append(min(1.0, k / int(both.sum())))
    if not found[DEPTHS[0]]:
        return {}
    values = {f"valid_retrieval@{k}": float(np.mean(shares)) for k, shares in found.items()}
    return {**values, **{f"valid_chance@{k}": float(np.mean(shares)) for k, shares in chance.items()}}
