"""The hybrid score: the two towers' scores and those of an item-item model, added with weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfrecs.schema import History

TOWER, NEIGHBOURS, RECENT, SUCCESSORS, POPULARITY = "tower", "neighbours", "recent", "successors", "popularity"
WALK = "walk"
BIAS = "bias"  # of cold items alone
SPARSE_FROM = 2  # items for each link of a history; measured by `benchmarks.scale.item_item`


class HybridScore(tf.Module):
    """Weighted sum of scores of different origin (a "weighted hybrid": Burke, 2002, "Hybrid recommender systems").

    score(q, i) = w_tower s(q, i) + w_n f_n(sum_j n(j, i)) + w_r f_n(sum_j' n(j', i))
                  + w_s f_s(sum_j" t(j", i) / rank(j")) + w_k f_k(sum_j k(j, i)) + w_p log(1 + count(i)) + b,
    f(x) = asinh(x / softness)

    where j, j' and j" run over the different items of the history's newest events (rank 1 is the newest), each over another
    number of events; n are the weights of a linear item-item model (EASE), t says how often i came soon after j", and k how
    often a random walk from j ends at i. For cold items, those without a training event, n, t, k and the count are
    predicted from content; they may have weights of
    their own, and only they have a bias. The sum is the logit of a softmax, so the weights can be fitted by maximum
    likelihood on held-out requests. A logit grows with the logarithm of a count, as f does for large |x|.

    Args:
      links: `NEIGHBOURS`, `WALK`, and `SUCCESSORS` where events have an order -> int32 positions [N, K] of the items that
        each item speaks for, and float32 values [N, K].
      last: part -> how many of the newest events of a history it takes; `RECENT` is `NEIGHBOURS` over fewer.
      popularity: float32 [N], log(1 + training events).
      is_cold: bool [N].
      weights: part -> weight; a part without one is left out.
      cold_weights: the same for cold items, and `BIAS`.
      softness: name of the links -> where f bends; without one f(x) = x.
    """

    def __init__(
        self,
        links: Mapping[str, tuple[np.ndarray, np.ndarray]],
        last: Mapping[str, int],
        popularity: np.ndarray,
        is_cold: np.ndarray,
        weights: Mapping[str, float],
        cold_weights: Mapping[str, float],
        softness: Mapping[str, float],
    ):
        super().__init__()
        self.softness = dict(softness)
        # A catalogue without cold items needs no weights for them, and no operations.
        some_cold = bool(is_cold.any())
        self.weights = {
            name: (float(weights.get(name, 0.0)), float(cold_weights.get(name, 0.0) if some_cold else 0.0))
            for name in (TOWER, NEIGHBOURS, RECENT, SUCCESSORS, WALK, POPULARITY)
            if weights.get(name) or (some_cold and cold_weights.get(name))
        }
        self.bias = float(cold_weights.get(BIAS, 0.0))
        self.last = dict(last)
        self.first, self.num_items = 0, len(popularity)
        self.popularity = _untrained(popularity, "item_popularity")
        self.is_cold = _untrained(is_cold.astype(np.float32), "item_is_new")
        used = {links_of(name) for name in self.weights}
        self.links = {
            name: (_untrained(index, f"{name}_index"), _untrained(value, f"{name}_value"))
            for name, (index, value) in links.items()
            if name in used
        }

    def exploring(self, bias: float) -> HybridScore:
        """Return the same score with `bias` added to that of cold items; the two share their arrays."""
        result = copy.copy(self)
        result.bias = self.bias + bias
        return result

    def of_items(self, first: int, count: int) -> HybridScore:
        """Return the same score of `count` items from position `first` on; histories hold items of the whole catalogue."""
        result = copy.copy(self)
        result.first, result.num_items = self.first + first, count
        result.popularity, result.is_cold = (part[first : first + count] for part in (self.popularity, self.is_cold))
        return result

    def _links_from(self, name: str, index: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The links from the newest items of each history: int32 item that each leads to, int64 place of the item among
        [B * N] and float value, all of one length, at most B * last * K.
        """
        linked, value = self.links[links_of(name)]
        items, weight = newest_different(index, count, self.last[name])
        if name == SUCCESSORS:
            # The newest event says most about the next one.
            weight /= tf.maximum(tf.cumsum(weight, axis=1), 1.0)
        rows = tf.range(tf.shape(index)[0], dtype=tf.int64)[:, None, None] * self.num_items
        leads_to = tf.gather(linked, items)
        values = tf.gather(value, items) * weight[:, :, None]
        if self.num_items < linked.shape[0]:  # some of the items: links to others do not count
            leads_to -= self.first
            inside = (leads_to >= 0) & (leads_to < self.num_items)
            rows = tf.boolean_mask(tf.broadcast_to(rows, tf.shape(leads_to)), inside)
            leads_to, values = tf.boolean_mask(leads_to, inside), tf.boolean_mask(values, inside)
        places = rows + tf.cast(leads_to, tf.int64)
        return tf.reshape(leads_to, [-1]), tf.reshape(places, [-1]), tf.reshape(values, [-1])

    def _sums(self, index: tf.Tensor, places: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """The values of each place added up, float [B * N]."""
        return tf.math.unsorted_segment_sum(values, places, tf.shape(index, tf.int64)[0] * self.num_items)

    def part(self, name: str, index: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Compute one part of the score without its weight; any part but `TOWER`.

        Args:
          name: of the part.
          index, count: see `__call__`.

        Returns:
          float [B, N]; [1, N] where it is the same for all histories.
        """
        if name == POPULARITY:
            return tf.convert_to_tensor(self.popularity)[None, :]
        sums = self._sums(index, *self._links_from(name, index, count)[1:])
        return soft(tf.reshape(sums, [-1, self.num_items]), self.softness.get(links_of(name)))

    def _add_linked(
        self, total: tf.Tensor, name: str, index: tf.Tensor, count: tf.Tensor, warm: float, cold: float
    ) -> tf.Tensor:
        """Add a part of links to float [B, N]; of all items it only fills and copies, what is computed is of linked ones.

        Two links that lead to one item write the same number twice.
        """
        leads_to, places, values = self._links_from(name, index, count)
        sums = tf.gather(self._sums(index, places, values), places)
        weight = warm if warm == cold else warm + (cold - warm) * tf.gather(self.is_cold, leads_to)
        flat = tf.reshape(total, [-1])
        added = tf.gather(flat, places) + soft(sums, self.softness.get(links_of(name))) * weight
        return tf.reshape(tf.tensor_scatter_nd_update(flat, places[:, None], added), tf.shape(total))

    def _is_sparse(self, name: str) -> bool:
        """Whether the links of a history lead to so few of the items that it is faster not to touch the others."""
        if name in (TOWER, POPULARITY):
            return False
        return self.num_items > SPARSE_FROM * self.last[name] * self.links[links_of(name)][0].shape[1]

    def __call__(self, scores: tf.Tensor, index: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Add the parts.

        Args:
          scores: float [B, N], the towers' logits.
          index: int32 [B, L], events from the left, oldest first, anything behind them.
          count: int32 [B], number of events.

        Returns:
          float [B, N].
        """
        total = tf.zeros_like(scores)
        for name, (weight, cold_weight) in self.weights.items():
            if self._is_sparse(name):
                total = self._add_linked(total, name, index, count, weight, cold_weight)
                continue
            part = scores if name == TOWER else self.part(name, index, count)
            total += part * self._by_item(weight, cold_weight)
        return total + self._by_item(0.0, self.bias)

    def tower_weights(self, index: tf.Tensor) -> tf.Tensor:
        """What the towers' scores of items are multiplied by: int32 [...] -> float [...]."""
        warm, cold = self.weights.get(TOWER, (0.0, 0.0))
        return warm + (cold - warm) * tf.gather(self.is_cold, index)

    def _by_item(self, warm: float, cold: float) -> tf.Tensor | float:
        """`warm` or `cold` for each item, float [N]; one number where they are the same."""
        return warm if warm == cold else warm + (cold - warm) * self.is_cold


def soft(values: tf.Tensor, softness: float | None) -> tf.Tensor:
    """Return asinh(values / softness); the values themselves where there is no softness."""
    return values if softness is None else tf.asinh(values / softness)


def links_of(name: str) -> str:
    """Return the name of the links that a part of the score sums up."""
    return NEIGHBOURS if name == RECENT else name


def chosen_events(history: History) -> History:
    """Take the events without a weight above 0 out of histories whose values are weights; the others move to the left."""
    inside = tf.range(tf.shape(history.item_index)[1])[None, :] < history.length[:, None]
    kept = inside & ~(history.values <= 0)  # an unknown value, NaN, stays
    order = tf.argsort(tf.cast(~kept, tf.int32), axis=1, stable=True)
    item_index, values, times = (tf.gather(part, order, batch_dims=1) for part in history[:3])
    return History(item_index, values, times, tf.reduce_sum(tf.cast(kept, tf.int32), axis=1))


def newest_different(index: tf.Tensor, count: tf.Tensor, last: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Select the items of the newest `last` events, newest first, each once.

    Args:
      index: int32 [B, L], events from the left, oldest first.
      count: int32 [B].

    Returns:
      items int32 [B, last], and float [B, last], 1 where an item is there for the first time and 0 elsewhere.
    """
    position = count[:, None] - 1 - tf.range(last)[None, :]
    items = tf.gather(index, tf.maximum(position, 0), batch_dims=1)
    same = (items[:, :, None] == items[:, None, :]) & (position >= 0)[:, None, :]
    newer = tf.linalg.band_part(tf.ones([last, last]), -1, 0) - tf.eye(last) > 0
    again = tf.reduce_any(same & newer[None], axis=2)
    return items, tf.cast((position >= 0) & ~again, tf.float32)


def _untrained(value: np.ndarray, name: str) -> tf.Variable:
    """A variable: a constant of this size would make the graph too large to save."""
    return tf.Variable(value, trainable=False, name=name)
