"""A trained model as a scorer: the same arithmetic that the exported signatures do, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.model.prepared_items import context_encoder
from pipelines.scoring.requests import Queries, Requests
from pipelines.search.lexical_scorer import Words
from tfrecs.reading.reader import user_features
from tfrecs.schema import History
from towers.hybrid import HybridScore
from towers.two_tower import TwoTower


def pad_history(sequences: Sequence[np.ndarray], length: int, dtype: type) -> np.ndarray:
    """The newest `length` entries of each sequence, at the left of [B, length], zeros behind them."""
    padded: np.ndarray = np.zeros([len(sequences), length], dtype)
    for row, sequence in enumerate(sequences):
        newest = sequence[-length:]
        padded[row, : len(newest)] = newest
    return padded


class ModelScorer:
    """Scores held-out requests with a model.

    Args:
      model: with its cache refreshed.
      requests: the requests; scorers are called with slices of `requests.queries`.
      table: float [N, D], the items' embeddings; None: all that the model knows of the catalogue.
      hybrid: over the items of the table; None: the towers' scores alone.
      words: what the words of text queries say of these items; None: what their encodings say, alone.
    """

    def __init__(
        self,
        model: TwoTower,
        requests: Requests,
        table: tf.Tensor | None = None,
        hybrid: HybridScore | None = None,
        words: Words | None = None,
    ):
        self.model, self.requests, self.hybrid, self.words = model, requests, hybrid, words
        self.texts = None if model.query_encoder is None else requests.texts
        self.table = model.item_embeddings()[0] if table is None else table
        self.encode_context, _ = context_encoder(model.schema.context)
        self._request = tf.function(self._last_states, reduce_retracing=True)
        self._search = tf.function(self._found, reduce_retracing=True)
        self._head = tf.function(self._label_logits, reduce_retracing=True)

    def with_items(
        self, embeddings: tf.Tensor, hybrid: HybridScore | None = None, words: Words | None = None
    ) -> ModelScorer:
        """Return a scorer of the same requests over other item embeddings; it shares the graphs that were traced.

        Args:
          embeddings: float [N, D].
          hybrid: over these items; None: the towers' scores alone.
          words: of the texts of these items; None: without lexical scores.
        """
        scorer = copy.copy(self)
        scorer.table, scorer.hybrid, scorer.words = embeddings, hybrid, words
        return scorer

    def _label_logits(self, states: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {} if self.model.ranking_head is None else self.model.ranking_head.logits(states, items, training=False)

    def _last_states(
        self,
        history: History,
        now: tf.Tensor,
        context: dict[str, tf.Tensor],
        users: tf.Tensor,
        table: tf.Tensor,
        texts: tf.Tensor | None,
    ) -> tf.Tensor:
        user = None
        if self.model.user_encoders:
            decoded, presence = user_features(self.model.schema, users)
            inputs = {name: encoder.preprocess(decoded[name]) for name, encoder in self.model.user_encoders.items()}
            user = self.model.encode_user(inputs, presence)
        text = None
        if texts is not None:
            text = tf.where((tf.strings.strip(texts) != "")[:, None], self._encoded(texts), 0.0)
        return self.model.query_embeddings(table, history, now, self.encode_context(context), user, text)

    def _encoded(self, texts: tf.Tensor) -> tf.Tensor:
        assert self.model.query_encoder is not None
        return self.model.encode_query(self.model.query_encoder.preprocess_query(texts))

    def _found(self, texts: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
        return self.model.scores(self._encoded(texts), table)

    def states(self, queries: Queries) -> tf.Tensor:
        """Query embeddings float [q, D] of a slice of the requests."""
        rows = queries.rows
        return self._request(
            self._history(queries),
            tf.constant(queries.times),
            {name: tf.constant(value[rows]) for name, value in self.requests.context.items()},
            tf.constant(self.requests.users[rows], tf.string),
            self.table,
            None if self.texts is None else tf.constant(self.texts[rows], tf.string),
        )

    def _history(self, queries: Queries) -> History:
        """The newest L events of each query."""
        rows, length = queries.rows, self.model.user_tower.max_history
        return History(
            tf.constant(pad_history(queries.histories, length, np.int32)),
            tf.constant(pad_history([self.requests.values[row] for row in rows], length, np.float32)),
            tf.constant(pad_history([self.requests.event_times[row] for row in rows], length, np.int64)),
            tf.constant([min(len(history), length) for history in queries.histories], tf.int32),
        )

    def tower(self, queries: Queries) -> tf.Tensor:
        """The towers' own scores, float [q, N]."""
        return self.model.scores(self.states(queries), self.table)

    def __call__(self, queries: Queries) -> np.ndarray:
        tower = self.tower(queries)
        if self.hybrid is not None:
            history = self._history(queries)
            tower = self.hybrid(tower, history.item_index, history.length)
        scores = tower.numpy()
        if self.texts is None or self.words is None:
            return scores
        return scores + self.words(self.texts[queries.rows].tolist())

    def search(self, queries: Queries) -> np.ndarray:
        """What the texts ask for, whoever asks: float32 [q, N], as the signature `search` scores it. Each has a text."""
        if self.texts is None:
            raise ValueError("these requests have no text, or the model takes none")
        texts = self.texts[queries.rows]
        scores = self._search(tf.constant(texts, tf.string), self.table).numpy()
        return scores if self.words is None else self.words.lexicon.dense * scores + self.words(texts.tolist())

    def all_states(self, batch: int) -> np.ndarray:
        """Query embeddings float32 [Q, D] of all requests."""
        parts = [
            self.states(self.requests.queries.slice(start, start + batch)).numpy()
            for start in range(0, len(self.requests), batch)
        ]
        return np.concatenate(parts) if parts else np.zeros([0, self.table.shape[1]], np.float32)

    def logits(self, states: np.ndarray, items: np.ndarray, batch: int) -> dict[str, np.ndarray]:
        """Label -> logits float32 of the ranking head, before calibration; none without a head.

        Args:
          states: float [E, D].
          items: int [E] or [E, C], the item, or items, that each state is asked about.
          batch: states at a time.
        """
        parts: dict[str, list[np.ndarray]] = {label.name: [] for label in self.model.schema.labels}
        for start in range(0, len(items), batch) if self.model.ranking_head is not None else ():
            some = items[start : start + batch]
            # As rows of one matrix, so that one graph serves both forms.
            state = np.repeat(states[start : start + batch], some[0].size, axis=0)
            found = self._head(tf.constant(state), tf.gather(self.table, tf.constant(some.reshape(-1))))
            for name, value in found.items():
                parts[name].append(value.numpy().reshape(some.shape))
        empty = np.zeros(items.shape, np.float32)
        return {name: np.concatenate(values) if values else empty for name, values in parts.items()}

    def pair_logits(self, states: np.ndarray, batch: int) -> dict[str, np.ndarray]:
        """Label -> logits float32 [E] for the requests' held-out events; `states` from `all_states`."""
        return self.logits(states[self.requests.pair_rows], self.requests.pair_items, batch)
