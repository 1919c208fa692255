"""The export gate: only ops that stock servers have, and the same answers as the trained model in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.preprocessing import normalize

from pipelines.exporting.sample_requests import FEW, NEIGHBOURS, Arrays
from pipelines.hybrid.item_index import ItemIndex
from pipelines.scoring import metrics
from pipelines.scoring.generative import GenerativeScorer
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries
from serving.export_check.gate import ask_fresh_process, ops_in, unknown_ops
from serving.graph import contract
from tfrecs.errors import ExportError

# Relative to the largest score if that is above 1: float32 has seven digits whatever the unit of the scores.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class GateResult:
    """Measurements of the gate, kept as `assets.extra/gate.json`.

    Attributes:
      requests: number of held-out requests that were compared.
      worst_difference: largest difference of a served score from Python's.
      op_kinds: number of different ops in the graph.
      megabytes: size of the version on disk.
      load_seconds: time to load it in a fresh process.
      p50_ms: median time of one request in that process, without any network.
      p99_ms: 99th percentile of the same.
    """

    requests: int
    worst_difference: float
    op_kinds: int
    megabytes: float
    load_seconds: float
    p50_ms: float
    p99_ms: float


def pass_gate(
    scorer: ModelScorer,
    index: ItemIndex,
    rows: np.ndarray,
    samples: Mapping[str, Arrays],
    folder: Path,
    generative: GenerativeScorer | None = None,
) -> GateResult:
    """Load a SavedModel in a fresh process, compare its answers with Python's, and measure it.

    Args:
      scorer: gives the expected scores, of requests over the items of `index`.
      index: the items of the version.
      rows: int64 [B], the requests of the scorer that are the inputs of `recommend` in `samples`.
      samples: signature -> inputs of a batch of requests.
      folder: folder of the version, still under its temporary name.
      generative: expected scores of the signature `generate`, where there is one.

    Raises:
      ExportError: it does not load, has an op that stock servers lack, or its answers differ from Python's.
    """
    # First, because an op that this TensorFlow lacks too would fail on loading with a less helpful message.
    ops = ops_in(folder)
    unknown = unknown_ops(ops)
    if unknown:
        raise ExportError(f"export gate: stock TensorFlow Serving has no op {', '.join(unknown)}; nothing was written")
    try:
        answers = ask_fresh_process(folder, samples, timed=contract.RECOMMEND)
    except RuntimeError as error:
        raise ExportError(f"export gate: {error}; nothing was written") from error
    worst = compare(scorer, index, rows, samples, answers.outputs, answers.alone, generative)
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


def compare(
    scorer: ModelScorer,
    index: ItemIndex,
    rows: np.ndarray,
    samples: Mapping[str, Arrays],
    served: Mapping[str, Arrays],
    alone: Arrays,
    generative: GenerativeScorer | None = None,
) -> float:
    """Compare served outputs with Python's.

    Args:
      scorer: gives the expected scores, of requests over the items of `index`.
      index: the items of the version.
      rows: int64 [B], the requests of the scorer that were sent.
      samples: signature -> inputs.
      served: signature -> outputs.
      alone: outputs of `recommend` whose rows were each asked for on their own: one request may take another way than
        several do, by another side of a product or a smaller table.
      generative: expected scores of the signature `generate`, where there is one.

    Returns:
      The largest difference of two scores of `recommend`.

    Raises:
      ExportError: ids differ, or scores or labels differ by more than `TOLERANCE`.
    """
    model, requests, item_embeddings = scorer.model, scorer.requests, scorer.item_embeddings
    queries = requests.queries.take(rows)
    query_embeddings, scores = scorer.query_embeddings(queries), scorer(queries)
    k = int(samples[contract.RECOMMEND]["k"].max())
    worst = max(_compare_lists(index, scores, queries, k, lists) for lists in (served[contract.RECOMMEND], alone))

    if generative is not None:
        _compare_lists(index, generative(queries), queries, k, served[contract.GENERATE])

    candidates = item_embeddings[:FEW]
    _close("rank scores", served[contract.RANK]["scores"], scores[:, :FEW])
    if model.ranking_head is not None:
        count = min(FEW, len(index))
        tiled = tf.tile(query_embeddings[:, None], [1, count, 1]), tf.tile(candidates[None], [len(rows), 1, 1])
        for name, expected in model.ranking_head(*tiled).items():
            _close(f"rank {name}", served[contract.RANK][name], expected.numpy())
    unit = normalize(index.item_embeddings)
    cosines = unit[:FEW] @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    _close("similar scores", served[contract.SIMILAR]["scores"], _highest(cosines, NEIGHBOURS))
    if contract.SEARCH in samples:
        texts = [str(text) for text in samples[contract.SEARCH]["query"]]
        expected_scores = scorer.search_texts(texts)
        expected_scores[[not text.strip() for text in texts]] = -np.inf
        _close("search scores", served[contract.SEARCH]["scores"], _highest(expected_scores, NEIGHBOURS))
    return worst


def _compare_lists(index: ItemIndex, scores: np.ndarray, queries: Queries, k: int, served: Arrays) -> float:
    """Compare the outputs of `recommend` with a ranking by `scores` float [B, N]; return the largest difference."""
    ranking = metrics.rank(lambda part: scores, queries, num_items=len(index), depth=k, batch=len(queries))
    ids = np.append(index.catalogue.ids, "")  # -1, "no item", reads the last one
    expected = _scores_of(ranking.items, scores)
    worst = _close("scores", served["scores"], expected)
    served_ids = np.array([[value.decode() for value in row] for row in served["ids"]])
    # Items whose scores float32 cannot tell apart may swap places, even the last one with the first one left out: then
    # the Python score of the served item must equal that of the item expected there.
    position = {item: number for number, item in enumerate(index.catalogue.ids.tolist())}
    served_scores = _scores_of(np.array([[position.get(item, -1) for item in row] for row in served_ids]), scores)
    with np.errstate(invalid="ignore"):  # -inf - -inf where no item is served and none expected
        equal = (served_scores == expected) | (np.abs(served_scores - expected) <= TOLERANCE * _scale(expected))
    repeated = np.array([[item in row[:place] for place, item in enumerate(row)] for row in served_ids.tolist()])
    wrong = (ids[ranking.items] != served_ids) & (~equal | repeated)
    if wrong.any():
        row, place = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ExportError(
            f"export gate: {int(wrong.sum())} of {wrong.size} served ids differ from Python's (request {row}, place "
            f"{place + 1}: {served_ids[row, place]!r} where Python has {ids[ranking.items[row, place]]!r}); nothing was "
            "written"
        )
    return worst


def _scores_of(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float [B, k], the scores float [B, N] of items int [B, k], -inf for -1."""
    return np.where(items >= 0, np.take_along_axis(scores, np.maximum(items, 0), axis=1), -np.inf)


def _close(what: str, served: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference. Raises ExportError if it exceeds the tolerance, or only one side has a finite value."""
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
    """The k highest values of each row, padded with -inf."""
    padded = np.pad(scores, [[0, 0], [0, k]], constant_values=-np.inf)
    return -np.sort(-padded, axis=1)[:, :k]
