"""Generative retrieval: a decoder from a query to the codes of an item, one after the other, and its beam search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class CodeDecoder(tf.keras.layers.Layer):
    """Logits of the next code of an item, given a query and the codes before.

    Generative retrieval as in TIGER (Rajput et al., 2023, arXiv:2305.05065): the codes of an item are what a model says
    instead of what it is found by. TIGER's decoder attends to the history; here the query embedding stands for it, and a
    perceptron takes that with the sum of the embeddings of the codes so far.

    Args:
      num_levels: T, levels with the last code.
      num_codes: K, codes of a level.
      hidden_dim: D.

    Call arguments:
      query_embeddings: float [P, D].
      codes: int32 [P, T], what is predicted; each level is told those before it.

    Returns:
      float32 [P, T, K].
    """

    def __init__(self, num_levels: int, num_codes: int, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = {"num_levels": num_levels, "num_codes": num_codes, "hidden_dim": hidden_dim}
        self.num_levels, self.num_codes, self.hidden_dim = num_levels, num_codes, hidden_dim
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = tf.keras.layers.Dense(2 * hidden_dim, activation="gelu")
        self.out = tf.keras.layers.Dense(hidden_dim)
        self.final_norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)

    def build(self, input_shape: Any) -> None:
        levels, codes, dim = self.num_levels, self.num_codes, self.hidden_dim
        self.table = self.add_weight(
            "table", [levels * codes, dim], initializer=tf.keras.initializers.RandomNormal(stddev=0.1)
        )
        self.positions = self.add_weight("positions", [levels, dim], initializer="zeros")
        self.kernel = self.add_weight("kernel", [levels, dim, codes], initializer="glorot_uniform")
        self.bias = self.add_weight("bias", [levels, codes], initializer="zeros")
        super().build(input_shape)

    def call(self, query_embeddings: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        known = tf.minimum(codes, self.num_codes - 1) + self.num_codes * tf.range(self.num_levels)
        before = tf.cumsum(tf.gather(self.table, known), axis=1, exclusive=True)
        states = self._states(query_embeddings[:, None] + before + self.positions)
        return tf.einsum("ptd,tdk->ptk", states, self.kernel) + self.bias

    def surprisal(self, query_embeddings: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """-log p of all codes of the items, float32 [P]. Last codes beyond K, which cannot be said, do not count."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.minimum(codes, self.num_codes - 1), self(query_embeddings, codes)
        )
        return tf.reduce_sum(tf.where(codes < self.num_codes, losses, 0.0), axis=1)

    def step(self, query_embeddings: tf.Tensor, prefix: tf.Tensor, level: int) -> tf.Tensor:
        """Logits float32 [B, W, K] of a level for queries [B, D] and W prefixes, embedded as float [B, W, D]."""
        states = self._states(query_embeddings[:, None] + prefix + self.positions[level])
        return tf.einsum("bwd,dk->bwk", states, self.kernel[level]) + self.bias[level]

    def extended(self, prefix: tf.Tensor, codes: tf.Tensor, level: int) -> tf.Tensor:
        """Prefixes float [B, W, D] with the codes int32 [B, W] of a level behind them."""
        return prefix + tf.gather(self.table, codes + self.num_codes * level)

    def _states(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.final_norm(inputs + self.out(self.hidden(self.norm(inputs))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


class CodeTree(NamedTuple):
    """The codes of a catalogue as a prefix tree: nothing else can be said. Children of a node lie side by side.

    Attributes:
      starts: of each level l int32 [nodes of l + 1], the first child of each node, and the number of all.
      codes: of each level l int32 [nodes of l + 1], the code by which each child is reached.
      items: int32 [leaves], the item of each node of the deepest level.
    """

    starts: list[np.ndarray]
    codes: list[np.ndarray]
    items: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, num_codes: int) -> CodeTree:
        """Build the tree of codes int [N, T], all different. Items with a last code of `num_codes` or more are left out."""
        rows = np.flatnonzero(codes[:, -1] < num_codes)
        rows = rows[np.lexsort(codes[rows].T[::-1])]
        ordered = codes[rows]
        starts, of_level = [], []
        parent = np.zeros(len(rows), np.int64)  # node of each item, level by level
        for level in range(codes.shape[1]):
            begins = np.ones(len(rows), bool)
            begins[1:] = (parent[1:] != parent[:-1]) | (ordered[1:, level] != ordered[:-1, level])
            children = np.flatnonzero(begins)
            starts.append(np.searchsorted(parent[children], np.arange(parent[-1] + 2)).astype(np.int32))
            of_level.append(ordered[children, level].astype(np.int32))
            parent = np.cumsum(begins) - 1
        return cls(starts, of_level, rows.astype(np.int32))


class BeamSearch(tf.Module):
    """Finds the items whose codes a decoder gives the highest probability, over the codes of a catalogue alone.

    At each level the `width` most probable prefixes go on. With as many as there are prefixes it is exact.

    Args:
      decoder: built.
      tree: of the codes of the items.
      width: prefixes that are kept.
    """

    def __init__(self, decoder: CodeDecoder, tree: CodeTree, width: int):
        super().__init__()
        self.decoder, self.width = decoder, width
        self.most_children = [int(np.diff(starts).max()) for starts in tree.starts]
        self.starts = [tf.Variable(value, trainable=False, name="starts") for value in tree.starts]
        self.codes = [tf.Variable(value, trainable=False, name="codes") for value in tree.codes]
        self.items = tf.Variable(tree.items, trainable=False, name="items")

    def __call__(self, query_embeddings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Search for queries float [B, D].

        Returns:
          items int32 [B, W], best first, -1 where there are fewer, and their log-probabilities float32 [B, W], -inf there.
        """
        batch = tf.shape(query_embeddings)[0]
        node, score = tf.zeros([batch, 1], tf.int32), tf.zeros([batch, 1])
        prefix = tf.zeros([batch, 1, self.decoder.hidden_dim])
        beams = 1
        for level, most in enumerate(self.most_children):
            logits = tf.nn.log_softmax(self.decoder.step(query_embeddings, prefix, level))
            starts, at = tf.convert_to_tensor(self.starts[level]), tf.maximum(node, 0)
            first = tf.gather(starts, at)
            count = tf.where(node >= 0, tf.gather(starts, at + 1) - first, 0)
            slot = tf.range(most)
            there = slot < count[..., None]
            child = tf.where(there, first[..., None] + slot, 0)
            code = tf.gather(self.codes[level], child)
            total = tf.where(there, score[..., None] + tf.gather(logits, code, batch_dims=2), -np.inf)
            flat = [batch, beams * most]
            beams_after = min(self.width, beams * most)
            score, place = tf.math.top_k(tf.reshape(total, flat), beams_after)
            code = tf.gather(tf.reshape(code, flat), place, batch_dims=1)
            node = tf.gather(tf.reshape(child, flat), place, batch_dims=1)
            node = tf.where(tf.math.is_finite(score), node, -1)
            prefix = self.decoder.extended(tf.gather(prefix, place // most, batch_dims=1), code, level)
            beams = beams_after
        return tf.where(node >= 0, tf.gather(self.items, tf.maximum(node, 0)), -1), score
