"""Lexical search inside the graph: an inverted index in three tensors."""

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
      items: int32 [P], the item of each posting.
      impacts: float32 [P], the score that a query with the term adds to the item.
    """

    splits: np.ndarray
    items: np.ndarray
    impacts: np.ndarray


class LexicalSearch(tf.Module):
    """Lexical scores of text queries, beside the scores of their encodings.

    Args:
      terms: strings [B] -> row and term int64 [P], each term once per query; in plain TensorFlow ops.
      postings: the index over the items of the export.
      num_items: N.
      dense: weight of the encoders' score beside the lexical one.
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
        """Sum the impacts of the queries' terms: string [B] -> float [B, N], zeros for a query without a known term.

        The cost grows with the number of postings of the terms, not with the catalogue.
        """
        row, term = self.terms(queries)
        splits = tf.convert_to_tensor(self.splits)
        postings = tf.ragged.range(tf.gather(splits, term), tf.gather(splits, term + 1))
        position = postings.flat_values
        item = tf.cast(tf.gather(self.items, position), tf.int64)
        cell = tf.gather(row, postings.value_rowids()) * self.num_items + item
        count = tf.shape(queries, tf.int64)[0]
        total = tf.math.unsorted_segment_sum(tf.gather(self.impacts, position), cell, count * self.num_items)
        return tf.reshape(total, tf.stack([count, self.num_items]))
