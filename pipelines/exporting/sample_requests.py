"""Held-out requests as inputs of the signatures, and over another catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.hybrid.item_index import ItemIndex
from pipelines.model.session import Session
from pipelines.scoring.requests import Requests
from serving.graph import contract
from tfrecs.reading.features import feature_for, raw_values
from tfrecs.schema import FeatureSchema, Schema

PARITY_K, NEIGHBOURS = 20, 5  # results of `recommend`, and of `similar` and `search`
FEW = 8  # items in requests that only need to show that a signature answers as Python does

Arrays = Mapping[str, np.ndarray]


def spread(count: int, limit: int) -> np.ndarray:
    """At most `limit` row numbers, spread evenly over `count` rows, so that short and long histories are among them."""
    return np.unique(np.linspace(0, count - 1, limit).astype(np.int64))


def sample_inputs(session: Session, index: ItemIndex, requests: Requests, rows: np.ndarray) -> dict[str, Arrays]:
    """Inputs of every signature, for the export gate and for warm-up requests.

    Args:
      session: the trained run.
      index: the items of the export.
      requests: held-out requests over the run's catalogue.
      rows: int64 [B], the requests to take.

    Returns:
      Signature -> inputs of a batch.
    """
    schema = session.manifest.schema_
    recommend = recommend_inputs(schema, session.catalogue.ids, requests, rows, PARITY_K)
    ids, titles = (values[:FEW].astype(object) for values in (index.catalogue.ids, index.catalogue.titles))
    shared = {key: value for key, value in recommend.items() if key != "k"}
    samples: dict[str, Arrays] = {
        contract.RECOMMEND: recommend,
        contract.RECOMMEND_SIMPLE: {name: recommend[name] for name in ("history_ids", "k")},
        contract.SIMILAR: {"item_ids": ids, "k": np.full([len(ids)], NEIGHBOURS, np.int32)},
        contract.RANK: {**shared, "candidate_ids": np.tile(ids, [len(rows), 1])},
    }
    if session.model.query_encoder is not None or index.text_index is not None:
        samples[contract.SEARCH] = {"query": titles, "k": np.full([len(titles)], NEIGHBOURS, np.int32)}
    if index.codes is not None:
        samples[contract.GENERATE] = recommend
    if schema.items:
        samples[contract.EMBED_ITEMS] = _missing_item(schema.items)
    return samples


def recommend_inputs(schema: Schema, ids: np.ndarray, requests: Requests, rows: np.ndarray, k: int) -> dict[str, Any]:
    """Inputs of `recommend` for some requests, with their whole histories.

    Args:
      schema: schema of the records.
      ids: str [N], item ids of the catalogue that the histories point into.
      requests: the requests.
      rows: int64 [B], the requests to take.
      k: number of items to recommend in each.
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
        "k": np.full([count], k, np.int32),
    }
    for position, row in enumerate(rows):
        length = len(histories[position])
        inputs["history_ids"][position, :length] = ids[histories[position]]
        inputs["history_values"][position, :length] = requests.values[row]
        inputs["history_times"][position, :length] = requests.event_times[row]
    inputs |= {name: values[rows] for name, values in requests.context.items()}
    if schema.users:
        inputs |= raw_values(schema.users, tf.constant(requests.users[rows], tf.string), "users")
    return inputs


def _missing_item(features: tuple[FeatureSchema, ...]) -> dict[str, np.ndarray]:
    """Inputs of `embed_items` for one item without any modality."""
    result = {}
    for feature in features:
        spec = feature_for(feature).raw_spec
        shape = [1 if size is None else size for size in spec.shape]
        result[feature.name] = (
            np.full(shape, "", object) if spec.dtype == tf.string else np.full(shape, np.nan, np.float32)
        )
    return result


def reindexed(requests: Requests, positions: np.ndarray) -> Requests:
    """The requests over another catalogue, without the events whose items it lacks.

    Args:
      requests: the requests.
      positions: int32 [N], position of each item in the other catalogue, -1 if it is not there.

    Returns:
      Requests without targets and labels, since the other catalogue may lack those items.
    """
    queries = requests.queries
    moved = [positions[history] for history in queries.histories]
    kept = [history >= 0 for history in moved]

    def select(columns: list[np.ndarray]) -> list[np.ndarray]:
        return [column[mask] for column, mask in zip(columns, kept, strict=True)]

    empty = np.zeros([0], np.int32)
    return replace(
        requests,
        queries=replace(queries, histories=select(moved), targets=[empty] * len(queries)),
        values=select(requests.values),
        event_times=select(requests.event_times),
        labels=select(requests.labels),
        pair_rows=np.zeros([0], np.int64),
        pair_items=empty,
        pair_labels=requests.pair_labels[:0],
    )
