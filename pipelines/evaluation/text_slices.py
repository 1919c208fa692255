"""Held-out requests in which the user had typed something: with that text, without it, and the text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipelines.config import SearchConfig
from pipelines.model.session import Session
from pipelines.scoring import metrics
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Scorer
from pipelines.search.lexical_fit import item_texts
from pipelines.search.lexical_index import saturated, term_counts

__all__ = ["ALONE", "WITH", "WITHOUT", "bm25", "text_slices", "with_text"]

WITH, WITHOUT, ALONE = "with_query", "with_query_without_text", "with_query_search_alone"

Slices = dict[str, dict[str, float]]


def with_text(scorer: ModelScorer, queries: Queries) -> dict[str, np.ndarray]:
    """The part `with_query`, bool [Q]; nothing where no request has a text that the model could take."""
    if scorer.texts is None or not (scorer.texts[queries.rows] != "").any():
        return {}
    return {WITH: scorer.texts[queries.rows] != ""}


def text_slices(session: Session, scorer: ModelScorer, queries: Queries) -> tuple[Slices, dict[str, Slices]]:
    """The requests with a text, as if it had not been typed, and by their text alone.

    Args:
      scorer: the trained model, of requests with texts.
      queries: with a target each.

    Returns:
      Slice -> metrics of the model; the same of `bm25`, which is asked the text alone. Nothing where no request has one.
    """
    part = with_text(scorer, queries)
    if not part or scorer.texts is None:
        return {}, {}
    queries, settings = queries.take(part[WITH]), session.config.evaluate
    texts = scorer.texts

    def measured(score: Scorer) -> dict[str, float]:
        count = len(session.catalogue)
        ranking = metrics.rank(score, queries, num_items=count, depth=settings.depth, batch=settings.batch)
        return metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}

    silent = replace(scorer, requests=scorer.requests.without_texts(), lexical=None)
    baseline = bm25(item_texts(session.model, session.catalogue), session.config.search, settings.bm25)
    return (
        {WITHOUT: measured(silent), ALONE: measured(scorer.search)},
        {"bm25": {ALONE: measured(lambda some: baseline(texts[some.rows].tolist()))}},
    )


def bm25(
    texts: Sequence[str], settings: SearchConfig, k1_and_b: tuple[float, float]
) -> Callable[[Sequence[str]], np.ndarray]:
    """Okapi BM25 over whole words (Robertson and Zaragoza, 2009, "The probabilistic relevance framework"), with Lucene's
    inverse document frequency, log(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.

    Args:
      texts: of the items [N], "" = none.
      settings: how words are told apart.
      k1_and_b: saturation and length.

    Returns:
      Queries [Q] -> scores float32 [Q, N].
    """
    settings = settings.model_copy(update={"k1": k1_and_b[0], "b": k1_and_b[1]})
    words = slice(0, settings.buckets)  # the first kind of term

    counts = term_counts(texts, settings)
    filled = max(1, sum(bool(text) for text in texts))
    kinds = counts.shape[1] // settings.buckets
    lengths = counts.sum(axis=0).A1.reshape(kinds, -1).sum(axis=1) / filled
    frequency = counts[:, words].getnnz(axis=0)
    idf = np.log1p((len(texts) - frequency + 0.5) / (frequency + 0.5))
    weighted = saturated(counts, lengths, settings)[:, words].multiply(idf[None, :]).tocsr()

    def scores(queries: Sequence[str]) -> np.ndarray:
        return (term_counts(queries, settings)[:, words] @ weighted.T).toarray().astype(np.float32)

    return scores
