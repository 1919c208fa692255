"""Held-out requests with a text query: with that text, without it, and by the text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import bm25s
import numpy as np

from pipelines.config import SearchConfig
from pipelines.evaluation.systems import rank
from pipelines.model.session import Session
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Scorer
from pipelines.scoring.sampling import draw_some
from pipelines.search.fitting import item_texts
from pipelines.search.lexical_index import term_counts

__all__ = ["ALONE", "WITH", "WITHOUT", "bm25", "text_slices", "with_text"]

WITH, WITHOUT, ALONE = "with_query", "with_query_without_text", "with_query_search_alone"

Slices = dict[str, dict[str, float]]


def with_text(scorer: ModelScorer, queries: Queries, among: np.ndarray) -> dict[str, np.ndarray]:
    """Return the part `with_query` of the queries `among` bool [Q]; nothing where none has a text that the model takes."""
    if scorer.texts is None or not (has_text := (scorer.texts[queries.rows] != "") & among).any():
        return {}
    return {WITH: has_text}


def text_slices(session: Session, scorer: ModelScorer, queries: Queries) -> tuple[Slices, dict[str, Slices]]:
    """Measure the requests with a text as if it had not been typed, and by their text alone.

    Args:
      scorer: the trained model, of requests with texts.
      queries: with a target each; at most `evaluate.section_requests` of those with a text are measured.

    Returns:
      Slice -> metrics of the model; the same of `bm25`, which gets the text alone. Nothing where no request has one.
    """
    part = with_text(scorer, queries, np.ones(len(queries), bool))
    if not part or scorer.texts is None:
        return {}, {}
    queries, settings = queries.take(part[WITH]), session.config.evaluate
    queries = queries.take(draw_some(len(queries), settings.section_requests, session.config.seed))
    texts = scorer.texts

    def measured(score: Scorer) -> dict[str, float]:
        ranking = rank(score, queries, len(session.catalogue), settings, label="ranking by text")
        return metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}

    silent = replace(scorer, requests=scorer.requests.without_texts(), text_index=None)
    baseline = bm25(item_texts(session.model, session.catalogue), session.config.search, settings.bm25)
    return (
        {WITHOUT: measured(silent), ALONE: measured(scorer.search)},
        {"bm25": {ALONE: measured(lambda some: baseline(texts[some.rows].tolist()))}},
    )


def bm25(
    texts: Sequence[str], settings: SearchConfig, k1_and_b: tuple[float, float]
) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit Okapi BM25 over whole words (Robertson and Zaragoza, 2009, "The probabilistic relevance framework").

    With Lucene's inverse document frequency, log(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.

    Args:
      texts: of the items, "" = none; items without a word are no documents and score 0.
      settings: how words are told apart.
      k1_and_b: saturation and length normalisation.

    Returns:
      Queries [Q] -> scores float32 [Q, items].
    """
    words_of_items = _words(texts, settings)
    documents = np.flatnonzero([len(words) > 0 for words in words_of_items])
    model = bm25s.BM25(k1=k1_and_b[0], b=k1_and_b[1], method="lucene")
    if len(documents):
        model.index([words_of_items[item] for item in documents], show_progress=False)

    def scores(queries: Sequence[str]) -> np.ndarray:
        result = np.zeros((len(queries), len(texts)), np.float32)
        for row, words in enumerate(_words(queries, settings) if len(documents) else ()):
            known = [word for word in words if word in model.vocab_dict]
            if known:
                result[row, documents] = model.get_scores(known)
        return result

    return scores


def _words(texts: Sequence[str], settings: SearchConfig) -> list[list[str]]:
    """The words of each text as the lexical index tells them apart: numbers of their hashes, repeated as they are."""
    counts = term_counts(texts, settings)[:, : settings.buckets]  # words are the first kind of term
    rows = [counts[row] for row in range(len(texts))]
    return [np.repeat(row.indices, row.data.astype(int)).astype(str).tolist() for row in rows]
