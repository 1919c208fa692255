"""Files beside the graph of an export: description, titles, item facts and warm-up requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.preprocessing import normalize
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines.exporting.sample_requests import Arrays
from pipelines.hybrid.item_index import ItemIndex
from pipelines.model.session import Session
from serving.graph import contract
from serving.wire import layout
from tfrecs.reading.reader import category_values


def write_extras(
    session: Session,
    index: ItemIndex,
    signatures: Sequence[str],
    folder: Path,
    name: str,
    samples: Mapping[str, Arrays],
    index_dtype: str,
) -> Path:
    """Write everything but the gate's result into `assets.extra` of a version.

    Args:
      session: the trained run.
      index: the items of the version.
      signatures: names of the signatures.
      folder: folder of the version.
      name: the model's name on servers, for the warm-up requests.
      samples: signature -> inputs, from which the warm-up requests are taken.
      index_dtype: of the table that a request scans.

    Returns:
      The folder `assets.extra`.
    """
    extra = folder / layout.EXTRA_FOLDER
    extra.mkdir(parents=True)
    versions = {**session.manifest.versions, "triptych": package_version("triptych")}
    description = contract.describe(session.manifest.schema_, signatures, len(index), versions, index_dtype)
    (extra / layout.DESCRIPTION_FILE).write_text(description, encoding="utf-8")
    titles = dict(zip(index.catalogue.ids.tolist(), index.catalogue.titles.tolist(), strict=True))
    (extra / layout.TITLES_FILE).write_text(json.dumps(titles, ensure_ascii=False) + "\n", encoding="utf-8")
    _item_facts(session, index).save(extra)
    _write_warmup(extra / layout.WARMUP_FILE, name, samples, session.config.export.warmup_requests)
    return extra


def item_categories(session: Session, index: ItemIndex) -> list[list[str]]:
    """The categories of each item, for filters: the values of every feature that is a list of strings, sorted."""
    by_feature = category_values(session.manifest.schema_, index.catalogue)
    return [sorted(set().union(*(values[row] for values in by_feature.values()))) for row in range(len(index))]


def _item_facts(session: Session, index: ItemIndex) -> layout.ItemFacts:
    counts, ids = session.manifest.train_counts, index.catalogue.ids
    return layout.ItemFacts(
        ids=np.asarray(ids, np.str_),
        vectors=normalize(index.item_embeddings).astype(np.float16),
        weights=index.modality_weights.astype(np.float16),
        counts=np.array([counts.get(item, 0) for item in ids.tolist()], np.int64),
        categories=item_categories(session, index),
    )


def _write_warmup(path: Path, name: str, samples: Mapping[str, Arrays], limit: int) -> None:
    """Write TensorFlow Serving's file of warm-up requests, a TFRecord file of PredictionLog."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in _warmup_requests(samples, limit):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _warmup_requests(samples: Mapping[str, Arrays], limit: int) -> Iterator[tuple[str, Arrays]]:
    """(signature, inputs of one request): `limit` requests of `recommend`, then one of each other signature."""
    for signature, inputs in samples.items():
        rows = len(next(iter(inputs.values())))
        for row in range(min(rows, limit if signature == contract.RECOMMEND else min(limit, 1))):
            yield signature, {key: value[row : row + 1] for key, value in inputs.items()}
