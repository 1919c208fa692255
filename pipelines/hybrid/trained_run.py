"""A finished run opened again: the best epoch's model with what was fitted beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.hybrid.item_index import (
    ItemIndex,
    fit_item_item,
    item_item_id,
    small_catalogue_content,
    trained_index,
)
from pipelines.hybrid.weights import HybridWeights
from pipelines.item_item import storage
from pipelines.item_item.content_similarity import content_factors, content_similarity
from pipelines.item_item.linear import LinearModel
from pipelines.item_item.model import ItemItemModel, training_matrix
from pipelines.item_item.random_walk import random_walk
from pipelines.model.checkpoints import restore_best
from pipelines.model.encoding_store import EncodingStore
from pipelines.model.session import Session, open_session, records_id
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.scoring.requests import Requests
from pipelines.search.fitting import text_index
from pipelines.search.text_index import TextIndex, TextModel
from tfrecs.errors import DataError
from tfrecs.schema import Manifest
from towers.hybrid import NEIGHBOURS, WALK, HybridScore

__all__ = ["TrainedRun", "load_trained"]


@dataclass(frozen=True)
class TrainedRun(Session):
    """A session with the weights of a run's best epoch, and what the run fitted beside the model.

    Attributes:
      hybrid_weights: of the hybrid score; None where the run has learned none.
      text_model: of text search; None where items have neither text nor titles.
      folder: of the run, where the fitted item-item model is kept; None: it is fitted here.
    """

    hybrid_weights: HybridWeights | None = None
    text_model: TextModel | None = None
    folder: Path | None = None

    @cached_property
    def content_features(self) -> dict[str, sp.csr_matrix]:
        """See `small_catalogue_content`."""
        return small_catalogue_content(self, self.catalogue)

    @cached_property
    def content_similarity(self) -> np.ndarray | None:
        """float32 [N, N] of the catalogue; None where there is no plain content, or too much of it."""
        return content_similarity(self.content_features) if self.content_features else None

    @cached_property
    def item_item(self) -> ItemItemModel | None:
        """The item-item model of the whole catalogue; its cold items are not completed."""
        weights = self.hybrid_weights
        if weights is None:
            return None

        def fit() -> ItemItemModel:
            similarity = self.content_similarity if weights.content_weight else None
            return fit_item_item(self, weights.ease, similarity, self.content_features)

        if self.folder is None:
            return fit()
        return storage.load_or_fit(self.folder, item_item_id(self, weights.ease), fit)

    @cached_property
    def _train(self) -> sp.csr_matrix:
        """See `training_matrix`."""
        return training_matrix(self.events, len(self.catalogue))

    @cached_property
    def _linear(self) -> LinearModel:
        """What the log says for the linear item-item model, whatever the content."""
        return LinearModel(self._train, self.config.hybrid)

    @cached_property
    def text_index(self) -> TextIndex | None:
        """Text search over the texts of the catalogue; None where no request has a text."""
        if self.text_model is None or not self.manifest.schema_.has_queries:
            return None
        return text_index(self.text_model, self.model, self.catalogue, self.config)

    def item_index(self) -> ItemIndex:
        """Embed the catalogue as it was trained."""
        return trained_index(self, self._similarity(self.items.presence, None))

    def hybrid_score(self, index: ItemIndex, rows: int | None = None) -> HybridScore | None:
        """Return the hybrid score over the items of an index; None where the run has learned none.

        Args:
          index: of this or another catalogue.
          rows: number of items to pad the score to; None: those of the index.
        """
        return self._hybrid_score(self.item_item, index, len(index) if rows is None else rows)

    def with_content(
        self, presence: np.ndarray, order: np.ndarray | None = None
    ) -> tuple[tf.Tensor, HybridScore | None, TextIndex | None]:
        """Embed the catalogue where items have only some of their content, and makes the scores that go with it.

        Args:
          presence: bool [N, M], the modalities that each item has.
          order: int64 [N], the item whose content each one has; None: its own.

        Returns:
          item embeddings float [N, D], hybrid score and text index: what `ModelScorer` takes behind the requests.
        """
        similarity, item_item, texts = self._similarity(presence, order), self.item_item, self.text_index
        index = trained_index(self, similarity, presence, order)
        if item_item is not None and self.content_features and not self._is_own_content(presence, order):
            item_item = self._item_item_with(item_item, similarity, self._features(presence, order))
        if texts is not None and self.model.query_encoder is not None:
            column = self.manifest.schema_.modalities.index(self.model.query_encoder.schema.name)
            texts = texts.with_texts(presence[:, column], order)
        return tf.constant(index.item_embeddings), self._hybrid_score(item_item, index, len(index)), texts

    def scorer(self, requests: Requests) -> ModelScorer:
        """Return the scorer of the trained model as it is exported: towers, hybrid score and text queries."""
        return ModelScorer(ModelGraphs(self.model), requests, *self.with_content(self.items.presence))

    def _item_item_with(
        self, item_item: ItemItemModel, similarity: np.ndarray | None, features: dict[str, sp.csr_matrix]
    ) -> ItemItemModel:
        """The item-item model where items have other plain content; links that content has no part in are shared."""
        weights, links = self.hybrid_weights, dict(item_item.links)
        if weights is not None and weights.content_weight:
            linear = self._linear.with_content(similarity, content_factors(features))
            links[NEIGHBOURS] = linear.links(weights.ease)
        if weights is not None and weights.takes(WALK) and self.config.hybrid.walk_content:
            links[WALK] = random_walk(self._train, features, self.config.hybrid)
        return replace(item_item, links=links)

    def _is_own_content(self, presence: np.ndarray, order: np.ndarray | None) -> bool:
        return order is None and np.array_equal(presence, self.items.presence)

    def _similarity(self, presence: np.ndarray, order: np.ndarray | None) -> np.ndarray | None:
        """Content similarity where items have only some of their content, or None where nothing depends on it."""
        ease_takes_it = self.hybrid_weights is not None and self.hybrid_weights.content_weight
        if not self.is_cold.any() and not ease_takes_it:
            return None
        if self._is_own_content(presence, order):
            return self.content_similarity
        features = self._features(presence, order)
        return content_similarity(features) if features else None

    def _features(self, presence: np.ndarray, order: np.ndarray | None) -> dict[str, sp.csr_matrix]:
        """Plain content where items have only some of theirs."""
        features = {}
        for name, rows in self.content_features.items():
            has_feature = sp.diags(presence[:, self.manifest.schema_.modalities.index(name)].astype(np.float32))
            features[name] = has_feature @ (rows if order is None else rows[order])
        return features

    def _hybrid_score(self, item_item: ItemItemModel | None, index: ItemIndex, rows: int) -> HybridScore | None:
        weights, settings = self.hybrid_weights, self.config.hybrid
        if weights is None or item_item is None:
            return None
        kept = settings.kept_cold_links(len(index.trained))
        model = item_item.for_catalogue(index.trained, index.cold_start, kept).padded(rows)
        score = model.hybrid_score(weights.weights, weights.cold_weights, weights.softness)
        return score.exploring(settings.explore)


def load_trained(run: RunFolder) -> TrainedRun:
    """Open the best epoch of a run, on the CPU or GPU that is there.

    Raises:
      DataError: its records have grown since, or its weights are not those of this model.
    """
    records, config = run.load()
    items, trained = Manifest.load(records).items, run.described().get("items")
    if trained not in (None, items):
        raise DataError(
            f"{records}: has {items:,} items, {run.path} was trained on {trained:,} of them; take its model on with "
            f"triptych train --continue {run.path}"
        )
    session = open_session(records, config, tf.distribute.get_strategy(), pretrained=False)
    restore_best(run, "it was trained by another version of Triptych: train again", model=session.model)
    if not session.model.stores_encodings:
        store = EncodingStore(run.encodings(config.train.encodings_folder), records_id(records))
        encode = tf.function(session.model.encode_items, autograph=False)
        store.fill(session.model, encode, session.items, config.train.encode_batch_size)
    return TrainedRun(
        **{field.name: getattr(session, field.name) for field in fields(Session)},
        hybrid_weights=HybridWeights.load(run.path),
        text_model=TextModel.load(run) if run.lexicon.is_file() else None,
        folder=run.path,
    )
