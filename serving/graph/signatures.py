"""The signatures of the exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from serving.graph import contract
from serving.graph.categories import category_bits, keep_categories, requested_bits
from serving.graph.checks import assert_usable, checked, in_unit_interval, results_per_row, same_sizes
from serving.graph.contract import RecommenderModel
from serving.graph.item_table import FLOAT32, ItemTable
from serving.graph.lexical import LexicalSearch
from serving.graph.selection import because, diverse_top_k, exclude, newest_events, unit
from serving.graph.semantic import SemanticSearch
from serving.graph.top_k import LOWEST, first_k, top_k, width
from tfrecs.schema import History

# Inputs of a request with a value for each event.
_EVENTS = frozenset({"history_ids", "history_values", "history_times"})


class _Request(NamedTuple):
    """A checked request: item_index int32 [B, L'] of all events (-1 = unknown), query_embeddings float [B, D], and
    text_scores, see `ServingModule._text_scores`."""

    inputs: dict[str, tf.Tensor]
    item_index: tf.Tensor
    history: History
    query_embeddings: tf.Tensor
    text_scores: tf.Tensor | float


class ServingModule(tf.Module):
    """A model with its items, as one object that can be saved.

    Args:
      model: the model; its `hybrid_scores` has as many columns as `padded_embeddings(item_embeddings)` has rows.
      item_ids: N ids.
      item_embeddings: float [N, D].
      modality_weights: float [N, M].
      categories: the categories of each item, for filters.
      pool: candidates for diversity, as a multiple of k.
      max_k: the largest k. Outputs have as many columns whatever there is to find, so a request must not be able to ask for
        more than the server's memory holds.
      lexical: exact matching of text queries over the same columns; None: their encodings alone, if the model has them.
      semantic: matching of text queries by meaning over the same columns, beside `lexical`; None: none.
      index_dtype: of the table that a request scans; see `serving.graph.item_table.ItemTable`.
      generator: finds items without scanning them, for the signature `generate`, which is there only then.
    """

    def __init__(
        self,
        model: RecommenderModel,
        item_ids: Sequence[str],
        item_embeddings: np.ndarray,
        modality_weights: np.ndarray,
        categories: Sequence[Sequence[str]],
        *,
        pool: int,
        max_k: int,
        lexical: LexicalSearch | None = None,
        semantic: SemanticSearch | None = None,
        index_dtype: str = FLOAT32,
        generator: contract.Generator | None = None,
    ):
        super().__init__()
        self.model = model
        self.trackables = list(model.trackables)
        self.pool, self.max_k = pool, max_k
        self.lexical, self.semantic, self.generator = lexical, semantic, generator
        self.num_items = len(item_ids)
        # One more row for "none": missing results read "" and zeros from it.
        self.item_ids = tf.constant([*item_ids, ""], tf.string)
        # Float32 rows are held once; signatures derive the rest from the rows that they read.
        self.table = ItemTable(item_embeddings, index_dtype)
        self.item_embeddings = self.table.rows
        columns, self._max_norm = len(self.table.norms), float(self.table.norms.max(initial=0.0))
        self.padding = tf.range(len(item_embeddings), columns)
        self.inverse_norms = tf.Variable(
            1 / np.maximum(self.table.norms, 1e-12), trainable=False, dtype=tf.float32, name="inverse_norms"
        )
        self.modality_weights = tf.Variable(
            np.concatenate([modality_weights, np.zeros([1, modality_weights.shape[1]], np.float32)]),
            trainable=False,
            name="modality_weights",
        )
        self.item_lookup = _lookup(item_ids)
        vocabulary = sorted({value for row in categories for value in row})
        self.category_lookup = _lookup(vocabulary)
        column = {value: position for position, value in enumerate(vocabulary)}
        member = [[column[value] for value in row] for row in categories]
        # Padding rows are in no category.
        member += [[]] * (columns - len(item_embeddings))
        self.category_bits = tf.Variable(category_bits(member, len(vocabulary)), trainable=False, name="category_bits")

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Signature name -> concrete function; `search`, `embed_items` and `generate` only where there is what they need."""
        extra = self.model.extra_specs()
        request = contract.request_specs()
        k = tf.TensorSpec([None], tf.int32, "k")
        specs: dict[str, tuple[Callable[..., dict[str, tf.Tensor]], dict[str, tf.TensorSpec]]] = {
            contract.RECOMMEND: (self.recommend, {**request, **extra, "k": k}),
            contract.RANK: (
                self.rank,
                {**request, **extra, "candidate_ids": tf.TensorSpec([None, None], tf.string, "candidate_ids")},
            ),
            contract.SIMILAR: (self.similar, {"item_ids": tf.TensorSpec([None], tf.string, "item_ids"), "k": k}),
        }
        if self.generator is not None:
            specs[contract.GENERATE] = (self.generate, {**request, **extra, "k": k})
        if self.model.item_specs():
            specs[contract.EMBED_ITEMS] = (self.embed_items, self.model.item_specs())
        if self.model.has_text or self.lexical is not None:
            specs[contract.SEARCH] = (self.search, {"query": tf.TensorSpec([None], tf.string, "query"), "k": k})
        result = {}
        for name, (function, inputs) in specs.items():
            named = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in inputs.items()}
            result[name] = tf.function(function, autograph=False).get_concrete_function(**named)
        result[contract.DEFAULT] = result[contract.RECOMMEND]
        # Calls `recommend` instead of being traced as another copy of it.
        simple = tf.function(partial(_recommend_simple, result[contract.RECOMMEND]), autograph=False)
        result[contract.RECOMMEND_SIMPLE] = simple.get_concrete_function(history_ids=request["history_ids"], k=k)
        return result

    def recommend(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k best items for each request: as many columns as the largest k, "no item" behind that of a row."""
        k = self._valid_k(inputs["k"], "history_ids", inputs["history_ids"])
        request = self._request(inputs)
        inputs = request.inputs
        excluded = tf.concat([request.item_index, self.item_lookup.lookup(inputs["exclude_ids"])], axis=1)
        queries = self.model.score_queries(request.query_embeddings)

        def finish(scores: tf.Tensor) -> tf.Tensor:
            return self._exclude(self._filter(self._all_scores(scores, request), inputs["categories"]), excluded)

        diversity = inputs["diversity"]
        is_diverse = tf.reduce_any(diversity > 0)
        columns = width(k)
        most = tf.where(is_diverse, tf.minimum(columns, self.num_items) * self.pool, columns)
        reach = self.model.max_score_weight * self._max_norm
        best_of = self.table.search(queries, most, finish, self.model.score_weights, reach)
        best, index = tf.cond(
            is_diverse,
            lambda: diverse_top_k(best_of, self.num_items, self.item_embeddings, diversity, k, self.pool),
            lambda: best_of(columns),
        )
        best, index = first_k(best, index, k)
        history = self.model.chosen(request.history)
        return {
            "ids": self._ids(index),
            "scores": best,
            **self._labels(request.query_embeddings, index),
            "modality_weights": tf.gather(self.modality_weights, self._or_none(index)),
            "because_ids": self._ids(because(index, history.item_index, history.length, self.item_embeddings)),
        }

    def generate(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items that the generator gives the highest scores, without those excluded; diversity does not apply."""
        assert self.generator is not None
        k = self._valid_k(inputs["k"], "history_ids", inputs["history_ids"])
        request = self._request(inputs)
        inputs = request.inputs
        items, found = self.generator(request.query_embeddings)
        columns = tf.shape(self.inverse_norms)[0]
        batch = tf.shape(items)[0]
        rows = tf.tile(tf.range(batch)[:, None], [1, tf.shape(items)[1]])
        # Places without an item have the score that every item has before.
        scores = tf.tensor_scatter_nd_max(
            tf.fill([batch, columns], LOWEST), tf.stack([rows, tf.maximum(items, 0)], axis=2), found
        )
        excluded = tf.concat([request.item_index, self.item_lookup.lookup(inputs["exclude_ids"])], axis=1)
        filtered = self._exclude(self._filter(scores, inputs["categories"]), excluded)
        best, index = first_k(*top_k(filtered, width(k)), k)
        return {"ids": self._ids(index), "scores": best}

    def rank(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores and labels of given candidates; filters, exclusions and diversity do not apply."""
        inputs = checked(inputs, "candidate_ids")
        request = self._request(inputs)
        candidates = self.item_lookup.lookup(inputs["candidate_ids"])
        queries, known = self.model.score_queries(request.query_embeddings), tf.maximum(candidates, 0)
        scanned = self.table.scores(queries, 1)
        scores = tf.gather(self._all_scores(scanned, request), known, batch_dims=1)
        scores += self.model.score_weights(known) * self.table.corrections(queries, scanned, known)
        return {
            "scores": tf.where(candidates >= 0, scores, LOWEST),
            **self._labels(request.query_embeddings, candidates),
        }

    def search(self, query: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items that match a text best; none for a blank text."""
        wanted, k = (tf.strings.strip(query) != "")[:, None], self._valid_k(k, "query", query)
        columns = width(k)
        if not self.model.has_text and self.lexical is not None:
            scores = tf.where(wanted, self._text_scores(query), LOWEST)
            best, index = first_k(*top_k(self._exclude(scores, None), columns), k)
            return {"ids": self._ids(index), "scores": best}
        dense, text_scores = 1.0 if self.lexical is None else self.lexical.dense, self._text_scores(query)

        def finish(scores: tf.Tensor) -> tf.Tensor:
            # By text alone: the encodings, and words and meaning where they are known.
            return self._exclude(tf.where(wanted, dense * scores + text_scores, LOWEST), None)

        queries = self.model.score_queries(self.model.text_embeddings(query))
        weights = lambda items: tf.fill(tf.shape(items), dense)  # noqa: E731
        found = self.table.search(queries, columns, finish, weights, dense * self._max_norm)(columns)
        best, index = first_k(*found, k)
        return {"ids": self._ids(index), "scores": best}

    def similar(self, item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k items with the largest cosine similarity to an item; none for an unknown item."""
        k = self._valid_k(k, "item_ids", item_ids)
        items, columns = self.item_lookup.lookup(item_ids), width(k)
        queries = unit(tf.gather(self.item_embeddings, tf.maximum(items, 0)))

        def finish(scores: tf.Tensor) -> tf.Tensor:
            scores = tf.where((items >= 0)[:, None], scores * self.inverse_norms, LOWEST)
            return self._exclude(scores, items[:, None])

        weights = lambda index: tf.gather(self.inverse_norms, index)  # noqa: E731
        # The largest inverse norm times norm is 1.
        best, index = first_k(*self.table.search(queries, columns, finish, weights, 1.0)(columns), k)
        return {"ids": self._ids(index), "scores": best}

    def embed_items(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeddings of items by their raw content. Unusable content is refused, with its input and row."""
        first = next(iter(raw))
        for name in raw:
            raw = {**raw, name: same_sizes("number of items in", (name, raw[name]), (first, raw[first]), 1)}
        embedding, weights, unusable = self.model.embed_items(raw)
        formats = self.model.item_formats()
        checks = [assert_usable(name, formats[name], unusable[:, column]) for column, name in enumerate(formats)]
        with tf.control_dependencies(checks):
            return {"embedding": tf.identity(embedding), "modality_weights": tf.identity(weights)}

    def _request(self, inputs: Mapping[str, tf.Tensor]) -> _Request:
        """Check the inputs of `recommend` or `rank`, and embed the requests."""
        per_request = set(contract.request_specs()) - _EVENTS
        inputs = checked(inputs, *sorted(per_request), *self.model.extra_specs())
        inputs["diversity"] = in_unit_interval(inputs["diversity"])
        for name in sorted(_EVENTS - {"history_ids"}):
            events = same_sizes("shape of", (name, inputs[name]), ("history_ids", inputs["history_ids"]), 2)
            inputs = {**inputs, name: events}
        item_index = self.item_lookup.lookup(inputs["history_ids"])
        history = newest_events(item_index, inputs["history_values"], inputs["history_times"], self.model.max_history)
        extra = {name: inputs[name] for name in self.model.extra_specs()}
        query_embeddings = self.model.query_embeddings(
            tf.convert_to_tensor(self.item_embeddings), history, inputs["now"], inputs["query"], extra
        )
        return _Request(inputs, item_index, history, query_embeddings, self._text_scores(inputs["query"]))

    def _all_scores(self, scores: tf.Tensor, request: _Request) -> tf.Tensor:
        """Scores float [B, N] of all items, from those of the towers.

        The logits of the user's taste and of the text query add up, as those of independent evidence do.
        """
        return self.model.hybrid_scores(scores, request.history) + request.text_scores

    def _text_scores(self, query: tf.Tensor) -> tf.Tensor | float:
        """How words and meaning of texts, string [B], match the items, float [B, N]; 0 where there is neither."""
        scores: tf.Tensor | float = 0.0
        for part in (self.lexical, self.semantic):
            scores = scores if part is None else scores + part.scores(query)
        return scores

    def _filter(self, scores: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
        """Scores with -inf at items outside the requested categories, string [B, C]; "" is none."""
        has_filter = tf.reduce_any(categories != "", axis=1)

        def filtered() -> tf.Tensor:
            bits = tf.convert_to_tensor(self.category_bits)
            # An unknown category has index -1, which contains no item.
            requested = requested_bits(self.category_lookup.lookup(categories), bits.shape[0])
            return keep_categories(scores, requested, bits, has_filter)

        return tf.cond(tf.reduce_any(has_filter), filtered, lambda: scores)

    def _exclude(self, scores: tf.Tensor, index: tf.Tensor | None) -> tf.Tensor:
        """Scores with -inf at the items of `index` int32 [B, E] and at the padding."""
        if len(self.padding):
            rows = tf.tile(self.padding[None, :], [tf.shape(scores)[0], 1])
            index = rows if index is None else tf.concat([index, rows], axis=1)
        return scores if index is None else exclude(scores, index)

    def _labels(self, query_embeddings: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """Label -> prediction float [B, C'] for the items of `index` int32 [B, C'], NaN where it is -1."""
        embeddings = tf.gather(self.item_embeddings, tf.maximum(index, 0))
        queries = tf.tile(query_embeddings[:, None], [1, tf.shape(index)[1], 1])
        labels = self.model.labels(queries, embeddings)
        return {name: tf.where(index >= 0, value, float("nan")) for name, value in labels.items()}

    def _valid_k(self, k: tf.Tensor, name: str, other: tf.Tensor) -> tf.Tensor:
        return results_per_row(k, (name, other), self.max_k)

    def _or_none(self, index: tf.Tensor) -> tf.Tensor:
        """Replace -1 by the row for "none"."""
        return tf.where(index >= 0, index, self.num_items)

    def _ids(self, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.item_ids, self._or_none(index))


def _lookup(values: Sequence[str]) -> Any:
    """A look-up table: value -> its position, -1 for any other string."""
    # A table cannot be empty; "" is the padding and stays unknown.
    keys, positions = (values, range(len(values))) if values else ([""], [-1])
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(positions, tf.int32)),
        default_value=-1,
    )


def _recommend_simple(
    recommend: tf.types.experimental.ConcreteFunction, *, history_ids: tf.Tensor, k: tf.Tensor
) -> dict[str, tf.Tensor]:
    """`recommend` of a history and nothing else: values, times, clock and context unknown, no query, filter or diversity."""
    given = {"history_ids": history_ids, "k": k}
    specs = {spec.name: spec for spec in recommend.structured_input_signature[1].values()}
    return recommend(
        **given,
        **{name: contract.neutral(spec, history_ids) for name, spec in specs.items() if name not in given},
    )
