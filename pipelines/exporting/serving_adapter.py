"""The trained towers as the serving contract's `RecommenderModel`: raw inputs in, embeddings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipelines.model.request_encoder import RequestEncoder
from serving.graph.top_k import inner_products
from tfrecs.reading.features import feature_for
from tfrecs.schema import FeatureSchema, History
from towers.hybrid import HybridScore
from towers.two_tower import TwoTower


class TowerRecommender:
    """Implements `serving.graph.contract.RecommenderModel` for a `TwoTower`; `hybrid` is over the items of the index."""

    def __init__(self, model: TwoTower, hybrid: HybridScore | None):
        self.model, self.hybrid = model, hybrid
        self.schema = model.schema
        self.history = model.user_tower.max_history
        self.has_text = model.query_encoder is not None
        self.encoder = RequestEncoder(model)
        self.trackables: Sequence[Any] = [
            *model.item_encoders.values(),
            *model.center.values(),
            *model.spread.values(),
            *model.user_encoders.values(),
            *model.user_projections.values(),
            model.item_tower,
            model.user_tower,
            *([model.ranking_head] if model.ranking_head else []),
            *([model.search_head] if model.search_head else []),
            *([hybrid] if hybrid else []),
            *self.encoder.tables,
        ]

    def request(
        self,
        table: tf.Tensor,
        history: History,
        now: tf.Tensor,
        query: tf.Tensor,
        extra: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        users = _raw(self.schema.users, extra) if self.schema.users else None
        texts = query if self.has_text else None
        return self.encoder.query_embeddings(table, history, now, extra, users, texts)

    def search(self, query: tf.Tensor) -> tf.Tensor:
        return self.encoder.text_embeddings(query)

    def scores(self, states: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        # As `TwoTower.scores`, but the temperature costs a pass over the queries instead of one over the scores.
        return inner_products(states / self.model.temperature, tf.convert_to_tensor(items))

    def blend(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        return scores if self.hybrid is None else self.hybrid(scores, history.item_index, history.length)

    def labels(self, states: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.model.ranking_head(states, items) if self.model.ranking_head is not None else {}

    def embed(self, raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        values, presence = _raw(self.schema.items, raw)
        inputs = {name: encoder.preprocess(values[name]) for name, encoder in self.model.item_encoders.items()}
        embedding, weights = self.model.embed_items(inputs, presence)
        return embedding, weights, _given(self.schema.items, raw) & ~presence

    def raw_specs(self) -> dict[str, tf.TensorSpec]:
        return {feature.name: feature_for(feature).raw_spec for feature in self.schema.items}

    def extra_specs(self) -> dict[str, tf.TensorSpec]:
        dtypes = {"categories": tf.string, "number": tf.float32}
        context = {
            row.name: tf.TensorSpec([None], dtypes[row.kind]) for row in self.schema.context if row.source == "column"
        }
        return {**context, **{feature.name: feature_for(feature).raw_spec for feature in self.schema.users}}


def _raw(features: tuple[FeatureSchema, ...], raw: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    values, presence = {}, []
    for schema in features:
        values[schema.name], there = feature_for(schema).decode_raw(raw[schema.name])
        presence.append(there)
    return values, tf.stack(presence, axis=-1)


def _given(features: tuple[FeatureSchema, ...], raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """bool [B, M]: anything at all was sent for that modality; "" and NaN are nothing."""
    columns = []
    for feature in features:
        value = raw[feature.name]
        there = value != "" if value.dtype == tf.string else ~tf.math.is_nan(value)
        columns.append(tf.reduce_any(there, axis=list(range(1, value.shape.rank))))
    return tf.stack(columns, axis=-1)
