"""The SavedModel contract: names, inputs and outputs of the signatures, and what they need of a model.

Shape letters: B requests, L history length, E exclusions, C categories, C' candidates, k results, M modalities,
D embedding dimension, N items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfrecs.schema import History, Schema

RECOMMEND, RANK, SEARCH, SIMILAR, EMBED_ITEMS = "recommend", "rank", "search", "similar", "embed_items"
GENERATE, RECOMMEND_SIMPLE = "generate", "recommend_simple"
DEFAULT = "serving_default"
VERSION = 2
"""Of this contract. In 2 every input has the batch axis; in 1, of exports without the field, `k` is a scalar."""

Generator = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Query embeddings float [B, D] -> items int32 [B, W], different ones, -1 = none, and scores float [B, W], -inf there."""


class RecommenderModel(Protocol):
    """The model behind the signatures, which know nothing else of the towers.

    Attributes:
      schema: schema of the records that the model was trained on.
      max_history: L, the number of newest events that the model uses.
      has_text: whether the model encodes text queries.
      trackables: objects that hold its variables and look-up tables, which are saved with it.
      max_score_weight: the largest of `score_weights`.
    """

    schema: Schema
    max_history: int
    has_text: bool
    trackables: Sequence[Any]
    max_score_weight: float

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        texts: tf.Tensor,
        extra: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Embed requests.

        Args:
          item_embeddings: float [N, D], what `history.item_index` points into.
          history: the newest L events of each user.
          now: int64 [B], unix seconds of the request; 0 = unknown.
          texts: string [B], text queries; "" = none.
          extra: raw column contexts and user features, by input name; see `extra_specs`.

        Returns:
          float [B, D].
        """

    def text_embeddings(self, texts: tf.Tensor) -> tf.Tensor:
        """Embed text queries in the space of the items: string [B] -> float [B, D]."""

    def score_queries(self, query_embeddings: tf.Tensor) -> tf.Tensor:
        """Vectors whose inner products with item embeddings are the scores: float [B, D] -> [B, D]."""

    def hybrid_scores(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        """Add item-item statistics of the history to weighted scores: float [B, N] -> [B, N]."""

    def score_weights(self, index: tf.Tensor) -> tf.Tensor:
        """What `hybrid_scores` multiplies the scores of items by, at least 0: int32 [B, P] -> float [B, P]."""

    def chosen(self, history: History) -> History:
        """Return the events that speak for their items, not those of weight 0 or below: only these explain a result."""

    def labels(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predict the labels of pairs: float [..., D] and [..., D] -> label -> float [...]."""

    def embed_items(self, raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Embed items by their content.

        Args:
          raw: one input per modality; see `item_specs`.

        Returns:
          Embeddings float [B, D]; modality weights float [B, M]; and bool [B, M], the modalities in the order of
          `item_specs` that were given but cannot be used, such as a broken file or a vector with a NaN.
        """

    def item_specs(self) -> dict[str, tf.TensorSpec]:
        """Inputs of `embed_items`: modality -> spec of its raw form [B, ...]."""

    def item_formats(self) -> dict[str, str]:
        """The formats that `embed_items` reads, in words: modality -> such as "JPEG or PNG"; "" = no files."""

    def extra_specs(self) -> dict[str, tf.TensorSpec]:
        """Further inputs of `recommend` and `rank`, for column contexts and user features: name -> spec [B, ...]."""


def request_specs() -> dict[str, tf.TensorSpec]:
    """Inputs that describe a request, shared by `recommend` and `rank`."""
    return {
        "history_ids": tf.TensorSpec([None, None], tf.string, "history_ids"),
        "history_values": tf.TensorSpec([None, None], tf.float32, "history_values"),
        "history_times": tf.TensorSpec([None, None], tf.int64, "history_times"),
        "now": tf.TensorSpec([None], tf.int64, "now"),
        "query": tf.TensorSpec([None], tf.string, "query"),
        "exclude_ids": tf.TensorSpec([None, None], tf.string, "exclude_ids"),
        "categories": tf.TensorSpec([None, None], tf.string, "categories"),
        "diversity": tf.TensorSpec([None], tf.float32, "diversity"),
    }


def neutral(spec: tf.TensorSpec, history_ids: tf.Tensor) -> tf.Tensor:
    """The value of an input of `recommend` that says nothing: "" or NaN, 0 for times and diversity.

    Args:
      spec: of the input, [B, ...].
      history_ids: string [B, L].
    """
    rows = tf.shape(history_ids)
    events = spec.name in ("history_values", "history_times")
    sizes = [rows[1] if events else 1 if size is None else size for size in spec.shape[1:]]
    value: Any = "" if spec.dtype == tf.string else float("nan")
    if spec.dtype.is_integer or spec.name == "diversity":
        value = 0
    return tf.fill([rows[0], *sizes], tf.constant(value, spec.dtype))


def describe(
    schema: Schema, signatures: Sequence[str], items: int, versions: Mapping[str, str], index_dtype: str
) -> str:
    """The text of `triptych.json`, with facts that the signatures of a SavedModel do not show.

    Args:
      schema: schema of the records.
      signatures: names of the signatures.
      items: number of items.
      versions: package -> version that it was made with.
      index_dtype: of the table that a request scans; float32 rows are there beside any other.
    """
    content = {
        "contract": VERSION,
        "signatures": list(signatures),
        "items": items,
        "index_dtype": index_dtype,
        "modalities": list(schema.modalities),
        "labels": [label.model_dump(mode="json") for label in schema.labels],
        "context": [row.model_dump(mode="json") for row in schema.context],
        "versions": dict(versions),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
