"""`triptych export`: write a trained run as one SavedModel version that stock TensorFlow Serving hosts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.exporting.catalogue_update import UpdateJob, update_index
from pipelines.exporting.extras import item_categories, write_extras
from pipelines.exporting.parity import GateResult, pass_gate
from pipelines.exporting.sample_requests import reindexed, sample_inputs, spread
from pipelines.exporting.serving_adapter import TowerRecommender, meaning_encoder
from pipelines.hybrid.item_index import ItemIndex
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.runs.locks import lock_folder
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.generative import GenerativeScorer, beam_search
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.scoring.requests import Requests
from pipelines.search.fitting import load_or_fit_text, text_index
from serving.graph.item_table import INT8, INT8_WIDTH
from serving.graph.lexical import LexicalSearch
from serving.graph.semantic import SemanticSearch
from serving.graph.signatures import ServingModule
from serving.graph.top_k import padded_embeddings
from serving.wire import layout
from tfrecs.errors import ExportError

_TEMPORARY = ".export"  # not an integer, so servers ignore the folder


@dataclass(frozen=True)
class ExportJob:
    """What to export, and where to.

    Attributes:
      run: the run folder.
      to: the model's folder, `saved_models/<name>`; the version is the next integer in it.
      update: items to export in place of those that the run was trained on; None for the latter.
    """

    run: Path
    to: Path
    update: UpdateJob | None = None


@dataclass(frozen=True)
class ExportResult:
    """The exported version.

    Attributes:
      path: its folder.
      version: its number.
      items: number of items.
      gate: measurements of the export gate.
    """

    path: Path
    version: int
    items: int
    gate: GateResult


def run(job: ExportJob) -> ExportResult:
    """Export a run, check the result, and only then put the version in place. Existing versions are never changed.

    Raises:
      ExportError: the gate failed (an op that servers lack, or answers that differ from Python's), an update would
        drop most of the served items, or another export is writing there.
      TriptychError: the run does not exist, or the update's items cannot be read.
    """
    folder = RunFolder(job.run)
    session = load_trained(folder)
    with _temporary_version(job.to) as temporary:
        if job.update is None:
            index, rejects = session.item_index(), None
        else:
            index, rejects = update_index(job.update, session, job.to)
        fitted = load_or_fit_text(folder, session.model, session.catalogue, session.config)
        if fitted is not None:
            texts = text_index(fitted, session.model, index.catalogue, session.config)
            index = replace(index, text_index=texts)
        module = make_module(session, index)
        signatures = module.signatures()
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        requests = held_out_requests(session)
        requests = requests.take(spread(len(requests), session.config.export.parity_requests))
        rows = np.arange(len(requests))
        samples = sample_inputs(session, index, requests, rows)
        extra = write_extras(session, index, list(signatures), temporary, job.to.name, samples, module.table.dtype)
        if rejects is not None:
            rejects.write(extra)
        scorer = _scorer(session, index, requests)
        generative = None if module.generator is None else GenerativeScorer(scorer, module.generator)
        gate = pass_gate(scorer, index, rows, samples, temporary, generative)
        (extra / layout.GATE_FILE).write_text(json.dumps(asdict(gate), indent=1) + "\n", encoding="utf-8")
        version = layout.latest_version(job.to) + 1
        path = temporary.rename(job.to / str(version))
    wanted = session.config.export.index_dtype
    if module.table.dtype != wanted:
        say(f"export.index_dtype={wanted} was not used: {len(index):,} items are scanned as fast in float32.")
    say(
        f"Exported {path} ({gate.megabytes:.1f} MB, {len(index):,} items): {gate.op_kinds} op kinds, all of a stock "
        f"server; loaded in a fresh process in {gate.load_seconds:.1f} s; {gate.requests} requests answered as in "
        f"Python, p50 {gate.p50_ms:.1f} ms, p99 {gate.p99_ms:.1f} ms."
    )
    return ExportResult(path, version, len(index), gate)


@contextmanager
def _temporary_version(model: Path) -> Iterator[Path]:
    """A path inside the model's folder for an unfinished version; removed afterwards if it still exists.

    Raises:
      ExportError: another export is writing to the folder.
    """
    temporary = model / _TEMPORARY
    with lock_folder(model, ExportError(f"{model}: another export is writing there; wait for it to end")):
        shutil.rmtree(temporary, ignore_errors=True)  # left by an export that was killed
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if not any(model.iterdir()):
        model.rmdir()


def make_module(session: TrainedRun, index: ItemIndex) -> ServingModule:
    """Build the module to save: the trained model with the items of the index.

    Args:
      session: the trained run.
      index: the items to serve.

    Raises:
      ExportError: the embeddings are too wide for `export.index_dtype`.
    """
    width, index_dtype = index.item_embeddings.shape[1], session.config.export.index_dtype
    if index_dtype == INT8 and width > INT8_WIDTH:
        raise ExportError(
            f"export.index_dtype=int8 is for embeddings of up to {INT8_WIDTH:,} values, these have {width:,}; use bfloat16"
        )
    columns = len(padded_embeddings(index.item_embeddings))
    lexical, semantic = None, None
    if index.text_index is not None:
        words, meaning = index.text_index.lexical, index.text_index.semantic
        lexical = LexicalSearch(words.model.terms, words.postings(), columns, words.model.dense_weight)
        if meaning is not None and session.model.query_encoder is not None:
            encode = meaning_encoder(session.model.query_encoder, meaning.model.transform)
            semantic = SemanticSearch(encode, meaning.vectors, meaning.owners, columns, words.model.semantic_weight)
    return ServingModule(
        TowerRecommender(session.model, session.hybrid_score(index, columns)),
        index.catalogue.ids.tolist(),
        index.item_embeddings,
        index.modality_weights,
        item_categories(session, index),
        pool=session.config.export.pool,
        max_k=session.config.export.max_k,
        lexical=lexical,
        semantic=semantic,
        index_dtype=index_dtype,
        generator=beam_search(session.model, index.codes, session.config.generative.beam),
    )


def _scorer(session: TrainedRun, index: ItemIndex, requests: Requests) -> ModelScorer:
    """The Python scorer of the requests over the items of the index, which the export must agree with."""
    return ModelScorer(
        ModelGraphs(session.model),
        reindexed(requests, index.positions(len(session.catalogue))),
        tf.constant(index.item_embeddings),
        session.hybrid_score(index),
        index.text_index,
    )
