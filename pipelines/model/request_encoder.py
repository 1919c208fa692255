"""Raw requests to query embeddings: the one path that evaluation, the parity check and the exported graph share."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from pipelines.model.prepared_items import context_encoder
from tfrecs.schema import History
from towers.two_tower import TwoTower

UserValues = tuple[Mapping[str, tf.Tensor], tf.Tensor]
"""Decoded user features, name -> [B, ...], and their presence, bool [B, F]."""


class RequestEncoder:
    """Encodes requests and text queries with a trained model; every method may be traced into a graph.

    Args:
      model: the trained towers.

    Attributes:
      model: the trained towers.
      tables: look-up tables of the column contexts; a SavedModel must track them.
    """

    def __init__(self, model: TwoTower):
        self.model = model
        self._encode_context, self.tables = context_encoder(model.schema.context)

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        context: Mapping[str, tf.Tensor],
        users: UserValues | None = None,
        texts: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Embed requests in the space of the items.

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: the newest L events of each user.
          now: int64 [B], unix seconds of the request; 0 = unknown.
          context: raw column contexts, name -> string or float [B]; "" and NaN are unknown. Other names are ignored.
          users: decoded user features; None where the data set has none.
          texts: string [B], what the user typed, "" = nothing; None where no request has a text.

        Returns:
          float [B, D].
        """
        user = None
        if users is not None:
            features, presence = users
            inputs = {name: encoder.preprocess(features[name]) for name, encoder in self.model.user_encoders.items()}
            user = self.model.encode_user(inputs, presence)
        text = None if texts is None else self._optional_text_embeddings(texts, item_embeddings.shape[1])
        encoded = self._encode_context(context)
        return self.model.query_embeddings(item_embeddings, history, now, encoded, user, text)

    def text_embeddings(self, texts: tf.Tensor) -> tf.Tensor:
        """Embed text queries: string [B] -> float [B, D].

        Raises:
          ValueError: the data set has no text feature.
        """
        if self.model.query_encoder is None:
            raise ValueError("this data set has no text feature, so there is no text query")
        return self.model.encode_query(self.model.query_encoder.preprocess_query(texts))

    def _optional_text_embeddings(self, texts: tf.Tensor, dim: int) -> tf.Tensor:
        """float [B, D], zeros where the text is blank."""
        has_text = tf.strings.strip(texts) != ""
        # Most requests have no text, and the text encoder costs as much as all the rest.
        return tf.cond(
            tf.reduce_any(has_text),
            lambda: tf.where(has_text[:, None], self.text_embeddings(texts), 0.0),
            lambda: tf.zeros([tf.shape(texts)[0], dim]),
        )
