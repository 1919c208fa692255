"""Exact matching inside the graph: an inverted index in three tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Postings:
    """An inverted index (Zobel and Moffat, 2006, "Inverted files for text search engines") with precomputed impacts.

    Attributes:
      splits: int64 [V + 1]; the postings of term t are `splits[t]` to `splits[t + 1] - 1`.
      items: int32 [P], the item of each.
      impacts: float32 [P], what a query with the term gives it.
    """

    splits: np.ndarray
    items: np.ndarray
    impacts: np.ndarray


class LexicalSearch(tf.Module):
    """What the very words of a query say, beside what its encoding says.

    Args:
      terms: strings [B] -> row, term int64 [P], none twice in a query; plain TensorFlow ops.
      postings: over the items of the export.
      num_items: N.
      dense: what the encoders' score is worth beside the words'.
    """

    def __init__(
        self,
        terms: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
        postings: Postings,
        num_items: int,
        dense: float,
    ):
        super().__init__()
        self.terms, self.num_items, self.dense = terms, num_items, dense
        self.splits = tf.Variable(postings.splits, trainable=False, name="postings_splits", dtype=tf.int64)
        self.items = tf.Variable(postings.items, trainable=False, name="postings_items", dtype=tf.int32)
        self.impacts = tf.Variable(postings.impacts, trainable=False, name="postings_impacts", dtype=tf.float32)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Queries string [B] -> float [B, N], the sum of the impacts of their terms; zeros for a query without any.

        The work goes with the postings that are touched, not with the catalogue.
        """
        row, term = self.terms(queries)
        splits = tf.convert_to_tensor(self.splits)
        touched = tf.ragged.range(tf.gather(splits, term), tf.gather(splits, term + 1))
        position = touched.flat_values
        item = tf.cast(tf.gather(self.items, position), tf.int64)
        cell = tf.gather(row, touched.value_rowids()) * self.num_items + item
        count = tf.shape(queries, tf.int64)[0]
        total = tf.math.unsorted_segment_sum(tf.gather(self.impacts, position), cell, count * self.num_items)
        return tf.reshape(total, tf.stack([count, self.num_items]))
