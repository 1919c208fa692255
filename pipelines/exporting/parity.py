"""The export gate: ops that every server has, and the answers that the trained model gives in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.hybrid.item_index import Index
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Requests
from serving.export_check.gate import ask_fresh_process, ops_in, unknown_ops
from serving.graph import contract
from tfrecs.errors import ExportError

# Of the largest score where that is above 1: float32 holds seven digits, whatever the scores' unit.
TOLERANCE = 1e-5
FEW = 8  # items in the requests that only need to show that a signature answers as Python does

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class GateResult:
    """What the gate measured, kept as `assets.extra/gate.json`.

    Attributes:
      requests: held-out requests that were answered as in Python.
      worst_difference: largest difference of a served score from Python's.
      op_kinds: different ops in the graph, all of a stock server.
      megabytes: size of the version on disk.
      load_seconds: in a fresh process.
      p50_ms, p99_ms: time of one request in that process, alone, without any network.
    """

    requests: int
    worst_difference: float
    op_kinds: int
    megabytes: float
    load_seconds: float
    p50_ms: float
    p99_ms: float


def pass_gate(
    scorer: ModelScorer, index: Index, rows: np.ndarray, asked: Mapping[str, Arrays], folder: Path
) -> GateResult:
    """Loads a SavedModel in a fresh process, asks it, and measures.

    Args:
      scorer: what the answers must be, of requests over the items of `index`.
      rows: int64 [B], those of its requests that `asked` holds as inputs of `recommend`.
      asked: signature -> inputs, a batch each.
      folder: of the version, not yet where a server looks.

    Raises:
      ExportError: it does not load, has an op that a server lacks, or answers otherwise than Python.
    """
    # Before it is asked: an op that this TensorFlow lacks too would only fail there, and say less.
    ops = ops_in(folder)
    unknown = unknown_ops(ops)
    if unknown:
        raise ExportError(f"export gate: stock TensorFlow Serving has no op {', '.join(unknown)}; nothing was written")
    try:
        answers = ask_fresh_process(folder, asked, timed=contract.RECOMMEND)
    except RuntimeError as error:
        raise ExportError(f"export gate: {error}; nothing was written") from error
    worst = compare(scorer, index, rows, asked, answers.outputs)
    p50, p99 = np.percentile(answers.seconds, [50, 99]) * 1000
    return GateResult(
        requests=len(rows),
        worst_difference=worst,
        op_kinds=len(ops),
        megabytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
        load_seconds=answers.load_seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
    )


def other_requests(index: Index, inputs: Arrays, has_text: bool) -> dict[str, Arrays]:
    """Signature -> inputs, for every signature but `recommend` and `embed_items`."""
    ids, titles = index.catalogue.ids[:FEW].astype(object), index.catalogue.titles[:FEW].astype(object)
    shared = {key: value for key, value in inputs.items() if key != "k"}
    asked: dict[str, Arrays] = {
        contract.SIMILAR: {"item_ids": ids, "k": np.array(5, np.int32)},
        contract.RANK: {**shared, "candidate_ids": np.tile(ids, [len(inputs["now"]), 1])},
    }
    if has_text:
        asked[contract.SEARCH] = {"query": titles, "k": np.array(5, np.int32)}
    return asked


def compare(
    scorer: ModelScorer, index: Index, rows: np.ndarray, asked: Mapping[str, Arrays], served: Mapping[str, Arrays]
) -> float:
    """Compares answers with Python's.

    Args:
      scorer: what the answers must be, of requests over the items of `index`.
      rows: which of its requests were asked.
      asked, served: signature -> inputs, and outputs.

    Returns:
      The largest difference of two scores of `recommend`.

    Raises:
      ExportError: ids that differ, or scores or labels by more than `TOLERANCE` allows.
    """
    model, requests, item_embeddings = scorer.model, scorer.requests, scorer.item_embeddings
    queries = requests.queries.take(rows)
    query_embeddings, scores = scorer.query_embeddings(queries), scorer(queries)
    worst = _recommend(index, scores, requests, rows, asked[contract.RECOMMEND], served[contract.RECOMMEND])

    candidates = item_embeddings[:FEW]
    _close("rank scores", served[contract.RANK]["scores"], scores[:, :FEW])
    if model.ranking_head is not None:
        count = min(FEW, len(index))
        tiled = tf.tile(query_embeddings[:, None], [1, count, 1]), tf.tile(candidates[None], [len(rows), 1, 1])
        for name, expected in model.ranking_head(*tiled).items():
            _close(f"rank {name}", served[contract.RANK][name], expected.numpy())
    unit = index.table / np.maximum(np.linalg.norm(index.table, axis=1, keepdims=True), 1e-12)
    cosines = unit[:FEW] @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    _close("similar scores", served[contract.SIMILAR]["scores"], _highest(cosines, 5))
    if contract.SEARCH in asked:
        texts = [str(text) for text in asked[contract.SEARCH]["query"]]
        expected_scores = scorer.search_texts(texts)
        expected_scores[[not text.strip() for text in texts]] = -np.inf
        _close("search scores", served[contract.SEARCH]["scores"], _highest(expected_scores, 5))
    return worst


def _recommend(
    index: Index, scores: np.ndarray, requests: Requests, rows: np.ndarray, asked: Arrays, served: Arrays
) -> float:
    queries, k = requests.queries.take(rows), int(asked["k"])
    ranking = metrics.rank(lambda part: scores, queries, num_items=len(index), depth=k, batch=len(queries))
    there = ranking.items >= 0
    expected = np.where(there, np.take_along_axis(scores, np.maximum(ranking.items, 0), axis=1), -np.inf)
    worst = _close("scores", served["scores"], expected)
    ids = np.where(there, index.catalogue.ids[np.maximum(ranking.items, 0)], "")
    answered = np.array([[value.decode() for value in row] for row in served["ids"]])
    # Items whose scores differ by less than float32 can tell may change places, the last with the first left out too:
    # what was served must be worth, to Python, what Python has in its place.
    position = {item: at for at, item in enumerate(index.catalogue.ids.tolist())}
    at = np.array([[position.get(item, -1) for item in row] for row in answered])
    worth = np.where(at >= 0, np.take_along_axis(scores, np.maximum(at, 0), axis=1), -np.inf)
    with np.errstate(invalid="ignore"):  # nothing served where there is nothing to serve: -inf against -inf
        same = (worth == expected) | (np.abs(worth - expected) <= TOLERANCE * _scale(expected))
    repeated = np.array([[item in row[:place] for place, item in enumerate(row)] for row in answered.tolist()])
    wrong = (ids != answered) & (~same | repeated)
    if wrong.any():
        row, place = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ExportError(
            f"export gate: {int(wrong.sum())} of {wrong.size} served ids differ from Python's (request {row}, place "
            f"{place + 1}: {answered[row, place]!r} where Python has {ids[row, place]!r}); nothing was written"
        )
    return worst


def _close(what: str, served: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference. Raises ExportError above the tolerance, or where one side has no value."""
    if served.shape != expected.shape or (np.isfinite(served) != np.isfinite(expected)).any():
        raise ExportError(f"export gate: served {what} have other gaps than Python's; nothing was written")
    finite = np.isfinite(expected)
    worst = float(np.abs(served[finite] - expected[finite]).max(initial=0.0))
    allowed = TOLERANCE * _scale(expected)
    if worst > allowed:
        raise ExportError(
            f"export gate: served {what} differ from Python's by {worst:.2g}, allowed {allowed:.2g}; nothing was written"
        )
    return worst


def _scale(values: np.ndarray) -> float:
    return max(1.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))


def _highest(scores: np.ndarray, k: int) -> np.ndarray:
    """The k highest of each row, -inf where there are fewer."""
    padded = np.pad(scores, [[0, 0], [0, k]], constant_values=-np.inf)
    return -np.sort(-padded, axis=1)[:, :k]
