"""Exact matching inside the graph: an inverted index in three tensors."""

from __future__ import annotations

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


class InvertedIndex(tf.Module):
    """Args:
    postings: over the items of the export.
    num_items: N.
    """

    def __init__(self, postings: Postings, num_items: int):
        super().__init__()
        self.num_items = num_items
        self.splits = tf.Variable(postings.splits, trainable=False, name="postings_splits", dtype=tf.int64)
        self.items = tf.Variable(postings.items, trainable=False, name="postings_items", dtype=tf.int32)
        self.impacts = tf.Variable(postings.impacts, trainable=False, name="postings_impacts", dtype=tf.float32)

    def scores(self, row: tf.Tensor, term: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """Sum of the impacts of each query's terms. The work goes with the postings that are touched.

        Args:
          row, term: int64 [P], the queries' terms, none twice in a query.
          queries: int [], their number B.

        Returns:
          float [B, N].
        """
        splits = tf.convert_to_tensor(self.splits)
        found = tf.ragged.range(tf.gather(splits, term), tf.gather(splits, term + 1))
        position = found.flat_values
        items = tf.cast(queries, tf.int64), tf.constant(self.num_items, tf.int64)
        cell = tf.gather(row, found.value_rowids()) * items[1] + tf.cast(tf.gather(self.items, position), tf.int64)
        total = tf.math.unsorted_segment_sum(tf.gather(self.impacts, position), cell, items[0] * items[1])
        return tf.reshape(total, tf.stack([items[0], items[1]]))
