"""The SavedModel contract: what the signatures are called, take and give.

Shape letters: B requests, L history length, E exclusions, C categories, C' candidates, k results, M modalities, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from tfrecs.schema import History, Schema

RECOMMEND, RANK, SEARCH, SIMILAR, EMBED_ITEMS = "recommend", "rank", "search", "similar", "embed_items"
DEFAULT = "serving_default"


class RecommenderModel(Protocol):
    """What the signatures need of a model; they know nothing else of the towers.

    Attributes:
      schema: of the records it was trained on.
      history: L, the newest events that it looks at.
      has_text: it takes text queries.
      trackables: what holds its variables and tables, to be saved along.
    """

    schema: Schema
    history: int
    has_text: bool
    trackables: Sequence[Any]

    def request(
        self,
        table: tf.Tensor,
        history: History,
        now: tf.Tensor,
        query: tf.Tensor,
        extra: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Query embeddings [B, D]. `history` indexes the rows of `table` [N, D]; `now` int64 [B]; `query` string [B];
        `extra` input name -> raw context and user features."""

    def search(self, query: tf.Tensor) -> tf.Tensor:
        """Text queries, string [B] -> embeddings [B, D]."""

    def scores(self, states: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """[B, D] and [N, D] -> [B, N]."""

    def blend(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        """Those scores [B, N] with whatever else speaks for an item, given the history as in `request` -> [B, N]."""

    def labels(self, states: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        """[..., D] and [..., D] -> label -> prediction [...]."""

    def embed(self, raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Raw modalities -> embeddings [B, D], modality weights [B, M], and which modalities, in the order of `raw_specs`,
        were given but are of no use (a broken file, a vector with a NaN in it), bool [B, M]."""

    def raw_specs(self) -> dict[str, tf.TensorSpec]:
        """Modality -> spec of its raw form [B, ...]."""

    def extra_specs(self) -> dict[str, tf.TensorSpec]:
        """Further inputs of `recommend` and `rank`: column contexts and user features, [B, ...]."""


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


def describe(schema: Schema, signatures: Sequence[str], items: int, versions: Mapping[str, str]) -> str:
    """The text of `triptych.json`: what a reader of the SavedModel cannot see in its signatures."""
    content = {
        "signatures": list(signatures),
        "items": items,
        "modalities": list(schema.modalities),
        "labels": [label.model_dump(mode="json") for label in schema.labels],
        "context": [row.model_dump(mode="json") for row in schema.context],
        "versions": dict(versions),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
