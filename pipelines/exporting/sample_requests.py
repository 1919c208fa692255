"""Held-out requests in the form that a client sends, and as another catalogue knows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.scoring.requests import Requests
from tfrecs.reading.features import feature_for
from tfrecs.reading.reader import user_features
from tfrecs.schema import FeatureSchema, Schema


def spread(count: int, limit: int) -> np.ndarray:
    """At most `limit` rows spread evenly over `count`, so that short and long histories are among them."""
    return np.unique(np.linspace(0, count - 1, limit).astype(np.int64))


def recommend_inputs(schema: Schema, ids: np.ndarray, requests: Requests, rows: np.ndarray, k: int) -> dict[str, Any]:
    """Inputs of `recommend` for some requests, whole histories.

    Args:
      schema: of the records.
      ids: str [N], of the catalogue that the requests' histories point into.
      rows: int64 [B], which requests.
      k: how many items to ask for.
    """
    histories = [requests.queries.histories[row] for row in rows]
    longest = max((len(history) for history in histories), default=0)
    count = len(rows)
    inputs: dict[str, np.ndarray] = {
        "history_ids": np.full([count, longest], "", object),
        "history_values": np.zeros([count, longest], np.float32),
        "history_times": np.zeros([count, longest], np.int64),
        "now": requests.queries.times[rows].astype(np.int64),
        "query": np.full([count], "", object) if requests.texts is None else requests.texts[rows].astype(object),
        "exclude_ids": np.full([count, 0], "", object),
        "categories": np.full([count, 0], "", object),
        "diversity": np.zeros([count], np.float32),
        "k": np.array(k, np.int32),
    }
    for position, row in enumerate(rows):
        length = len(histories[position])
        inputs["history_ids"][position, :length] = ids[histories[position]]
        inputs["history_values"][position, :length] = requests.values[row]
        inputs["history_times"][position, :length] = requests.event_times[row]
    inputs |= {name: values[rows] for name, values in requests.context.items()}
    if schema.users:
        inputs |= _raw_users(schema, requests, rows)
    return inputs


def _raw_users(schema: Schema, requests: Requests, rows: np.ndarray) -> dict[str, np.ndarray]:
    """User features in the form that a client sends: decoded values, with what is absent as the form's "missing"."""
    values, presence = user_features(schema, tf.constant(requests.users[rows], tf.string))
    result = {}
    for column, feature in enumerate(schema.users):
        spec = feature_for(feature).raw_spec
        value = values[feature.name].numpy()
        value[~presence.numpy()[:, column]] = b"" if spec.dtype == tf.string else np.nan
        result[feature.name] = value.astype(object) if spec.dtype == tf.string else value
    return result


def missing_item(features: tuple[FeatureSchema, ...]) -> dict[str, np.ndarray]:
    """One item without any modality, as inputs of `embed_items`."""
    result = {}
    for feature in features:
        spec = feature_for(feature).raw_spec
        shape = [1 if size is None else size for size in spec.shape]
        result[feature.name] = (
            np.full(shape, "", object) if spec.dtype == tf.string else np.full(shape, np.nan, np.float32)
        )
    return result


def reindexed(requests: Requests, positions: np.ndarray) -> Requests:
    """The same requests over another catalogue; events with items that it lacks are left out of the histories.

    Args:
      positions: int32 [N], new position of each item that the requests point to, -1 for none.

    Returns:
      Without targets and labels: those are for measuring, and an item that is gone cannot be one.
    """
    queries = requests.queries
    moved = [positions[history] for history in queries.histories]
    kept = [history >= 0 for history in moved]

    def those(columns: list[np.ndarray]) -> list[np.ndarray]:
        return [column[there] for column, there in zip(columns, kept, strict=True)]

    empty = np.zeros([0], np.int32)
    return replace(
        requests,
        queries=replace(queries, histories=those(moved), targets=[empty] * len(queries)),
        values=those(requests.values),
        event_times=those(requests.event_times),
        labels=those(requests.labels),
        pair_rows=np.zeros([0], np.int64),
        pair_items=empty,
        pair_labels=requests.pair_labels[:0],
    )
