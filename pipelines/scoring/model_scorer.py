"""A trained model as a scorer of held-out requests: the same arithmetic that the exported signatures do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from pipelines.model.request_encoder import RequestEncoder
from pipelines.runs.progress import progress
from pipelines.scoring.requests import Queries, Requests
from pipelines.search.text_index import TextIndex
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


class ModelGraphs:
    """The traced functions of a model. Scorers of the same model share one, so that nothing is traced twice.

    Args:
      model: the trained towers, with their cache filled.

    Attributes:
      model: the trained towers.
      query_embeddings: `RequestEncoder.query_embeddings`, with users as serialized Examples.
      text_scores: (texts string [q], item embeddings [N, D]) -> float [q, N].
      label_logits: (query embeddings, item embeddings [E, D]) -> label -> float [E]; {} without a ranking head.
    """

    def __init__(self, model: TwoTower):
        self.model = model
        self._encoder = RequestEncoder(model)
        self.query_embeddings = tf.function(self._query_embeddings, reduce_retracing=True, autograph=False)
        self.text_scores = tf.function(self._text_scores, reduce_retracing=True, autograph=False)
        self.label_logits = tf.function(self._label_logits, reduce_retracing=True, autograph=False)

    def _query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: dict[str, tf.Tensor],
        users: tf.Tensor,
        texts: tf.Tensor | None,
    ) -> tf.Tensor:
        decoded = user_features(self.model.schema, users) if self.model.user_encoders else None
        return self._encoder.query_embeddings(item_embeddings, history, now, context, decoded, texts)

    def _text_scores(self, texts: tf.Tensor, item_embeddings: tf.Tensor) -> tf.Tensor:
        return self.model.scores(self._encoder.text_embeddings(texts), item_embeddings)

    def _label_logits(self, queries: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {} if self.model.ranking_head is None else self.model.ranking_head.logits(queries, items, training=False)


@dataclass(frozen=True, eq=False)
class ModelScorer:
    """Scores held-out requests with a model; see `with_items` for other items, `dataclasses.replace` for other requests.

    Attributes:
      graphs: the model's traced functions.
      requests: the requests; the scorer is called with slices of `requests.queries`.
      item_embeddings: float [N, D] of the catalogue.
      hybrid: over the same items; None: the towers' scores alone.
      text_index: scores of text queries over the same items; None: their encodings alone, where the model takes text.
    """

    graphs: ModelGraphs
    requests: Requests
    item_embeddings: tf.Tensor
    hybrid: HybridScore | None = None
    text_index: TextIndex | None = None

    @classmethod
    def of_towers(cls, model: TwoTower, requests: Requests) -> ModelScorer:
        """The towers' scores alone, over the whole catalogue of the model."""
        return cls(ModelGraphs(model), requests, model.item_embeddings()[0])

    def with_items(
        self, item_embeddings: tf.Tensor, hybrid: HybridScore | None = None, text_index: TextIndex | None = None
    ) -> ModelScorer:
        """A scorer of the same requests over other items; arguments as the attributes."""
        return replace(self, item_embeddings=item_embeddings, hybrid=hybrid, text_index=text_index)

    @property
    def model(self) -> TwoTower:
        return self.graphs.model

    @property
    def texts(self) -> np.ndarray | None:
        """str [Q], what was typed; None where nothing takes text or the requests have none."""
        return None if self.model.query_encoder is None and self.text_index is None else self.requests.texts

    def query_embeddings(self, queries: Queries) -> tf.Tensor:
        """Query embeddings float [q, D] of a slice of the requests."""
        rows = queries.rows
        return self.graphs.query_embeddings(
            self.item_embeddings,
            self.history(queries),
            tf.constant(queries.times),
            {name: tf.constant(value[rows]) for name, value in self.requests.context.items()},
            tf.constant(self.requests.users[rows], tf.string),
            None
            if self.texts is None or self.model.query_encoder is None
            else tf.constant(self.texts[rows], tf.string),
        )

    def history(self, queries: Queries) -> History:
        """The newest L events of each query."""
        rows, length = queries.rows, self.model.user_tower.max_history
        return History(
            tf.constant(pad_history(queries.histories, length, np.int32)),
            tf.constant(pad_history([self.requests.values[row] for row in rows], length, np.float32)),
            tf.constant(pad_history([self.requests.event_times[row] for row in rows], length, np.int64)),
            tf.constant([min(len(history), length) for history in queries.histories], tf.int32),
        )

    def tower_scores(self, queries: Queries) -> tf.Tensor:
        """The towers' own scores, float [q, N]."""
        return self.model.scores(self.query_embeddings(queries), self.item_embeddings)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Final scores float32 [q, N]: towers, hybrid and text search, as the signature `recommend` adds them up."""
        return next(self.blocks(queries, len(self.item_embeddings)))

    def blocks(self, queries: Queries, size: int) -> Iterator[np.ndarray]:
        """The same, `size` items after the other: float32 [q, size]; the last block may be smaller."""
        embeddings = self.query_embeddings(queries)
        history = None if self.hybrid is None else self.model.chosen(self.history(queries))
        matches = None
        if self.texts is not None and self.text_index is not None:
            matches = self.text_index.blocks(self.texts[queries.rows].tolist(), size)
        for start in range(0, len(self.item_embeddings), size):
            items = self.item_embeddings[start : start + size]
            scores = self.model.scores(embeddings, items)
            if self.hybrid is not None and history is not None:
                hybrid = self.hybrid if len(items) == self.hybrid.num_items else self.hybrid.of_items(start, len(items))
                scores = hybrid(scores, history.item_index, history.length)
            block = scores.numpy()
            yield block if matches is None else block + next(matches)

    def search(self, queries: Queries) -> np.ndarray:
        """Scores float32 [q, N] by the requests' texts alone. Each must have a text."""
        if self.texts is None:
            raise ValueError("these requests have no text, or the model takes none")
        return self.search_texts(self.texts[queries.rows].tolist())

    def search_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Scores float32 [q, N] of text queries, as the signature `search` computes them."""
        if self.model.query_encoder is None:
            if self.text_index is None:
                raise ValueError("items have neither text nor titles, so there is no text query")
            return self.text_index(texts)
        scores = self.graphs.text_scores(tf.constant(texts, tf.string), self.item_embeddings).numpy()
        return scores if self.text_index is None else self.text_index.dense_weight * scores + self.text_index(texts)

    def all_query_embeddings(self, batch: int) -> np.ndarray:
        """Query embeddings float32 [Q, D] of all requests, `batch` at a time."""
        parts = []
        with progress("query embeddings", "requests") as advance:
            for start in range(0, len(self.requests), batch):
                parts.append(self.query_embeddings(self.requests.queries.slice(start, start + batch)).numpy())
                advance(start + len(parts[-1]), len(self.requests))
        return np.concatenate(parts) if parts else np.zeros([0, self.item_embeddings.shape[1]], np.float32)

    def logits(self, query_embeddings: np.ndarray, items: np.ndarray, batch: int) -> dict[str, np.ndarray]:
        """Logits of the ranking head before calibration, label -> float32 of the shape of `items`; zeros without a head.

        Args:
          query_embeddings: float [E, D].
          items: int [E] or [E, C], the item, or items, to predict for each query.
          batch: queries at a time.
        """
        parts: dict[str, list[np.ndarray]] = {label.name: [] for label in self.model.schema.labels}
        with progress("ranking head", "requests") as advance:
            for start in range(0, len(items), batch) if self.model.ranking_head is not None else ():
                part = items[start : start + batch]
                # As rows of one matrix, so that one graph serves both forms.
                repeated = np.repeat(query_embeddings[start : start + batch], part[0].size, axis=0)
                embeddings = tf.gather(self.item_embeddings, tf.constant(part.reshape(-1)))
                for name, value in self.graphs.label_logits(tf.constant(repeated), embeddings).items():
                    parts[name].append(value.numpy().reshape(part.shape))
                advance(start + len(part), len(items))
        empty = np.zeros(items.shape, np.float32)
        return {name: np.concatenate(values) if values else empty for name, values in parts.items()}

    def pair_logits(self, query_embeddings: np.ndarray, batch: int) -> dict[str, np.ndarray]:
        """Logits float32 [E], by label, of the requests' held-out events; see `all_query_embeddings` and `logits`."""
        return self.logits(query_embeddings[self.requests.pair_rows], self.requests.pair_items, batch)
