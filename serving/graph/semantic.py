"""Search by meaning inside the graph: cosines of a query with the sentences of the items, in a pretrained encoder's space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf


class SemanticSearch(tf.Module):
    """Scores of text queries by the passage of each item that is closest to them (MaxSim over passages).

    Args:
      encode: strings [B] -> unit vectors float [B, d].
      vectors: float [P, d], unit vectors of the passages.
      owners: int [P], the item of each, ascending.
      num_items: N.
      weight: of a cosine beside the other scores.
    """

    def __init__(
        self,
        encode: Callable[[tf.Tensor], tf.Tensor],
        vectors: np.ndarray,
        owners: np.ndarray,
        num_items: int,
        weight: float,
    ):
        super().__init__()
        self.encode, self.num_items, self.weight = encode, num_items, weight
        self.vectors = tf.Variable(vectors, trainable=False, name="passages", dtype=tf.float32)
        self.owners = tf.Variable(owners, trainable=False, name="passage_owners", dtype=tf.int32)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Weighted largest cosines: string [B] -> float [B, N]; 0 where it is negative, of items without a passage, and for a
        blank query."""
        wanted = tf.strings.strip(queries) != ""

        def found() -> tf.Tensor:
            cosines = tf.matmul(tf.convert_to_tensor(self.vectors), self.encode(queries), transpose_b=True)
            best = tf.math.unsorted_segment_max(cosines, tf.convert_to_tensor(self.owners), self.num_items)
            return tf.where(wanted[:, None], self.weight * tf.nn.relu(tf.transpose(best)), 0.0)

        # Most requests to recommend have no text, and an encoder costs as much as all the rest.
        return tf.cond(tf.reduce_any(wanted), found, lambda: tf.zeros([tf.shape(queries)[0], self.num_items]))
