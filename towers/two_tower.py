"""The two-tower `tfrs.Model`: item tower, user tower, retrieval and ranking, trained together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrecs.schema import History, Schema
from towers.encoders.base import Encoder, TextQueryEncoder
from towers.encoding_cache import cache_variables, fill, standardize, with_fresh
from towers.item import ItemTower
from towers.ranking import RankingHead
from towers.replicas import part_of_mean
from towers.retrieval import InBatchSoftmax, full_softmax
from towers.text_queries import answers, at_positions, query_tokens
from towers.user import UserTower

Batch = Mapping[str, Any]


class TwoTower(tfrs.Model):
    """Queries and items in one space of D dimensions; the score is their inner product over the temperature.

    The catalogue's encodings are cached ([N, d_m] for each modality). A training step encodes the batch's `fresh`
    items anew, with gradients, and takes all others from the cache (cross-batch memory, Wang et al., 2020,
    arXiv:1912.06798); `refresh` re-encodes the catalogue, once an epoch. So every step sees the whole catalogue through
    the trained fusion at the price of encoding a few dozen items, and a frozen encoder is the case of none.

    Args:
      schema: of the records.
      item_encoders: modality -> encoder, in the schema's order.
      user_encoders: user feature -> encoder.
      item_tower, user_tower: the towers.
      ranking_head: the head, or None where the data has no labels.
      presence: bool [N, M], what each item has.
      train_counts: int [N], positive training events of each item; an item with none gets no id embedding.
      first_times: int64 [N], time of the first of them; what matters not where there is none, or no time is known.
      softmax: "full" or "in_batch".
      temperature: of the softmax.
      label_smoothing: of the full softmax.
      ranking_weight, search_weight: weights of the ranking and the text-query loss beside retrieval's 1.
      query_rate: share of positions whose text query is given to the user tower in training.
    """

    def __init__(
        self,
        schema: Schema,
        item_encoders: Mapping[str, Encoder],
        user_encoders: Mapping[str, Encoder],
        item_tower: ItemTower,
        user_tower: UserTower,
        ranking_head: RankingHead | None,
        presence: np.ndarray,
        train_counts: np.ndarray,
        first_times: np.ndarray,
        *,
        softmax: str,
        temperature: float,
        label_smoothing: float,
        ranking_weight: float,
        search_weight: float,
        query_rate: float,
    ):
        super().__init__()
        self.schema = schema
        self.item_encoders = dict(item_encoders)
        self.user_encoders = dict(user_encoders)
        self.item_tower, self.user_tower, self.ranking_head = item_tower, user_tower, ranking_head
        self.softmax, self.temperature, self.label_smoothing = softmax, temperature, label_smoothing
        self.ranking_weight, self.search_weight = ranking_weight, search_weight
        self.num_items = len(train_counts)
        hidden_dim = user_tower.hidden_dim
        self.user_projections = {name: tf.keras.layers.Dense(hidden_dim) for name in self.user_encoders}
        texts = [encoder for encoder in self.item_encoders.values() if isinstance(encoder, TextQueryEncoder)]
        self.query_encoder = texts[0] if texts else None
        self.search_head = tf.keras.layers.Dense(hidden_dim) if texts else None
        self.query_dropout = tf.keras.layers.Dropout(1.0 - query_rate)
        self.in_batch = InBatchSoftmax(temperature)

        self.presence = tf.constant(presence, tf.bool)
        counts = np.asarray(train_counts, np.float64)
        self.id_index = tf.constant(np.where(counts > 0, np.arange(self.num_items), -1), tf.int32)
        self.probability = tf.constant(counts / max(counts.sum(), 1.0), tf.float32)
        never = np.iinfo(np.int64).max
        self.first_times = tf.constant(np.where(counts > 0, first_times, never), tf.int64)
        dims = {name: encoder.output_dim for name, encoder in self.item_encoders.items()}
        self.cache, self.center, self.spread = cache_variables(self.num_items, dims)
        self.step_metrics = {
            name: tf.keras.metrics.Mean(name=name)
            for name in ("retrieval_loss", "search_loss", *(f"{row.name}_loss" for row in schema.labels))
        }

    # --- items -----------------------------------------------------------------------------------------------------

    def encode_items(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Preprocessed item features, name -> [R, ...], to encodings, name -> [R, d_m]."""
        return {name: self.item_encoders[name](inputs[name], training=training) for name in self.item_encoders}

    def fill_cache(self, encodings: Mapping[str, np.ndarray]) -> None:
        """Takes the encodings of the whole catalogue, name -> [N, d_m], and their statistics."""
        fill(self.cache, self.center, self.spread, encodings, self.presence.numpy())

    def standardize(self, encodings: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Encodings name -> [R, d_m] by the catalogue's statistics, as a list in the schema's order."""
        return [standardize(encodings[name], self.center[name], self.spread[name]) for name in self.item_encoders]

    def item_embeddings(
        self,
        presence: tf.Tensor | None = None,
        encodings: Mapping[str, tf.Tensor] | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The catalogue: embeddings [N, D] and modality weights [N, M], from the cache unless encodings are given."""
        encodings = self.cache if encodings is None else encodings
        return self.item_tower(
            self.standardize(encodings),
            self.presence if presence is None else presence,
            self.id_index,
            training=training,
        )

    def content_embeddings(
        self, presence: tf.Tensor, encodings: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The catalogue as if none of its items were known by its id: ([N, D], [N, M])."""
        return self.item_tower(self.standardize(encodings), presence, tf.fill([self.num_items], -1))

    def embed_items(self, inputs: Mapping[str, tf.Tensor], presence: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Items by content alone: preprocessed features and presence [R, M] -> ([R, D], [R, M])."""
        encodings = self.standardize(self.encode_items(inputs))
        return self.item_tower(encodings, presence, tf.fill([tf.shape(presence)[0]], -1))

    def _refreshed(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The cache with the batch's fresh items encoded anew; gradients flow through those alone."""
        if "fresh" not in batch:
            return {name: tf.convert_to_tensor(value) for name, value in self.cache.items()}
        fresh = self.encode_items(batch["fresh"], training=True)
        return with_fresh(self.cache, fresh, batch["fresh_index"], self.num_items)

    # --- queries ---------------------------------------------------------------------------------------------------

    def encode_query(self, token_ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Preprocessed text queries [B, Tq] -> [B, D], in the space of the items."""
        if self.query_encoder is None or self.search_head is None:
            raise ValueError("this data set has no text feature, so there is no text query")
        return self.search_head(self.query_encoder(token_ids, training=training))

    def encode_user(self, inputs: Mapping[str, tf.Tensor], presence: tf.Tensor) -> tf.Tensor | None:
        """Preprocessed user features, name -> [B, ...], presence bool [B, F] -> [B, D]; None where there are none."""
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
        training: bool = False,
    ) -> tf.Tensor:
        """Query embeddings of every position, float [B, L + 1, D].

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: the events; every position gets an embedding, whatever their number.
          now, context, user, query: see `UserTower.call`.
        """
        mean = self.schema.value_mean
        values = (tf.where(tf.math.is_nan(history.values), mean, history.values) - mean) / self.schema.value_std
        # Play counts and the like have long tails: three deviations out, more says no more.
        history = history._replace(values=tf.clip_by_value(values, -3.0, 3.0))
        events = tf.gather(item_embeddings, history.item_index)
        return self.user_tower(events, history, now, context, user, query, training=training)

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        user: tf.Tensor | None = None,
        text: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Query embeddings of requests, float [B, D]: those of the position behind each history's last event.

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: the newest events of each.
          now: int64 [B], unix seconds of the request, 0 = unknown.
          context: name -> [B], encoded column contexts of the request.
          user: float [B, D] or None.
          text: float [B, D], encoded text queries (zero = none), or None.
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

    def scores(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> tf.Tensor:
        """Logits float [B, N] of queries [B, D] against items [N, D]."""
        return tf.matmul(query_embeddings, item_embeddings, transpose_b=True) / self.temperature

    # --- training --------------------------------------------------------------------------------------------------

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Retrieval + ranking + text-query loss of a batch, each a mean over its targets in the GLOBAL batch.

        Args:
          inputs: `item_index` int32, `values` float, `times` int64, `target` bool, `positive` bool, all [B, L], events
            oldest first, padding (target False) at the end; `labels` float [B, L, labels]; `context` name -> [B, L];
            `user` name -> [B, ...] and `user_presence` bool [B, F] where users have features; `fresh` name -> [R, ...]
            with `fresh_index` int32 [R] (-1 = padding); `spans` int32 [R, Tq] where items have text, and where events
            have text queries of their own what `towers.text_queries` says.

        Returns:
          float []. Summed over replicas it is the loss of the global batch.
        """
        table, _ = self.item_embeddings(encodings=self._refreshed(inputs), training=training)
        index = inputs["item_index"]
        user = self.encode_user(inputs["user"], inputs["user_presence"]) if self.user_encoders else None
        queries = self._encode_queries(inputs, training)
        past = index[:, :-1]
        history = History(
            past, inputs["values"][:, :-1], inputs["times"][:, :-1], tf.fill([tf.shape(past)[0]], tf.shape(past)[1])
        )
        states = self.sequence_embeddings(
            table,
            history,
            inputs["times"],
            inputs["context"],
            user,
            self._position_queries(queries, inputs),
            training=training,
        )
        width = states.shape[-1]
        states, index = tf.reshape(states, [-1, width]), tf.reshape(index, [-1])
        item = tf.gather(table, index)
        target = tf.reshape(inputs["target"], [-1])
        positive = tf.cast(target & tf.reshape(inputs["positive"], [-1]), tf.float32)
        loss = self._retrieval(states, table, item, index, tf.reshape(inputs["times"], [-1]), positive)
        total = self._share("retrieval_loss", loss, tf.reduce_sum(positive))
        if queries is not None:
            total += self.search_weight * self._search_loss(queries, inputs, table)
        if self.ranking_head is not None:
            labels = tf.reshape(inputs["labels"], [-1, len(self.schema.labels)])
            weight = tf.cast(target, tf.float32)
            for name, (loss, count) in self.ranking_head.losses_of(states, item, labels, weight, training).items():
                total += self.ranking_weight * self._share(f"{name}_loss", loss, count)
        return total

    def _retrieval(
        self,
        states: tf.Tensor,
        table: tf.Tensor,
        item: tf.Tensor,
        index: tf.Tensor,
        times: tf.Tensor,
        weight: tf.Tensor,
    ) -> tf.Tensor:
        if self.softmax == "full":
            # An item was not there to be passed over before anybody took it: as a negative it would teach that new
            # items, and content like theirs, are bad ones.
            there = (self.first_times <= times[:, None]) | ((times == 0)[:, None] & (self.probability > 0))
            return full_softmax(self.scores(states, table), index, weight, self.label_smoothing, there)
        return self.in_batch(states, item, index, tf.gather(self.probability, index), weight)

    def _encode_queries(self, inputs: Batch, training: bool) -> tf.Tensor | None:
        if self.query_encoder is None or "spans" not in inputs:
            return None
        return self.encode_query(query_tokens(inputs), training=training)

    def _search_loss(self, queries: tf.Tensor, inputs: Batch, table: tf.Tensor) -> tf.Tensor:
        """A part of an item's text is a query for which that item is the answer; so is what was typed before taking it."""
        items, weight = answers(inputs)
        loss = full_softmax(self.scores(queries, table), items, weight, self.label_smoothing)
        return self._share("search_loss", loss, tf.reduce_sum(weight))

    def _position_queries(self, queries: tf.Tensor | None, inputs: Batch) -> tf.Tensor | None:
        """[B, L, D]: at some positions the query that asks for the target."""
        if queries is None:
            return None
        keep = tf.sign(self.query_dropout(tf.ones(tf.shape(inputs["item_index"])), training=True))
        return at_positions(queries, inputs, keep)

    def _share(self, name: str, loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """This replica's part of the mean over the global batch, which goes into the metric of that name, too."""
        self.step_metrics[name].update_state(tf.math.divide_no_nan(loss, count), sample_weight=count)
        return part_of_mean(loss, count)
