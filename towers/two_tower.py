"""The two-tower `tfrs.Model`: item tower, user tower, retrieval and ranking, trained together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrecs.schema import History, Schema
from towers.encoders.base import Encoder, TextQueryEncoder
from towers.encoding_cache import cache_variables, fill, standardize, with_fresh
from towers.hybrid import chosen_events
from towers.item import ItemTower
from towers.model import Gradients, Model
from towers.ranking import RankingHead
from towers.replicas import gradients_by_parts, part_of_mean
from towers.retrieval import over_targets, softmax_loss
from towers.semantic.codes import SemanticCodes
from towers.semantic.decoder import CodeDecoder
from towers.text_queries import answers, at_positions, query_tokens
from towers.user import UserTower

Batch = Mapping[str, Any]
Sums = dict[str, tf.Tensor]

ROWS = (
    "item_index",
    "values",
    "times",
    "target",
    "positive",
    "segment",
    "labels",
    "context",
    "user",
    "user_presence",
)
"""What a batch has for each of its rows."""


class Shared(NamedTuple):
    """What the rows of a batch have in common.

    Attributes:
      candidates: float [U, D], embeddings of the candidates.
      queries: float [B, L, D], the text query that each position gets, zero = none; None: there are no text queries.
    """

    candidates: tf.Tensor
    queries: tf.Tensor | None


_BLOCK = 1 << 14  # items that are embedded at a time


class ItemStatistics(NamedTuple):
    """What the records say of the N items of the catalogue.

    Attributes:
      presence: bool [N, M], the modalities that each item has.
      train_counts: int [N], positive training events of each item.
      first_times: int64 [N], unix seconds of the first of them, 0 = unknown; anything for an item without one.
    """

    presence: np.ndarray
    train_counts: np.ndarray
    first_times: np.ndarray


class TwoTower(Model):
    """Queries and items in one space of D dimensions; the score is their inner product over the temperature.

    The catalogue's encodings are cached ([N, d_m] for each modality), in variables or, of a large catalogue, in a file
    from which a batch brings along those of its candidates. A training step encodes the batch's `fresh`
    items anew, with gradients, and takes all others from the cache (cross-batch memory, Wang et al., 2020,
    arXiv:1912.06798); once an epoch the whole catalogue is encoded anew. So a step sees its candidates through the
    trained fusion at the price of encoding a few items, and a frozen encoder is the case without fresh ones.

    The candidates of a step are the whole catalogue, or what the batch names as such: then nothing in a step is of the
    size of the catalogue.

    Args:
      schema: of the records.
      item_encoders: modality -> encoder, in the schema's order.
      user_encoders: user feature -> encoder.
      item_tower: the item tower.
      user_tower: the user tower.
      ranking_head: the head, or None where the data has no labels.
      items: of the catalogue; an item without a training event gets no id embedding.
      temperature: what inner products are divided by.
      label_smoothing: of the retrieval and the text-query loss, see `softmax_loss`.
      ranking_weight: of the ranking loss beside the retrieval loss's 1.
      search_weight: of the text-query loss.
      query_rate: share of positions whose text query is given to the user tower in training.
      accumulate: parts that a batch's rows are divided into, see `gradients`.
      stores_encodings: whether the cache is variables of the model; else whoever fills it sets `cache` to name -> what
        gives float32 [R, d_m] for a slice of R rows, and the statistics.
      codes: semantic IDs of the catalogue; None: there are none.
      decoder: of these codes, the generative head; None: there is none.
      generative_weight: of its loss.
    """

    def __init__(
        self,
        schema: Schema,
        item_encoders: Mapping[str, Encoder],
        user_encoders: Mapping[str, Encoder],
        item_tower: ItemTower,
        user_tower: UserTower,
        ranking_head: RankingHead | None,
        items: ItemStatistics,
        *,
        temperature: float,
        label_smoothing: float,
        ranking_weight: float,
        search_weight: float,
        query_rate: float,
        accumulate: int = 1,
        stores_encodings: bool = True,
        codes: SemanticCodes | None = None,
        decoder: CodeDecoder | None = None,
        generative_weight: float = 0.0,
    ):
        super().__init__()
        self.schema = schema
        self.item_encoders = dict(item_encoders)
        self.user_encoders = dict(user_encoders)
        self.item_tower, self.user_tower, self.ranking_head = item_tower, user_tower, ranking_head
        self.temperature, self.label_smoothing = temperature, label_smoothing
        self.target_share = 1.0  # of a batch's positions, which its targets seldom exceed; see `over_targets`
        weights = {"retrieval_loss": 1.0, "search_loss": search_weight}
        weights |= {f"{row.name}_loss": ranking_weight for row in schema.labels}
        if decoder is not None:
            weights["generative_loss"] = generative_weight
        self.loss_weights = MappingProxyType(weights)  # no part of checkpoints, as a dictionary would be
        self.accumulate = accumulate
        self.num_items = len(items.train_counts)
        hidden_dim = user_tower.hidden_dim
        self.user_projections = {name: tf.keras.layers.Dense(hidden_dim) for name in self.user_encoders}
        texts = [encoder for encoder in self.item_encoders.values() if isinstance(encoder, TextQueryEncoder)]
        self.query_encoder = texts[0] if texts else None
        self.search_head = tf.keras.layers.Dense(hidden_dim) if texts else None
        self.query_dropout = tf.keras.layers.Dropout(1.0 - query_rate)

        self.presence = tf.constant(items.presence, tf.bool)
        counts = np.asarray(items.train_counts, np.float64)
        self.id_index = tf.constant(np.where(counts > 0, np.arange(self.num_items), -1), tf.int32)
        never = np.iinfo(np.int64).max
        self.first_times = tf.constant(np.where(counts > 0, items.first_times, never), tf.int64)
        dims = {name: encoder.output_dim for name, encoder in self.item_encoders.items()}
        self.stores_encodings, self.codes, self.decoder = stores_encodings, codes, decoder
        self.cache: Mapping[str, Any]
        self.cache, self.center, self.spread = cache_variables(self.num_items if stores_encodings else None, dims)
        self.step_metrics = {name: tf.keras.metrics.Mean(name=name) for name in self.loss_weights}

    # --- items -----------------------------------------------------------------------------------------------------

    def encode_items(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Encode preprocessed item features, name -> [R, ...], to name -> [R, d_m]."""
        return {name: self.item_encoders[name](inputs[name], training=training) for name in self.item_encoders}

    def fill_cache(self, encodings: Mapping[str, np.ndarray]) -> None:
        """Take the encodings of the whole catalogue, name -> [N, d_m], and their statistics."""
        fill(self.cache, self.center, self.spread, encodings, self.presence.numpy())

    def fill_codes(self) -> None:
        """Take the codes of the whole catalogue by the encodings of the cache, where there are codebooks."""
        if self.codes is not None:
            self.codes.fill(self.content_codes(self.presence, self.cache))

    def content_codes(self, presence: tf.Tensor, encodings: Mapping[str, Any]) -> np.ndarray:
        """Codes int32 [N, levels] of the catalogue's content, without last codes. See `item_embeddings`."""
        assert self.codes is not None
        return np.concatenate([self.codes(*block).numpy() for _, *block in self.content_blocks(presence, encodings)])

    def content_blocks(
        self, presence: tf.Tensor, encodings: Mapping[str, Any]
    ) -> Iterator[tuple[slice, list[tf.Tensor], tf.Tensor]]:
        """The catalogue block by block: its rows, their standardised encodings, their presence. See `item_embeddings`."""
        for start in range(0, self.num_items, _BLOCK):
            rows = slice(start, start + _BLOCK)
            block = {name: tf.convert_to_tensor(encodings[name][rows]) for name in self.item_encoders}
            yield rows, self.standardize(block), presence[rows]

    def standardize(self, encodings: Mapping[str, tf.Tensor], names: Sequence[str] | None = None) -> list[tf.Tensor]:
        """Standardise encodings, name -> [R, d_m], by the catalogue's statistics.

        Args:
          encodings: of these modalities.
          names: in the schema's order; None: all.

        Returns:
          a tensor for each of `names`.
        """
        names = list(self.item_encoders) if names is None else names
        return [standardize(encodings[name], self.center[name], self.spread[name]) for name in names]

    def item_embeddings(
        self,
        presence: tf.Tensor | None = None,
        encodings: Mapping[str, Any] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embed the catalogue.

        Args:
          presence: bool [N, M]; None: that of the records.
          encodings: name -> [N, d_m], or what gives float32 [R, d_m] for a slice; None: the cache.

        Returns:
          embeddings float [N, D] and modality weights float [N, M].
        """
        encodings = self.cache if encodings is None else encodings
        return self._embedded(self.presence if presence is None else presence, encodings, self.id_index)

    def content_embeddings(self, presence: tf.Tensor, encodings: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        """Embed the catalogue without the id embeddings. Arguments and results as in `item_embeddings`."""
        return self._embedded(presence, encodings, tf.fill([self.num_items], -1))

    def _embedded(
        self, presence: tf.Tensor, encodings: Mapping[str, Any], id_index: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Embed the catalogue block by block, so that what the fusion needs in between does not grow with it."""
        parts = []
        for rows, block, present in self.content_blocks(presence, encodings):
            # Codes go with the content that is given, which may be another than the records'.
            codes = None if self.codes is None else self.codes.with_last(self.codes(block, present), rows)
            parts.append(self.item_tower(block, present, id_index[rows], codes))
        embeddings, weights = zip(*parts, strict=True)
        return tf.concat(embeddings, axis=0), tf.concat(weights, axis=0)

    def embed_items(
        self, inputs: Mapping[str, tf.Tensor], presence: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Embed any items by their content.

        Args:
          inputs: name -> [R, ...], preprocessed features.
          presence: bool [R, M].

        Returns:
          embeddings float [R, D], modality weights float [R, M], and codes int32 [R, levels] without last codes, None
          where the model has none.
        """
        encodings = self.standardize(self.encode_items(inputs))
        none = tf.fill([tf.shape(presence)[0]], -1)
        codes = None if self.codes is None else self.codes(encodings, presence)
        with_last = None if codes is None else tf.concat([codes, none[:, None]], axis=1)
        return (*self.item_tower(encodings, presence, none, with_last), codes)

    def candidate_embeddings(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Embed the candidates of a batch, float [U, D]; gradients reach the encoders through its fresh items alone."""
        rows = batch.get("candidates")
        if rows is None:
            encodings: dict[str, tf.Tensor] = {name: tf.convert_to_tensor(value) for name, value in self.cache.items()}
            presence, id_index = self.presence, self.id_index
            codes = None if self.codes is None else self.codes.of_catalogue()
        else:
            at = tf.maximum(rows, 0)
            encodings = batch.get("encodings") or {name: tf.gather(value, at) for name, value in self.cache.items()}
            presence, id_index = tf.gather(self.presence, at), tf.where(rows >= 0, tf.gather(self.id_index, at), -1)
            codes = None if self.codes is None else self.codes.of_catalogue(at)
        if "fresh" in batch:
            fresh = self.encode_items(batch["fresh"], training=True)
            encodings = with_fresh(encodings, fresh, batch["fresh_index"])
        return self.item_tower(self.standardize(encodings), presence, id_index, codes, training=training)[0]

    # --- queries ---------------------------------------------------------------------------------------------------

    def encode_query(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embed preprocessed text queries, int32 [B, Tq], in the space of the items: float [B, D]."""
        if self.query_encoder is None or self.search_head is None:
            raise ValueError("this data set has no text feature, so there is no text query")
        return self.search_head(self.query_encoder(token_ids, training=training))

    def encode_user(self, inputs: Mapping[str, tf.Tensor], presence: tf.Tensor) -> tf.Tensor | None:
        """Embed preprocessed user features, name -> [B, ...] with presence bool [B, F]: float [B, D], or None."""
        parts = [
            self.user_projections[name](encoder(inputs[name])) * tf.cast(presence[:, column, None], tf.float32)
            for column, (name, encoder) in enumerate(self.user_encoders.items())
        ]
        return tf.add_n(parts) if parts else None

    def sequence_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        user: tf.Tensor | None = None,
        query: tf.Tensor | None = None,
        segments: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Embed every position of the histories.

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: L events of each of B rows; padding gets embeddings too.
          now, context, user, query, segments: see `UserTower.call`.
          training: whether dropout is on.

        Returns:
          float [B, L + 1, D].
        """
        # A disliked item does not speak for those like it.
        counted = ~(history.values <= 0) if self.schema.has_weights else None
        mean = self.schema.value_mean
        values = (tf.where(tf.math.is_nan(history.values), mean, history.values) - mean) / self.schema.value_std
        # Play counts and the like have long tails; beyond three deviations larger values mean nothing more.
        history = history._replace(values=tf.clip_by_value(values, -3.0, 3.0))
        events = tf.gather(item_embeddings, history.item_index)
        return self.user_tower(events, history, now, context, user, query, segments, counted, training=training)

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        user: tf.Tensor | None = None,
        text: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Embed requests: the position behind the last event of each history.

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: the newest events of each of B users.
          now: int64 [B], unix seconds of the request, 0 = unknown.
          context: name -> [B], encoded column contexts of the request.
          user: float [B, D] or None.
          text: float [B, D], encoded text queries (zero = none), or None.

        Returns:
          float [B, D].
        """
        length = tf.shape(history.item_index)[1]
        position = tf.range(length + 1)[None, :]
        last = position == history.length[:, None]
        # Position i predicts event i: at that event's own time, and now behind the last.
        moments = tf.where(last, now[:, None], tf.pad(history.times, [[0, 0], [0, 1]]))
        context = {name: tf.tile(value[:, None], [1, length + 1]) for name, value in context.items()}
        query = None if text is None else tf.where(last[..., None], text[:, None, :], 0.0)
        embeddings = self.sequence_embeddings(item_embeddings, history, moments, context, user, query)
        return tf.gather(embeddings, history.length, batch_dims=1)

    def chosen(self, history: History) -> History:
        """The events of histories that speak for their items: with a weight above 0, where the schema has weights."""
        return chosen_events(history) if self.schema.has_weights else history

    def scores(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> tf.Tensor:
        """Logits float [B, N] of queries [B, D] against items [N, D]."""
        return tf.matmul(query_embeddings, item_embeddings, transpose_b=True) / self.temperature

    # --- training --------------------------------------------------------------------------------------------------

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Retrieval + ranking + text-query loss of a batch, each a mean over its targets in the GLOBAL batch.

        With weights the retrieval loss is the weighted mean over positives and explicit negatives; that of a label is not
        weighted, as the label itself says what the event was.

        Args:
          inputs: `item_index` int32, `values` float (weights, where the schema has them), `times` int64, `target` bool,
            `positive` bool, all [B, L]; `segment` int32 [B, L], which of the at most S histories of its row an event
            belongs to: each is in one piece, oldest event first, and padding (-1, target False) stands at the end;
            `labels` float [B, L, labels]; `context` name -> [B, L]; `user` name -> [B, S, ...] and `user_presence` bool
            [B, S, F] where users have features; `candidates` int32 [U], different items (-1 = padding), and
            `log_sampled` float [U], the log of the probability that each is among them: `item_index` and all other
            items of the batch are then positions in it, else in the catalogue; `encodings` name -> [U, d_m], theirs,
            where the cache is no variables; `fresh` name -> [R, ...] with
            `fresh_index` int32 [R] (-1 = padding); `spans` int32 [R, Tq] where items have text, and where events have
            text queries of their own the part that `towers.text_queries` describes.
          training: whether dropout is on.

        Returns:
          float []. Summed over replicas it is the loss of the global batch.
        """
        shared, losses, counts = self._shared(inputs, training)
        losses |= self._row_losses(shared, inputs, training)
        counts |= self._row_counts(inputs)
        return self._global_mean(losses, counts)

    def gradients(self, inputs: Batch, factor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Gradients]:
        """See `Model.gradients`. With `accumulate` the same, in less memory: the rows come part by part.

        A step then has one set of candidates, of encoded items and of text queries, which are embedded once; the rows of
        the batch go through user tower, softmax and ranking head in `accumulate` parts, one after the other. The gradient of
        what is shared is summed over the parts and goes on from there once (Gao et al., 2021, "Scaling deep contrastive
        learning batch size under memory limited setup"), and every mean is over the whole batch. So the step is that on the
        batch in one piece, with the full softmax and with a sample of candidates alike, but for the numbers that dropout
        draws in the user tower. Rows must be a multiple of `accumulate`.
        """
        if self.accumulate == 1:
            return super().gradients(inputs, factor)
        with tf.GradientTape() as tape:
            shared, losses, counts = self._shared(inputs, training=True)
            regularization = self.regularization()
            counts |= self._row_counts(inputs)
            weights = {name: factor * self.loss_weights[name] * part_of_mean(1.0, counts[name]) for name in counts}
            direct = factor * regularization + tf.add_n(
                [tf.constant(0.0), *(weights[name] * losses[name] for name in losses)]
            )
        rows = {name: inputs[name] for name in ROWS if name in inputs}
        others = {name: value for name, value in inputs.items() if name not in ROWS}
        parts = [self.user_tower, *self.user_encoders.values(), *self.user_projections.values()]
        parts += [self.ranking_head, self.decoder]
        variables = [variable for part in parts if part is not None for variable in part.trainable_variables]
        row_losses, of_shared, of_rows = gradients_by_parts(
            lambda candidates, queries, part: self._row_losses(
                Shared(candidates, queries), others | part, training=True
            ),
            *shared,
            rows,
            weights={name: weight for name, weight in weights.items() if name not in losses},
            variables=variables,
            parts=self.accumulate,
        )
        targets = [
            (direct, tf.ones([])),
            *((value, of_shared[at]) for at, value in enumerate(shared) if value is not None),
        ]
        found = tape.gradient([target for target, _ in targets], self.trainable_variables, [one for _, one in targets])
        extra = {variable.ref(): gradient for variable, gradient in zip(variables, of_rows, strict=True)}
        total = [
            _sum_of(gradient, extra.get(variable.ref()))
            for variable, gradient in zip(self.trainable_variables, found, strict=True)
        ]
        return self._global_mean(losses | row_losses, counts), regularization, total

    def _shared(self, inputs: Batch, training: bool) -> tuple[Shared, Sums, Sums]:
        """What the rows share, and the loss that is not theirs, that of text queries: its sum and its count."""
        candidates = self.candidate_embeddings(inputs, training)
        if self.query_encoder is None or "spans" not in inputs:
            return Shared(candidates, None), {}, {}
        texts = self.encode_query(query_tokens(inputs), training=training)
        item_index, sample_weight = answers(inputs)
        loss = self._softmax_loss(texts, candidates, item_index, sample_weight, inputs)
        keep = tf.sign(self.query_dropout(tf.ones(tf.shape(inputs["item_index"])), training=True))
        if self.schema.has_weights:  # a text made of a disliked item would teach that its words do not find it
            keep *= tf.cast(inputs["values"] >= 0, tf.float32)
        queries = at_positions(texts, inputs, keep)
        return Shared(candidates, queries), {"search_loss": loss}, {"search_loss": tf.reduce_sum(sample_weight)}

    def _row_losses(self, shared: Shared, inputs: Batch, training: bool) -> Sums:
        """The summed losses of the batch's rows: retrieval, labels and codes."""
        queries = self._query_embeddings(shared, inputs, training)
        item_index = tf.reshape(inputs["item_index"], [-1])
        losses = {"retrieval_loss": self._retrieval_loss(queries, shared.candidates, item_index, inputs)}
        if self.ranking_head is not None:
            items = tf.gather(shared.candidates, item_index)
            labels = self.ranking_head.losses_of(queries, items, *self._labels(inputs), training)
            losses |= {f"{name}_loss": loss for name, loss in labels.items()}
        if self.decoder is not None:
            losses["generative_loss"] = self._generative_loss(queries, item_index, inputs)
        return losses

    def _row_counts(self, inputs: Batch) -> Sums:
        """What each loss of `_row_losses` is the sum over, or the total weight of that."""
        sample_weight = self._sample_weight(inputs)
        total = tf.reduce_sum(tf.abs(sample_weight) if self.schema.has_weights else sample_weight)
        counts = {"retrieval_loss": total}
        if self.ranking_head is not None:
            labels = self.ranking_head.counts_of(*self._labels(inputs))
            counts |= {f"{name}_loss": count for name, count in labels.items()}
        if self.decoder is not None:
            counts["generative_loss"] = tf.reduce_sum(tf.maximum(sample_weight, 0.0))
        return counts

    def _labels(self, inputs: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Labels float [B * L, labels], and whether their events are targets, float [B * L]."""
        target = tf.cast(tf.reshape(inputs["target"], [-1]), tf.float32)
        return tf.reshape(inputs["labels"], [-1, len(self.schema.labels)]), target

    def _sample_weight(self, inputs: Batch) -> tf.Tensor:
        """The weight of each event in the retrieval loss, float [B * L]."""
        target = tf.reshape(inputs["target"], [-1])
        if self.schema.has_weights:
            return tf.where(target, tf.reshape(inputs["values"], [-1]), 0.0)
        return tf.cast(target & tf.reshape(inputs["positive"], [-1]), tf.float32)

    def _users_at_positions(self, inputs: Batch) -> tf.Tensor:
        """Embeddings of the user features of each position's history, float [B, L, D]."""
        presence = inputs["user_presence"]
        batch, segments = tf.shape(presence)[0], presence.shape[1]
        rows = {name: tf.reshape(value, [batch * segments, *value.shape[2:]]) for name, value in inputs["user"].items()}
        users = self.encode_user(rows, tf.reshape(presence, [batch * segments, presence.shape[2]]))
        users = tf.reshape(users, [batch, segments, self.user_tower.hidden_dim])
        return tf.gather(users, tf.maximum(inputs["segment"], 0), batch_dims=1)

    def _query_embeddings(self, shared: Shared, inputs: Batch, training: bool) -> tf.Tensor:
        """Embeddings of all positions of the batch, float [B * L, D]; each predicts its own event."""
        past, values, times = (inputs[name][:, :-1] for name in ("item_index", "values", "times"))
        # Padding stands behind every target and is never attended to, so that all positions may count as events.
        history = History(past, values, times, tf.fill([tf.shape(past)[0]], tf.shape(past)[1]))
        embeddings = self.sequence_embeddings(
            shared.candidates,
            history,
            inputs["times"],
            inputs["context"],
            self._users_at_positions(inputs) if self.user_encoders else None,
            shared.queries,
            inputs["segment"],
            training=training,
        )
        return tf.reshape(embeddings, [-1, embeddings.shape[-1]])

    def _retrieval_loss(
        self, query_embeddings: tf.Tensor, candidate_embeddings: tf.Tensor, item_index: tf.Tensor, inputs: Batch
    ) -> tf.Tensor:
        first_times, id_index = self.first_times, self.id_index
        if "candidates" in inputs:
            rows = tf.maximum(inputs["candidates"], 0)
            first_times, id_index = tf.gather(first_times, rows), tf.gather(id_index, rows)
        times = tf.reshape(inputs["times"], [-1, 1])

        def loss_of(weight: tf.Tensor, queries: tf.Tensor, labels: tf.Tensor, moments: tf.Tensor) -> tf.Tensor:
            # Before its first event an item could not be chosen: as a negative it would teach that new items, and content
            # like theirs, are bad ones.
            available = (first_times <= moments) | ((moments == 0) & (id_index >= 0))
            return self._softmax_loss(queries, candidate_embeddings, labels, weight, inputs, available)

        values = (query_embeddings, item_index, times)
        return over_targets(loss_of, self._sample_weight(inputs), values, self.target_share)

    def _generative_loss(self, query_embeddings: tf.Tensor, item_index: tf.Tensor, inputs: Batch) -> tf.Tensor:
        """Of the codes of positives; an explicit negative teaches the decoder nothing."""
        assert self.codes is not None
        assert self.decoder is not None
        surprisal = self.decoder.surprisal
        rows = item_index if "candidates" not in inputs else tf.gather(inputs["candidates"], item_index)
        codes = self.codes.of_catalogue(tf.maximum(rows, 0))

        def loss_of(weight: tf.Tensor, queries: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(surprisal(queries, codes) * weight)

        weight = tf.maximum(self._sample_weight(inputs), 0.0)
        return over_targets(loss_of, weight, (query_embeddings, codes), self.target_share)

    def _softmax_loss(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        item_index: tf.Tensor,
        sample_weight: tf.Tensor,
        inputs: Batch,
        available: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """See `softmax_loss`; `available` bool [P, U], None = everything."""
        if "candidates" in inputs:
            there = inputs["candidates"] >= 0
            available = there if available is None else available & there
        return softmax_loss(
            self.scores(query_embeddings, candidate_embeddings),
            item_index,
            sample_weight,
            self.label_smoothing,
            candidates=available,
            log_sampled=inputs.get("log_sampled"),
            negatives=self.schema.has_weights,
        )

    def _global_mean(self, losses: Sums, counts: Sums) -> tf.Tensor:
        """This replica's part of the weighted sum of the losses' means over the global batch; updates their metrics."""
        total = []
        for name, weight in self.loss_weights.items():
            if name in losses:
                loss, count = losses[name], counts[name]
                self.step_metrics[name].update_state(tf.math.divide_no_nan(loss, count), sample_weight=count)
                total.append(weight * part_of_mean(loss, count))
        return tf.add_n(total)


def _sum_of(first: Any, second: tf.Tensor | None) -> Any:
    """The sum of two gradients, either of which may be None."""
    if first is None or second is None:
        return second if first is None else first
    return tf.convert_to_tensor(first) + second
