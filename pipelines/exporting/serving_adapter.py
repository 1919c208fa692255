"""The trained towers as the `RecommenderModel` of the serving contract: raw inputs in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.model.request_encoder import RequestEncoder
from tfrecs.reading.features import feature_for
from tfrecs.schema import FeatureSchema, History
from towers.encoders.base import TextQueryEncoder
from towers.hybrid import TOWER, HybridScore
from towers.two_tower import TwoTower


class TowerRecommender:
    """Implements `serving.graph.contract.RecommenderModel` for a `TwoTower`.

    Args:
      model: the trained towers.
      hybrid: hybrid score over the items of the export; None for the towers' scores alone.
    """

    def __init__(self, model: TwoTower, hybrid: HybridScore | None):
        self.model, self.hybrid = model, hybrid
        self.schema = model.schema
        self.max_history = model.user_tower.max_history
        self.has_text = model.query_encoder is not None
        self.max_score_weight = 1.0 if hybrid is None else max(hybrid.weights.get(TOWER, (0.0, 0.0)))
        self._encoder = RequestEncoder(model)
        self.trackables: Sequence[Any] = [
            *model.item_encoders.values(),
            *model.center.values(),
            *model.spread.values(),
            *model.user_encoders.values(),
            *model.user_projections.values(),
            model.item_tower,
            model.user_tower,
            *([model.codes] if model.codes else []),
            *([model.ranking_head] if model.ranking_head else []),
            *([model.search_head] if model.search_head else []),
            *([hybrid] if hybrid else []),
            *self._encoder.tables,
        ]

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        texts: tf.Tensor,
        extra: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        users = _decode(self.schema.users, extra) if self.schema.users else None
        return self._encoder.query_embeddings(
            item_embeddings, history, now, extra, users, texts if self.has_text else None
        )

    def text_embeddings(self, texts: tf.Tensor) -> tf.Tensor:
        return self._encoder.text_embeddings(texts)

    def score_queries(self, query_embeddings: tf.Tensor) -> tf.Tensor:
        # As `TwoTower.scores`, but the temperature divides [B, D] values and not [B, N].
        return query_embeddings / self.model.temperature

    def hybrid_scores(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        if self.hybrid is None:
            return scores
        chosen = self.chosen(history)
        return self.hybrid(scores, chosen.item_index, chosen.length)

    def score_weights(self, index: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(index, tf.float32) if self.hybrid is None else self.hybrid.tower_weights(index)

    def chosen(self, history: History) -> History:
        return self.model.chosen(history)

    def labels(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        head = self.model.ranking_head
        return {} if head is None else head(query_embeddings, item_embeddings)

    def embed_items(self, raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        values, presence = _decode(self.schema.items, raw)
        inputs = {name: encoder.preprocess(values[name]) for name, encoder in self.model.item_encoders.items()}
        embeddings, weights, _ = self.model.embed_items(inputs, presence)
        return embeddings, weights, _given(self.schema.items, raw) & ~presence

    def item_specs(self) -> dict[str, tf.TensorSpec]:
        return {feature.name: feature_for(feature).raw_spec for feature in self.schema.items}

    def item_formats(self) -> dict[str, str]:
        return {feature.name: feature_for(feature).raw_formats for feature in self.schema.items}

    def extra_specs(self) -> dict[str, tf.TensorSpec]:
        dtypes = {"categories": tf.string, "number": tf.float32}
        context = {
            row.name: tf.TensorSpec([None], dtypes[row.kind]) for row in self.schema.context if row.source == "column"
        }
        return {**context, **{feature.name: feature_for(feature).raw_spec for feature in self.schema.users}}


def meaning_encoder(encoder: TextQueryEncoder, transform: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make the function of strings [B] that gives unit vectors float [B, d], as `SemanticModel.queries` does in Python."""
    matrix = tf.constant(transform)

    def encode(texts: tf.Tensor) -> tf.Tensor:
        token_ids = encoder.preprocess(texts)
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(token_ids != 0, tf.int32), axis=1))
        # Queries are short; what all of them lack need not be computed.
        encodings = encoder(token_ids[:, :longest])
        return tf.math.l2_normalize(tf.matmul(tf.math.l2_normalize(encodings, axis=1), matrix), axis=1)

    return encode


def _decode(
    features: tuple[FeatureSchema, ...], raw: Mapping[str, tf.Tensor]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Decode raw features: name -> values [B, ...], and presence bool [B, M]."""
    values, presence = {}, []
    for schema in features:
        values[schema.name], present = feature_for(schema).decode_raw(raw[schema.name])
        presence.append(present)
    return values, tf.stack(presence, axis=-1)


def _given(features: tuple[FeatureSchema, ...], raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """bool [B, M]: whether anything was sent for that modality; "" and NaN do not count."""
    columns = []
    for feature in features:
        value = raw[feature.name]
        given = value != "" if value.dtype == tf.string else ~tf.math.is_nan(value)
        columns.append(tf.reduce_any(given, axis=list(range(1, value.shape.rank))))
    return tf.stack(columns, axis=-1)
