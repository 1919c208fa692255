"""Exports with a catalogue of any size: random embeddings, and the mean of the history as the query embedding.

All but the towers is that of a real export (`serving.graph.signatures`), so that the cost of the index can be measured at a
million items without training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.graph import contract
from serving.graph.item_table import FLOAT32
from serving.graph.signatures import ServingModule
from serving.server.servable import WARMUP_FILE
from serving.wire import layout
from tfrecs.schema import History, Schema

HISTORY = 50
CATEGORIES = 40


class MeanOfHistory:
    """A `serving.graph.contract.RecommenderModel` without towers: a request is the mean of its history's embeddings."""

    schema = Schema(items=(), users=(), labels=(), context=(), value_mean=0.0, value_std=1.0)
    max_history = HISTORY
    has_text = False
    trackables: Sequence[Any] = ()
    max_score_weight = 1.0

    def query_embeddings(
        self,
        item_embeddings: tf.Tensor,
        history: History,
        now: tf.Tensor,
        texts: tf.Tensor,
        extra: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        index, length = history.item_index, history.length
        inside = tf.cast(tf.range(tf.shape(index)[1])[None] < length[:, None], tf.float32)
        total = tf.einsum("bld,bl->bd", tf.gather(item_embeddings, index), inside)
        return tf.math.divide_no_nan(total, tf.cast(length, tf.float32)[:, None])

    def text_embeddings(self, texts: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError("this model takes no text")

    def score_queries(self, query_embeddings: tf.Tensor) -> tf.Tensor:
        return query_embeddings

    def hybrid_scores(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        return scores

    def score_weights(self, index: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(index, tf.float32)

    def chosen(self, history: History) -> History:
        return history

    def labels(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        return {}

    def embed_items(self, raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        raise NotImplementedError("this model takes no raw items")

    def item_specs(self) -> dict[str, tf.TensorSpec]:
        return {}

    def item_formats(self) -> dict[str, str]:
        return {}

    def extra_specs(self) -> dict[str, tf.TensorSpec]:
        return {}


def random_embeddings(items: int, dim: int, seed: int) -> np.ndarray:
    """Draw random embeddings, float32 [items, dim]."""
    return np.random.default_rng(seed).standard_normal((items, dim), np.float32)


def clustered_embeddings(items: int, dim: int, seed: int) -> np.ndarray:
    """Draw embeddings around one center for a hundred items, of half its spread; float32 [items, dim]."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((-(-items // 100), dim), np.float32)
    return centers[rng.integers(0, len(centers), items)] + 0.5 * rng.standard_normal((items, dim), np.float32)


def write_export(version: Path, embeddings: np.ndarray, *, seed: int, name: str, index_dtype: str = FLOAT32) -> Path:
    """Write an export of these items with the ids "0", "1", ... and recorded requests as the SavedModel `version`."""
    rng, items = np.random.default_rng(seed), len(embeddings)
    categories = [[f"c{number}"] for number in rng.integers(0, CATEGORIES, items).tolist()]
    ids = [str(item) for item in range(items)]
    module = ServingModule(
        MeanOfHistory(), ids, embeddings, np.ones([items, 1], np.float32), categories, pool=5, max_k=10_000,
        index_dtype=index_dtype,
    )  # fmt: skip
    signatures = module.signatures()
    tf.saved_model.save(module, str(version), signatures=signatures)
    description = version / layout.EXTRA_FOLDER / layout.DESCRIPTION_FILE
    description.parent.mkdir(exist_ok=True)
    described = contract.describe(MeanOfHistory.schema, sorted(signatures), items, {}, module.table.dtype)
    description.write_text(described, encoding="utf-8")
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        for history in rng.integers(0, items, (8, HISTORY)).astype(str):
            log = prediction_log_pb2.PredictLog(request=make_request(name, history.tolist(), 100))
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return version


def make_request(name: str, history: Sequence[str], k: int) -> predict_pb2.PredictRequest:
    """Build a request of `recommend` for one user."""
    no_ids = np.empty([1, 0], object)
    inputs: dict[str, Any] = {
        "history_ids": np.array([history], object),
        "history_values": np.ones([1, len(history)], np.float32),
        "history_times": np.zeros([1, len(history)], np.int64),
        "now": np.zeros([1], np.int64),
        "query": np.array([""], object),
        "exclude_ids": no_ids,
        "categories": no_ids,
        "diversity": np.zeros([1], np.float32),
        "k": np.array([k], np.int32),
    }
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = name, contract.RECOMMEND
    for alias, value in inputs.items():
        made.inputs[alias].CopyFrom(tf.make_tensor_proto(value, tf.string if value.dtype == object else None))
    return made
