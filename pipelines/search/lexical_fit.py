"""Fitting of the weights of a lexical model to the catalogue's own texts, without any logged query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy.optimize
import scipy.sparse as sp

from pipelines.config import SearchConfig
from pipelines.search.lexical_index import LexicalModel, saturated, term_counts
from pipelines.search.made_queries import as_typed, self_queries
from pipelines.search.semantic_fit import best_weight, own_scores
from pipelines.search.semantic_index import SemanticIndex
from towers.terms import KINDS, cut_into_words

__all__ = ["DenseScorer", "fit_lexical", "fit_titles", "relevance_weights"]

DenseScorer = Callable[[Sequence[str]], np.ndarray]
"""Queries [Q] -> scores float [Q, N] of the towers."""


def _kinds(settings: SearchConfig) -> list[slice]:
    return [slice(kind * settings.buckets, (kind + 1) * settings.buckets) for kind in range(len(KINDS))]


def _rest_of_texts(counts: sp.csr_matrix, query_counts: sp.csr_matrix, owners: np.ndarray) -> sp.csr_matrix:
    """Term counts [Q, V] of the text that each query is from, without the query."""
    rest = counts[owners] - query_counts
    rest.data = np.maximum(rest.data, 0.0)
    rest.eliminate_zeros()
    return rest


def relevance_weights(
    counts: sp.csr_matrix, query_counts: sp.csr_matrix, owners: np.ndarray, settings: SearchConfig
) -> np.ndarray:
    """Relevance weights of terms (Robertson and Sparck Jones, 1976), with relevance judged by the catalogue itself.

    A query made of a sentence is answered by the rest of its text. So log [p (1 - u) / ((1 - p) u)] can be counted: p,
    how often a term of a sentence is in the rest too; u, how often it is in any text. Function words get nothing, in
    whatever language and without a list of them; names and rare matters get most. The p of a term of few sentences is
    smoothed towards that of equally frequent terms.

    Args:
      counts: float csr [N, V], of the texts.
      query_counts: float csr [Q, V], of the queries.
      owners: int64 [Q], the text that each query is from.
      settings: `prior` and `sharpness`.

    Returns:
      float64 [V], at least 0.
    """
    num_items = counts.shape[0]
    rest = _rest_of_texts(counts, query_counts, owners)
    # The sentences of a text count together: a long text is not a hundred times the evidence of a short one.
    evidence = sp.diags(1.0 / np.sqrt(np.bincount(owners, minlength=num_items)[owners]))
    in_query = np.asarray((evidence @ query_counts.sign()).sum(axis=0)).ravel()
    in_rest = np.asarray((evidence @ query_counts.sign().multiply(rest.sign())).sum(axis=0)).ravel()
    frequency = counts.getnnz(axis=0)
    level = np.floor(2.0 * np.log2(frequency + 1.0)).astype(np.int64)
    level += np.arange(counts.shape[1]) // settings.buckets * (level.max() + 1)
    usual = ((np.bincount(level, in_rest) + 0.5) / (np.bincount(level, in_query) + 5.0))[level]
    relevant = np.clip((in_rest + settings.prior * usual) / (in_query + settings.prior), 1e-4, 0.95)
    unrelated = (frequency + 0.5) / (num_items + 1.0)
    odds = np.log(relevant * (1.0 - unrelated)) - np.log((1.0 - relevant) * unrelated)
    return np.maximum(odds, 0.0) ** settings.sharpness


def fit_titles(titles: Sequence[str], settings: SearchConfig, seed: int) -> LexicalModel:
    """Fit a lexical model to titles, which alone say what an item is called. Deterministic under the seed.

    Nothing repeats in a title, so a term is worth its inverse document frequency; how much each kind of term counts is
    fitted to titles as people might type them. There is no encoder beside it.

    Args:
      titles: of the items [N], "" = none, not all of them.
      settings: section `search`.
      seed: of the queries that are drawn.
    """
    counts = term_counts(titles, settings)
    named = np.flatnonzero(counts.getnnz(axis=1))
    lengths = np.array([counts[:, kind].sum() / max(1, len(named)) for kind in _kinds(settings)])
    frequency = counts.getnnz(axis=0)
    weights = np.log1p((len(titles) - frequency + 0.5) / (frequency + 0.5)) * (frequency > 0)
    rng = np.random.default_rng(seed)
    owners = rng.permutation(named)[: settings.queries]
    typed = [as_typed(title, rng) for title in cut_into_words([titles[owner] for owner in owners])]
    dense = np.zeros([len(owners), len(titles)], np.float32)
    factors = _fit_to_queries(typed, owners, counts[owners], counts, weights, dense, lengths, settings, rng)
    weights *= np.repeat(factors[: len(KINDS)], settings.buckets)
    return LexicalModel(settings, weights.astype(np.float32), lengths, 0.0)


def fit_lexical(
    texts: Sequence[str], dense: DenseScorer, settings: SearchConfig, seed: int, semantic: SemanticIndex | None = None
) -> LexicalModel:
    """Fit the weights of the terms, then of each kind of term and of the towers, then of meaning. Deterministic under the seed.

    Args:
      texts: of the items [N], "" = none.
      dense: the towers' scores.
      settings: section `search`.
      seed: of the queries that are drawn.
      semantic: over the same texts; None where the text encoder is not a pretrained one.
    """
    counts = term_counts(texts, settings)
    filled = max(1, sum(bool(text) for text in texts))
    lengths = np.array([counts[:, kind].sum() / filled for kind in _kinds(settings)])
    queries, owners = self_queries(texts)
    if not queries:
        return LexicalModel(settings, np.zeros(counts.shape[1], np.float32), lengths, 1.0)
    query_counts = term_counts(queries, settings)
    weights = relevance_weights(counts, query_counts, owners, settings)

    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(queries))[: settings.queries]
    typed = [as_typed(query, rng) for query in cut_into_words([queries[row] for row in chosen])]
    own = owners[chosen]
    # The text that a query is from competes without the whole sentence.
    rest = _rest_of_texts(counts, query_counts[chosen], own)
    factors = _fit_to_queries(typed, own, rest, counts, weights, dense(typed), lengths, settings, rng)
    weights *= np.repeat(factors[: len(KINDS)], settings.buckets)
    fitted = LexicalModel(settings, weights.astype(np.float32), lengths, float(factors[-1]))
    if semantic is None:
        return fitted
    drawn = rng.permutation(len(texts))[: settings.candidates]
    written = [queries[row] for row in chosen]
    terms, impact = query_counts[chosen].sign(), sp.diags(weights)
    scores = dense(written) * fitted.dense_weight
    of_own = scores[np.arange(len(own)), own]
    of_own += np.asarray(terms.multiply(saturated(rest, lengths, settings) @ impact).sum(axis=1)).ravel()
    of_others = scores[:, drawn] + (terms @ (saturated(counts[drawn], lengths, settings) @ impact).T).toarray()
    encoded = semantic.encoded(written)
    meaning = own_scores(semantic, encoded, written, own, texts), semantic.best(encoded)[:, drawn]
    best = best_weight((of_own, of_others), meaning, own[:, None] == drawn[None, :])
    return replace(fitted, semantic_weight=settings.meaning * best)


def _fit_to_queries(
    typed: Sequence[str],
    own: np.ndarray,
    answers: sp.csr_matrix,
    counts: sp.csr_matrix,
    weights: np.ndarray,
    dense_scores: np.ndarray,
    lengths: np.ndarray,
    settings: SearchConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fit the factors of each kind of term and of the towers' score to queries whose answers are known.

    Args:
      typed: Q queries.
      own: int64 [Q], the item that answers each.
      answers: float csr [Q, V], term counts of the own text that compete.
      counts: float csr [N, V], of all texts.
      weights: float64 [V], of the terms.
      dense_scores: float32 [Q, N], of the towers.
      lengths: float64 [kinds], see `LexicalModel`.
      settings: section `search`.
      rng: draws the other texts.

    Returns:
      float64 [kinds + 1], at least 0.
    """
    # Against so many items: enough to tell how large a score is, and it fits into memory.
    others = rng.permutation(counts.shape[0])[: settings.candidates]
    terms = term_counts(typed, settings).sign()
    answers, whole = saturated(answers, lengths, settings), saturated(counts[others], lengths, settings)
    features = np.empty([len(typed), len(others) + 1, len(KINDS) + 1], np.float32)
    for number, kind in enumerate(_kinds(settings)):
        query = terms[:, kind] @ sp.diags(weights[kind])
        features[:, 1:, number] = (query @ whole[:, kind].T).toarray()
        features[:, 0, number] = np.asarray(query.multiply(answers[:, kind]).sum(axis=1)).ravel()
    features[:, 1:, -1] = dense_scores[:, others]
    features[:, 0, -1] = dense_scores[np.arange(len(typed)), own]
    return _fit_factors(features, own[:, None] == others[None, :])


def _fit_factors(features: np.ndarray, is_own: np.ndarray) -> np.ndarray:
    """Factors of at least 0 under which a softmax over texts finds the own text of each query best.

    Args:
      features: float32 [Q, 1 + C, F], scores of the own text, then of other ones.
      is_own: bool [Q, C], others that are the own text.

    Returns:
      float64 [F], the last one of the towers' score.
    """

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        scores: np.ndarray = features @ factors.astype(np.float32)
        scores[:, 1:][is_own] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        softmax = np.exp(scores)
        softmax /= softmax.sum(axis=1, keepdims=True)
        gradient = np.einsum("qc,qcf->f", softmax, features) - features[:, 0].sum(axis=0)
        return float(-np.log(np.maximum(softmax[:, 0], 1e-30)).mean()), gradient.astype(np.float64) / len(features)

    start = np.array([0.05] * (features.shape[2] - 1) + [1.0])
    bounds = [(0.0, None)] * len(start)
    return np.asarray(scipy.optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x)
