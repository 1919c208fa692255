"""The signatures of the exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph import contract
from serving.graph.categories import allow, category_bits, wanted_bits
from serving.graph.contract import RecommenderModel
from serving.graph.lexical import LexicalSearch
from serving.graph.selection import because, diverse_top_k, exclude, newest_events, unit
from serving.graph.top_k import LOWEST, inner_products, padded_table, top_k
from tfrecs.schema import History

# Inputs of a request with a value for each event.
_EVENTS = frozenset({"history_ids", "history_values", "history_times"})


class ServingModule(tf.Module):
    """A model with its index, as one object that can be saved.

    Args:
      model: the model; its `blend` gives as many columns as `padded_table(table)` has rows.
      ids: item ids [N].
      table: float [N, D], item embeddings.
      weights: float [N, M], modality weights of the items.
      categories: for each item the categories that filters know.
      pool: candidates that diversity chooses among, as a multiple of k.
      max_k: the largest k that is answered: answers are k wide whatever there is to find, and what a client asks for
        must not be what the server's memory ends on.
      lexical: exact matching of text queries, over as many columns; None: their encodings alone.
    """

    def __init__(
        self,
        model: RecommenderModel,
        ids: Sequence[str],
        table: np.ndarray,
        weights: np.ndarray,
        categories: Sequence[Sequence[str]],
        pool: int,
        max_k: int,
        lexical: LexicalSearch | None = None,
    ):
        super().__init__()
        self.model = model
        self.trackables = list(model.trackables)
        self.pool, self.max_k = pool, max_k
        self.lexical = lexical
        self.num_items = len(ids)
        # One more row for "none": results that are missing read "" and zeros from it.
        self.ids = tf.constant([*ids, ""], tf.string)
        # The one large thing here, held once; what else the signatures need of it, they make of the rows they look at.
        padded = padded_table(table)
        self.table = tf.Variable(padded, trainable=False, name="item_embeddings")
        self.padding = tf.range(len(table), len(padded))
        norms = np.linalg.norm(padded, axis=1)
        self.scale = tf.Variable(1 / np.maximum(norms, 1e-12), trainable=False, dtype=tf.float32, name="inverse_norms")
        self.weights = tf.Variable(
            np.concatenate([weights, np.zeros([1, weights.shape[1]], np.float32)]),
            trainable=False,
            name="modality_weights",
        )
        self.item_table = _lookup(ids)
        values = sorted({value for row in categories for value in row})
        self.category_table = _lookup(values)
        column = {value: position for position, value in enumerate(values)}
        columns = [[column[value] for value in row] for row in categories]
        # No item is in any category behind the last one; the padding is in none at all.
        columns += [[]] * (len(padded) - len(table))
        self.category_bits = tf.Variable(category_bits(columns, len(values)), trainable=False, name="category_bits")

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Signature name -> concrete function; `search` only where the model takes text."""
        extra = self.model.extra_specs()
        request = contract.request_specs()
        k = tf.TensorSpec([], tf.int32, "k")
        specs: dict[str, tuple[Callable[..., dict[str, tf.Tensor]], dict[str, tf.TensorSpec]]] = {
            contract.RECOMMEND: (self.recommend, {**request, **extra, "k": k}),
            contract.RANK: (
                self.rank,
                {**request, **extra, "candidate_ids": tf.TensorSpec([None, None], tf.string, "candidate_ids")},
            ),
            contract.SIMILAR: (self.similar, {"item_ids": tf.TensorSpec([None], tf.string, "item_ids"), "k": k}),
        }
        if self.model.raw_specs():
            specs[contract.EMBED_ITEMS] = (self.embed_items, self.model.raw_specs())
        if self.model.has_text:
            specs[contract.SEARCH] = (self.search, {"query": tf.TensorSpec([None], tf.string, "query"), "k": k})
        result = {}
        for name, (function, inputs) in specs.items():
            named = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in inputs.items()}
            result[name] = tf.function(function).get_concrete_function(**named)
        result[contract.DEFAULT] = result[contract.RECOMMEND]
        return result

    def recommend(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k best items for each request."""
        k = self._valid_k(inputs["k"])
        inputs, index, states, history = self._query(inputs)
        scores = self._filter(self._scores(states, history, inputs["query"]), inputs["categories"])
        scores = self._exclude(scores, tf.concat([index, self.item_table.lookup(inputs["exclude_ids"])], axis=1))
        diversity = inputs["diversity"]
        best, found = tf.cond(
            tf.reduce_any(diversity > 0),
            lambda: diverse_top_k(scores, self.table, diversity, k, self.pool),
            lambda: top_k(scores, k),
        )
        return {
            "ids": self._ids(found),
            "scores": best,
            **self._labels(states, found),
            "modality_weights": tf.gather(self.weights, self._or_none(found)),
            "because_ids": self._ids(because(found, history.item_index, history.length, self.table)),
        }

    def rank(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores and labels of given candidates, whatever else is asked for: none is filtered or left out."""
        inputs = _checked(inputs, "candidate_ids")
        inputs, _, states, history = self._query(inputs)
        candidates = self.item_table.lookup(inputs["candidate_ids"])
        scores = self._scores(states, history, inputs["query"])
        picked = tf.gather(scores, tf.maximum(candidates, 0), batch_dims=1)
        return {"scores": tf.where(candidates >= 0, picked, LOWEST), **self._labels(states, candidates)}

    def search(self, query: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The items that a text asks for; an empty text finds nothing."""
        scores = self.model.scores(self.model.search(query), self.table)
        if self.lexical is not None:
            scores = self.lexical.dense * scores + self.lexical.scores(query)
        scores = tf.where((tf.strings.strip(query) != "")[:, None], scores, LOWEST)
        best, found = top_k(self._exclude(scores, None), self._valid_k(k))
        return {"ids": self._ids(found), "scores": best}

    def similar(self, item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The items nearest to an item, by the cosine of their embeddings; an unknown item has none."""
        index = self.item_table.lookup(item_ids)
        there = unit(tf.gather(self.table, tf.maximum(index, 0)))
        scores = inner_products(there, tf.convert_to_tensor(self.table)) * self.scale
        scores = tf.where((index >= 0)[:, None], scores, LOWEST)
        best, found = top_k(self._exclude(scores, index[:, None]), self._valid_k(k))
        return {"ids": self._ids(found), "scores": best}

    def embed_items(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeddings of items by their raw content. Content that is of no use is refused, by input and row."""
        first = next(iter(raw))
        for name in raw:
            raw = {**raw, name: _same("number of items in", (name, raw[name]), (first, raw[first]), 1)}
        embedding, weights, unusable = self.model.embed(raw)
        usable = [_usable(name, unusable[:, column]) for column, name in enumerate(self.model.raw_specs())]
        with tf.control_dependencies(usable):
            return {"embedding": tf.identity(embedding), "modality_weights": tf.identity(weights)}

    # --- parts -----------------------------------------------------------------------------------------------------

    def _query(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor, History]:
        """-> the inputs, checked; all history items int32 [B, L'], states [B, D], the newest events."""
        request = set(contract.request_specs()) - _EVENTS
        inputs = _checked(inputs, *sorted(request), *self.model.extra_specs())
        inputs["diversity"] = _in_unit_interval(inputs["diversity"])
        for name in sorted(_EVENTS - {"history_ids"}):
            events = _same("shape of", (name, inputs[name]), ("history_ids", inputs["history_ids"]), 2)
            inputs = {**inputs, name: events}
        index = self.item_table.lookup(inputs["history_ids"])
        history = newest_events(index, inputs["history_values"], inputs["history_times"], self.model.history)
        extra = {name: inputs[name] for name in self.model.extra_specs()}
        states = self.model.request(tf.convert_to_tensor(self.table), history, inputs["now"], inputs["query"], extra)
        return inputs, index, states, history

    def _scores(self, states: tf.Tensor, history: History, query: tf.Tensor) -> tf.Tensor:
        """[B, N]. The logits of what the user takes and of what the words ask for add up, as those of independent
        evidence do; without a query there is none of the latter."""
        scores = self.model.blend(self.model.scores(states, self.table), history)
        return scores if self.lexical is None else scores + self.lexical.scores(query)

    def _filter(self, scores: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
        wanted = tf.reduce_any(categories != "", axis=1)

        def filtered() -> tf.Tensor:
            bits = tf.convert_to_tensor(self.category_bits)
            # An unknown category is index -1, which nothing is in.
            return allow(scores, wanted_bits(self.category_table.lookup(categories), bits.shape[0]), bits, wanted)

        return tf.cond(tf.reduce_any(wanted), filtered, lambda: scores)

    def _exclude(self, scores: tf.Tensor, index: tf.Tensor | None) -> tf.Tensor:
        """Without the items of `index` int32 [B, E], and without what only fills the table up."""
        if len(self.padding):
            rows = tf.tile(self.padding[None, :], [tf.shape(scores)[0], 1])
            index = rows if index is None else tf.concat([index, rows], axis=1)
        return scores if index is None else exclude(scores, index)

    def _labels(self, states: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        items = tf.gather(self.table, tf.maximum(index, 0))
        states = tf.tile(states[:, None], [1, tf.shape(index)[1], 1])
        labels = self.model.labels(states, items)
        return {name: tf.where(index >= 0, value, float("nan")) for name, value in labels.items()}

    def _valid_k(self, k: tf.Tensor) -> tf.Tensor:
        message = f"k must be between 1 and {self.max_k}"
        with tf.control_dependencies([tf.debugging.Assert((k >= 1) & (k <= self.max_k), [message, k])]):
            return tf.identity(k)

    def _or_none(self, index: tf.Tensor) -> tf.Tensor:
        return tf.where(index >= 0, index, self.num_items)

    def _ids(self, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.ids, self._or_none(index))


def _lookup(values: Sequence[str]) -> Any:
    """Value -> its position, -1 for any other."""
    # A table cannot be empty: where there are no categories, the padding stands in it, as unknown as anywhere else.
    keys, positions = (values, range(len(values))) if values else ([""], [-1])
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(positions, tf.int32)),
        default_value=-1,
    )


def _checked(inputs: Mapping[str, tf.Tensor], *names: str) -> dict[str, tf.Tensor]:
    """The inputs, of which those named have as many rows as `history_ids`: one of them would else be broadcast."""
    history = ("history_ids", inputs["history_ids"])
    return {**inputs, **{name: _same("number of rows of", (name, inputs[name]), history, 1) for name in names}}


def _same(what: str, one: tuple[str, tf.Tensor], other: tuple[str, tf.Tensor], axes: int) -> tf.Tensor:
    """The tensor `one`, whose first `axes` sizes must be those of `other`; InvalidArgumentError names both."""
    (name, tensor), (other_name, expected) = one, other
    sizes = tf.shape(tensor)[:axes], tf.shape(expected)[:axes]
    message = f"{name} must have the {what} {other_name}"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(sizes[0] == sizes[1]), [message, *sizes])]):
        return tf.identity(tensor)


def _usable(name: str, unusable: tf.Tensor) -> tf.Operation:
    """Nothing in that input, bool [B], is of no use; InvalidArgumentError names it and the first such row."""
    message = f"{name} cannot be used: broken, too short, or of a kind that this model does not read, in row"
    first = tf.argmax(tf.pad(tf.cast(unusable, tf.int32), [[0, 1]]))  # of no rows, there is no largest
    return tf.debugging.Assert(~tf.reduce_any(unusable), [message, first])


def _in_unit_interval(diversity: tf.Tensor) -> tf.Tensor:
    valid = tf.reduce_all((diversity >= 0) & (diversity <= 1))
    with tf.control_dependencies([tf.debugging.Assert(valid, ["diversity must be between 0 and 1"])]):
        return tf.identity(diversity)
