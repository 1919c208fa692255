"""The hybrid score: the two towers, what the same users take, what follows what, and popularity, added with weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

TOWER, NEIGHBOURS, RECENT, SUCCESSORS, POPULARITY = "tower", "neighbours", "recent", "successors", "popularity"
BIAS = "bias"  # of new items alone


@dataclass(frozen=True)
class Links:
    """Of each item the items it speaks for.

    Attributes:
      index: int32 [N, K], their positions in the catalogue.
      value: float32 [N, K], how much (it may speak against one); 0 where there are fewer than K.
    """

    index: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Statistics:
    """What counting says of N items.

    Attributes:
      links: name of the part -> its links; `NEIGHBOURS`, and `SUCCESSORS` where events have an order.
      popularity: float32 [N], log of the number of training events.
      borrowed: bool [N], items that nothing was counted of and whose figures are those of items like them.
      last: name of the part -> how many of the newest events of a history count; `RECENT` is `NEIGHBOURS` of fewer.
    """

    links: Mapping[str, Links]
    popularity: np.ndarray
    borrowed: np.ndarray
    last: Mapping[str, int]

    def padded(self, rows: int) -> Statistics:
        """With items behind that nothing is known of, up to `rows`."""
        missing = rows - len(self.popularity)
        links = {
            name: Links(np.pad(one.index, [[0, missing], [0, 0]]), np.pad(one.value, [[0, missing], [0, 0]]))
            for name, one in self.links.items()
        }
        return Statistics(links, np.pad(self.popularity, [0, missing]), np.pad(self.borrowed, [0, missing]), self.last)


class HybridScore(tf.Module):
    """Weighted sum of scores of different origin (a "weighted hybrid": Burke, 2002, "Hybrid recommender systems").

    score(q, i) = w_tower s(q, i) + w_n f_n(sum_j n(j, i)) + w_r f_n(sum_j' n(j', i))
                  + w_s f_s(sum_j" t(j", i) / rank(j")) + w_p log count(i) + b,   f(x) = asinh(x / softness)

    where j, j' and j" run over the different items of the history's newest events (rank 1 is the newest), each over another
    number of events; n are the weights of a linear item-item model and t says how often i came soon after j". An item
    that nothing was counted of has borrowed figures, and may have weights of its own for them; only such an item has a
    bias. The sum is the logit of a softmax, so the weights can be learned by maximum likelihood on held-out requests;
    and what a count is to a chance its logarithm is to a logit, which f is for large x, on both sides of 0.

    Args:
      statistics: of the N items.
      weights: name of the part -> weight; a part without one is left out.
      new_weights: the same for items that nothing was counted of, and `BIAS`.
      softness: name of the links -> where f bends; without one f(x) = x.
    """

    def __init__(
        self,
        statistics: Statistics,
        weights: Mapping[str, float],
        new_weights: Mapping[str, float],
        softness: Mapping[str, float],
    ):
        super().__init__()
        self.softness = dict(softness)
        names = [TOWER, NEIGHBOURS, RECENT, SUCCESSORS, POPULARITY]
        # What has no new item needs no weights for one: it is asked about with the same operations as before.
        some_new = bool(statistics.borrowed.any())
        self.weights = {
            name: (float(weights.get(name, 0.0)), float(new_weights.get(name, 0.0) if some_new else 0.0))
            for name in names
            if weights.get(name) or (some_new and new_weights.get(name))
        }
        self.bias = float(new_weights.get(BIAS, 0.0))
        self.last = dict(statistics.last)
        self.num_items = len(statistics.popularity)
        self.popularity = _state(statistics.popularity, "item_popularity")
        self.borrowed = _state(statistics.borrowed.astype(np.float32), "item_is_new")
        used = {links_of(name) for name in self.weights}
        self.links = {
            name: (_state(links.index, f"{name}_index"), _state(links.value, f"{name}_value"))
            for name, links in statistics.links.items()
            if name in used
        }

    def exploring(self, more: float) -> HybridScore:
        """The same score with `more` added to the bias of new items; it shares the arrays."""
        result = copy.copy(self)
        result.bias = self.bias + more
        return result

    def linked(self, name: str, index: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Sum of what the newest items of each history say of every item, float [B, N]."""
        linked, value = self.links[links_of(name)]
        items, weight = newest_different(index, count, self.last[name])
        if name == SUCCESSORS:
            # The newest event says most about the next one.
            weight /= tf.maximum(tf.cumsum(weight, axis=1), 1.0)
        rows = tf.range(tf.shape(index)[0], dtype=tf.int64)[:, None, None] * self.num_items
        segment = rows + tf.cast(tf.gather(linked, items), tf.int64)
        values = tf.gather(value, items) * weight[:, :, None]
        total = tf.shape(index, tf.int64)[0] * self.num_items
        summed = tf.math.unsorted_segment_sum(tf.reshape(values, [-1]), tf.reshape(segment, [-1]), total)
        return tf.reshape(summed, [-1, self.num_items])

    def part(self, name: str, index: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """One part but the tower's without its weight, float [B, N], or [1, N] where histories do not matter."""
        if name == POPULARITY:
            return tf.convert_to_tensor(self.popularity)[None, :]
        return soft(self.linked(name, index, count), self.softness.get(links_of(name)))

    def __call__(self, scores: tf.Tensor, index: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """
        Args:
          scores: float [B, N], the towers' logits.
          index: int32 [B, L], events from the left, oldest first, anything behind them.
          count: int32 [B], number of events.

        Returns:
          float [B, N].
        """
        total = tf.zeros_like(scores)
        for name, (weight, new_weight) in self.weights.items():
            part = scores if name == TOWER else self.part(name, index, count)
            total += part * self._each(weight, new_weight)
        return total + self._each(0.0, self.bias)

    def _each(self, known: float, new: float) -> tf.Tensor | float:
        """`known` or `new` for each item, float [N]; one number where they are the same."""
        return known if known == new else known + (new - known) * self.borrowed


def soft(values: tf.Tensor, softness: float | None) -> tf.Tensor:
    """asinh(values / softness); the values themselves where there is none."""
    return values if softness is None else tf.asinh(values / softness)


def links_of(name: str) -> str:
    """The links that a part sums up."""
    return NEIGHBOURS if name == RECENT else name


def newest_different(index: tf.Tensor, count: tf.Tensor, last: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The items of the newest `last` events, newest first, each once.

    Args:
      index: int32 [B, L], events from the left, oldest first.
      count: int32 [B].

    Returns:
      items int32 [B, last], and float [B, last], 1 where an item stands for the first time and 0 elsewhere.
    """
    position = count[:, None] - 1 - tf.range(last)[None, :]
    items = tf.gather(index, tf.maximum(position, 0), batch_dims=1)
    same = (items[:, :, None] == items[:, None, :]) & (position >= 0)[:, None, :]
    newer = tf.linalg.band_part(tf.ones([last, last]), -1, 0) - tf.eye(last) > 0
    again = tf.reduce_any(same & newer[None], axis=2)
    return items, tf.cast((position >= 0) & ~again, tf.float32)


def _state(value: np.ndarray, name: str) -> tf.Variable:
    """A variable: a constant of this size would make the graph too large to save."""
    return tf.Variable(value, trainable=False, name=name)
