"""`triptych export`: a trained run -> one SavedModel version that stock TensorFlow Serving hosts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines.evaluation.evaluator import held_out_requests
from pipelines.exporting.catalogue_update import UpdateJob, read_update
from pipelines.exporting.parity import Arrays, GateResult, other_requests, pass_gate
from pipelines.exporting.sample_requests import missing_item, recommend_inputs, reindexed, spread
from pipelines.exporting.serving_adapter import TowerRecommender
from pipelines.hybrid.item_index import Index, trained_index, updated_index
from pipelines.hybrid.scorer import hybrid_score, index_statistics
from pipelines.model.session import Session, load_trained
from pipelines.runs.locks import lock_folder
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.search.lexical_index import item_texts, run_lexicon
from pipelines.search.lexical_scorer import Words, words_of
from serving.graph import contract
from serving.graph.lexical import LexicalSearch
from serving.graph.signatures import ServingModule
from serving.graph.top_k import padded_table
from serving.wire import layout
from tfrecs.errors import ExportError
from tfrecs.reading.features import feature_for
from tfrecs.reading.reader import item_features
from tfrecs.rejects import Rejects
from towers.hybrid import Statistics

PARITY_K = 20
_TEMPORARY = ".export"  # no integer: servers pass it over


@dataclass(frozen=True)
class ExportJob:
    """`to` is the model's folder, `saved_models/<name>`; the version is the next integer in it. `update`: the items
    that it shall hold instead of those that the run was trained on."""

    run: Path
    to: Path
    update: UpdateJob | None = None


@dataclass(frozen=True)
class ExportResult:
    path: Path
    version: int
    items: int
    gate: GateResult


def run(job: ExportJob) -> ExportResult:
    """Exports, checks, and only then puts the version in place; what is there already is never touched.

    Raises:
      ExportError: the gate failed (an op that a server lacks, or answers that differ from Python's), an update would
        drop most of what is served, or another export is writing there.
      TriptychError: the run is not there, or the update's items cannot be read.
    """
    folder = RunFolder(job.run)
    session = load_trained(folder)
    with _alone_in(job.to) as temporary:
        index, rejects = _index(session, job)
        statistics = index_statistics(session, index)
        if session.model.query_encoder is not None:
            lexicon = run_lexicon(folder.lexicon, session.model, session.catalogue, session.config)
            index = replace(index, words=item_texts(session.model, index.catalogue), lexicon=lexicon)
        module = make_module(session, index, statistics)
        signatures = module.signatures()
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        requests = held_out_requests(session)
        rows = spread(len(requests), session.config.export.parity_requests)
        schema = session.manifest.schema_
        asked: dict[str, Arrays] = {
            contract.RECOMMEND: recommend_inputs(schema, session.catalogue.ids, requests, rows, PARITY_K)
        }
        asked |= other_requests(index, asked[contract.RECOMMEND], session.model.query_encoder is not None)
        if schema.items:
            asked[contract.EMBED_ITEMS] = missing_item(schema.items)
        extra = _write_extras(session, index, list(signatures), temporary, job.to.name, asked)
        if rejects is not None:
            rejects.write(extra)
        known = reindexed(requests, index.positions(len(session.catalogue)))
        scorer = ModelScorer(
            ModelGraphs(session.model),
            known,
            tf.constant(index.table),
            hybrid_score(session, statistics),
            _lexical_scores(session, index),
        )
        gate = pass_gate(scorer, index, rows, asked, temporary)
        (extra / layout.GATE_FILE).write_text(json.dumps(asdict(gate), indent=1) + "\n", encoding="utf-8")
        version = layout.latest_version(job.to) + 1
        path = temporary.rename(job.to / str(version))
    say(
        f"Exported {path} ({gate.megabytes:.1f} MB, {len(index):,} items): {gate.op_kinds} op kinds, all of a stock "
        f"server; loaded in a fresh process in {gate.load_seconds:.1f} s; {gate.requests} requests answered as in "
        f"Python, p50 {gate.p50_ms:.1f} ms, p99 {gate.p99_ms:.1f} ms."
    )
    return ExportResult(path, version, len(index), gate)


@contextmanager
def _alone_in(model: Path) -> Iterator[Path]:
    """A path inside the model's folder for a version that is not whole yet; gone afterwards, with whatever is there.

    Raises:
      ExportError: another export is at work in the folder.
    """
    temporary = model / _TEMPORARY
    with lock_folder(model, ExportError(f"{model}: another export is writing there; wait for it to end")):
        shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if not any(model.iterdir()):
        model.rmdir()


def _index(session: Session, job: ExportJob) -> tuple[Index, Rejects | None]:
    """The items of the next version; for an update with what of its tables could not be used."""
    if job.update is None:
        return trained_index(session), None
    newest = layout.latest_version(job.to)
    served = list(layout.titles(job.to / str(newest))) if newest else session.catalogue.ids.tolist()
    rejects = Rejects()
    catalogue = read_update(job.update, session, served, rejects)
    now, before = set(catalogue.ids.tolist()), set(served)
    gone, limit = before - now, session.config.export.max_removed
    if len(gone) > limit * len(before):
        raise ExportError(
            f"{job.update.items}: {len(gone):,} of the {len(before):,} items that are served are not in its table, more "
            f"than export.max_removed ({limit:g}); list the whole catalogue there, or give --keep to add to it"
        )
    say(f"{len(catalogue):,} items: {len(now - before):,} new, {len(gone):,} removed; {rejects.summary()}.")
    return updated_index(session, catalogue), rejects


def make_module(session: Session, index: Index, statistics: Statistics | None) -> ServingModule:
    """The model with its index, as a trackable object with signatures. `statistics`: `index_statistics` of the index."""
    columns = len(padded_table(index.table))
    hybrid = hybrid_score(session, None if statistics is None else statistics.padded(columns))
    lexical = None
    if index.lexicon is not None and index.words is not None:
        postings = index.lexicon.postings(index.words)
        lexical = LexicalSearch(index.lexicon.terms, postings, columns, index.lexicon.dense)
    return ServingModule(
        TowerRecommender(session.model, hybrid),
        index.catalogue.ids.tolist(),
        index.table,
        index.weights,
        _categories(session, index),
        session.config.export.pool,
        session.config.export.max_k,
        lexical,
    )


def _lexical_scores(session: Session, index: Index) -> Words | None:
    """The lexical part of text queries over the items of the index; None where items have no text."""
    encoder = session.model.query_encoder
    if encoder is None or index.lexicon is None or index.words is None:
        return None
    return words_of(index.lexicon, index.words, session.manifest.schema_.modalities.index(encoder.schema.name))


def _categories(session: Session, index: Index) -> list[list[str]]:
    """What filters know of each item: the values of every feature that is a list of strings."""
    names = [
        feature.name
        for feature in session.manifest.schema_.items
        if feature_for(feature).spec.dtype == tf.string and feature_for(feature).spec.shape.rank == 1
    ]
    rows: list[list[str]] = [[] for _ in range(len(index))]
    if not names:
        return rows
    values, _ = item_features(session.manifest.schema_, index.catalogue.serialized)
    for name in names:
        for row, items in zip(rows, values[name].numpy(), strict=True):
            row.extend(value.decode() for value in items if value)
    return [sorted(set(row)) for row in rows]


def _write_extras(
    session: Session, index: Index, signatures: list[str], folder: Path, name: str, asked: Mapping[str, Arrays]
) -> Path:
    """What lies beside the graph: description, titles, and warm-up requests from real histories."""
    extra = folder / layout.EXTRA_FOLDER
    extra.mkdir(parents=True)
    versions = {**session.manifest.versions, "triptych": package_version("triptych")}
    description = contract.describe(session.manifest.schema_, signatures, len(index), versions)
    (extra / layout.DESCRIPTION_FILE).write_text(description, encoding="utf-8")
    titles = dict(zip(index.catalogue.ids.tolist(), index.catalogue.titles.tolist(), strict=True))
    (extra / layout.TITLES_FILE).write_text(json.dumps(titles, ensure_ascii=False) + "\n", encoding="utf-8")
    _item_facts(session, index).save(extra)
    with tf.io.TFRecordWriter(str(extra / layout.WARMUP_FILE)) as writer:
        for signature, row in _warm_up(asked, session.config.export.warmup_requests):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in row.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value, _dtype(value)))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return extra


def _item_facts(session: Session, index: Index) -> layout.ItemFacts:
    norms = np.linalg.norm(index.table, axis=1, keepdims=True)
    counts, ids = session.manifest.train_counts, index.catalogue.ids
    return layout.ItemFacts(
        np.asarray(ids, np.str_),
        (index.table / np.maximum(norms, 1e-12)).astype(np.float16),
        index.weights.astype(np.float16),
        np.array([counts.get(item, 0) for item in ids.tolist()], np.int64),
        _categories(session, index),
    )


def _warm_up(asked: Mapping[str, Arrays], limit: int) -> Iterator[tuple[str, Arrays]]:
    """(signature, inputs of one request): `limit` of `recommend`, then one of each other signature."""
    for signature, inputs in asked.items():
        rows = max(value.shape[0] for value in inputs.values() if value.ndim)
        for row in range(min(rows, limit if signature == contract.RECOMMEND else min(limit, 1))):
            yield signature, {key: one if one.ndim == 0 else one[row : row + 1] for key, one in inputs.items()}


def _dtype(array: np.ndarray) -> Any:
    return tf.string if array.dtype == object else tf.as_dtype(array.dtype)
