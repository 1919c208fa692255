"""What each term of a text query is worth, learned from the catalogue's own texts, and the index that it makes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.sparse as sp
import tensorflow as tf

from pipelines.config import Config, SearchConfig
from serving.graph.lexical import Postings
from tfrecs.reading.reader import Catalogue, item_features
from towers.terms import KINDS, extract_terms, unique_terms
from towers.two_tower import TwoTower

# Behind full-width marks there need be no space.
_SENTENCE = re.compile("(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\\s+|(?<=[\u3002\uff01\uff1f])|\n+")
_BLOCK = 1024  # texts whose terms are extracted at a time
_LONGEST = 40  # words of a query made from a text; longer sentences are cut

Dense = Callable[[Sequence[str]], np.ndarray]
"""Queries [Q] -> scores float [Q, N] of the encoders."""


@dataclass(frozen=True)
class Lexicon:
    """The lexical part of search, fitted.

    Attributes:
      settings: section `search`.
      weights: float32 [V], what a term is worth.
      lengths: float64 [3], mean number of terms of each kind in a text.
      dense: what the encoders' score is worth beside them.
    """

    settings: SearchConfig
    weights: np.ndarray
    lengths: np.ndarray
    dense: float

    @property
    def size(self) -> int:
        """V."""
        return len(KINDS) * self.settings.buckets

    def terms(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [B] -> row, term int64 [P], none twice in a text. In plain TensorFlow ops, for the graph."""
        return unique_terms(*_extract(texts, self.settings), self.size)

    def impacts(self, texts: Sequence[str]) -> sp.csr_matrix:
        """float32 [N, V]: what each term of a query gives each text."""
        matrix = saturated(term_counts(texts, self.settings), self.lengths, self.settings)
        matrix = (matrix @ sp.diags(self.weights)).tocsr()
        matrix.eliminate_zeros()
        return matrix.astype(np.float32)

    def postings(self, texts: Sequence[str]) -> Postings:
        """The inverted index of a catalogue: texts [N], "" = none."""
        by_term = self.impacts(texts).tocsc()
        by_term.sort_indices()
        return Postings(by_term.indptr.astype(np.int64), by_term.indices.astype(np.int32), by_term.data)

    def scores(self, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """float32 [Q, N], as the index in the graph gives them."""
        asked = term_counts(queries, self.settings).sign()
        return np.asarray((asked @ self.impacts(texts).T).todense(), np.float32)

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        temporary = path.with_name(f".{path.name}")
        settings = self.settings.model_dump_json()
        np.savez(temporary, weights=self.weights, lengths=self.lengths, dense=self.dense, settings=settings)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        with np.load(path) as there:
            settings = SearchConfig.model_validate_json(str(there["settings"]))
            return cls(settings, there["weights"], there["lengths"], float(there["dense"]))


def item_texts(model: TwoTower, catalogue: Catalogue) -> list[str]:
    """str [N], "" = none: the feature that text queries are asked of. The model must take text queries."""
    if model.query_encoder is None:
        raise ValueError("this data set has no text feature, so there is no text query")
    values, _ = item_features(model.schema, catalogue.serialized)
    return [text.decode() for text in values[model.query_encoder.schema.name].numpy()]


def encoder_scores(model: TwoTower, batch: int) -> Dense:
    """The trained query encoder against the trained items, `batch` queries at a time."""
    table = model.item_embeddings()[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def scores(queries: tf.Tensor) -> tf.Tensor:
        assert model.query_encoder is not None
        return model.scores(model.encode_query(model.query_encoder.preprocess_query(queries)), table)

    def dense(queries: Sequence[str]) -> np.ndarray:
        parts = [tf.constant(list(queries[start : start + batch])) for start in range(0, len(queries), batch)]
        return np.concatenate([scores(part).numpy() for part in parts])

    return dense


def run_lexicon(path: Path, model: TwoTower, catalogue: Catalogue, config: Config) -> Lexicon:
    """The lexicon of a run: read from `path`, or fitted to its items and trained model and written there."""
    if path.is_file():
        return Lexicon.load(path)
    texts = item_texts(model, catalogue)
    lexicon = fit_lexicon(texts, encoder_scores(model, config.train.encode_batch_size), config.search, config.seed)
    lexicon.save(path)
    return lexicon


def _extract(texts: tf.Tensor, settings: SearchConfig) -> tuple[tf.Tensor, tf.Tensor]:
    return extract_terms(texts, buckets=settings.buckets, prefix=settings.prefix, gram=settings.gram)


def term_counts(texts: Sequence[str], settings: SearchConfig) -> sp.csr_matrix:
    """float32 [B, V]: how often each term stands in each text."""
    width = len(KINDS) * settings.buckets
    blocks = []
    for start in range(0, len(texts), _BLOCK):
        block = list(texts[start : start + _BLOCK])
        row, term = (part.numpy() for part in _extract(tf.constant(block, tf.string), settings))
        counts = sp.coo_matrix((np.ones(len(row), np.float32), (row, term)), (len(block), width))
        blocks.append(counts.tocsr())
    return sp.vstack(blocks, "csr") if blocks else sp.csr_matrix((0, width), dtype=np.float32)


def _kinds(matrix: sp.csr_matrix, settings: SearchConfig) -> list[slice]:
    return [slice(kind * settings.buckets, (kind + 1) * settings.buckets) for kind in range(len(KINDS))]


def saturated(counts: sp.csr_matrix, lengths: np.ndarray, settings: SearchConfig) -> sp.csr_matrix:
    """BM25's term frequency (Robertson and Zaragoza, 2009): more of a term is worth less and less, in a long text too."""
    table = counts.tocoo()
    kind = table.col // settings.buckets
    length = np.zeros([counts.shape[0], len(KINDS)])
    np.add.at(length, (table.row, kind), table.data)
    share = length[table.row, kind] / np.maximum(lengths[kind], 1e-9)
    long = settings.k1 * (1.0 - settings.b + settings.b * share)
    return sp.csr_matrix((table.data * (settings.k1 + 1.0) / (table.data + long), (table.row, table.col)), counts.shape)


def self_queries(texts: Sequence[str], shortest: int = 3) -> tuple[list[str], np.ndarray]:
    """The sentences of the texts as queries (inverse cloze task: Lee et al., 2019, arXiv:1906.00300).

    Returns:
      queries, and int64: the text that each is from. A text of one sentence gives its two halves.
    """
    queries, owners = [], []
    for owner, text in enumerate(texts):
        parts = [part.split()[:_LONGEST] for part in _SENTENCE.split(text) if part]
        if len(parts) == 1:
            half = len(parts[0]) // 2
            parts = [parts[0][:half], parts[0][half:]]
        for words in parts:
            if len(words) >= shortest:
                queries.append(" ".join(words))
                owners.append(owner)
    return queries, np.array(owners, np.int64)


def as_typed(sentence: str, rng: np.random.Generator) -> str:
    """A sentence as somebody might recall it: half of its words, half of these without their last one or two letters,
    for what people type is shorter than what is written, in other forms, and not always spelt right."""
    kept = [word for word in sentence.split() if rng.random() < 0.5]
    return " ".join(word[: -rng.integers(1, 3)] if len(word) > 4 and rng.random() < 0.5 else word for word in kept)


def relevance_weights(
    counts: sp.csr_matrix, asked: sp.csr_matrix, owners: np.ndarray, settings: SearchConfig
) -> np.ndarray:
    """What a term in a query says: the relevance weight of Robertson and Sparck Jones (1976), with its relevance judged
    by the catalogue itself.

    A query made of a sentence is answered by the rest of its text. So log [p (1 - u) / ((1 - p) u)] can be
    counted: p, how often a term of a sentence stands in the rest too; u, in how many texts at all. Function words get
    nothing, with no list of them, in whatever language; names and rare matters most. Terms of few sentences lean on
    those as frequent as they are.

    Args:
      counts: float [N, V], the texts.
      asked: float [Q, V], the queries.
      owners: int64 [Q], the text that each query is from.

    Returns:
      float64 [V], at least 0.
    """
    items = counts.shape[0]
    rest = counts[owners] - asked
    rest.data = np.maximum(rest.data, 0.0)
    # The sentences of a text speak together: a long text is not a hundred times the evidence of a short one.
    voice = sp.diags(1.0 / np.sqrt(np.bincount(owners, minlength=items)[owners]))
    seen = np.asarray((voice @ asked.sign()).sum(axis=0)).ravel()
    again = np.asarray((voice @ asked.sign().multiply(rest.sign())).sum(axis=0)).ravel()
    frequency = counts.getnnz(axis=0)
    level = np.floor(2.0 * np.log2(frequency + 1.0)).astype(np.int64)
    level += np.arange(counts.shape[1]) // settings.buckets * (level.max() + 1)
    usual = ((np.bincount(level, again) + 0.5) / (np.bincount(level, seen) + 5.0))[level]
    relevant = np.clip((again + settings.prior * usual) / (seen + settings.prior), 1e-4, 0.95)
    unrelated = (frequency + 0.5) / (items + 1.0)
    odds = np.log(relevant * (1.0 - unrelated)) - np.log((1.0 - relevant) * unrelated)
    return np.maximum(odds, 0.0) ** settings.sharpness


def fit_lexicon(texts: Sequence[str], dense: Dense, settings: SearchConfig, seed: int) -> Lexicon:
    """Fits the terms' weights, then how much each kind of term and the encoders count. Deterministic under the seed.

    Args:
      texts: of the items [N], "" = none.
      dense: the encoders' scores.
    """
    counts = term_counts(texts, settings)
    filled = max(1, sum(bool(text) for text in texts))
    lengths = np.array([counts[:, part].sum() / filled for part in _kinds(counts, settings)])
    queries, owners = self_queries(texts)
    if not queries:
        return Lexicon(settings, np.zeros(counts.shape[1], np.float32), lengths, 1.0)
    asked = term_counts(queries, settings)
    weights = relevance_weights(counts, asked, owners, settings)
    shares = _shares(queries, owners, asked, counts, weights, lengths, dense, settings, seed)
    weights *= np.repeat(shares[: len(KINDS)], settings.buckets)
    return Lexicon(settings, weights.astype(np.float32), lengths, float(shares[-1]))


def _shares(
    queries: Sequence[str],
    owners: np.ndarray,
    asked: sp.csr_matrix,
    counts: sp.csr_matrix,
    weights: np.ndarray,
    lengths: np.ndarray,
    dense: Dense,
    settings: SearchConfig,
    seed: int,
) -> np.ndarray:
    """float64 [kinds + 1]: factors, at least 0, under which the softmax over the items finds a query's own text best.

    Queries are sentences `as_typed`. The text that a query is from competes without the whole sentence.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(queries))[: settings.queries]
    typed = [as_typed(queries[row], rng) for row in chosen]
    own = owners[chosen]
    # Against so many items: enough to tell how large a score is, and it fits into memory.
    others = rng.permutation(counts.shape[0])[: settings.candidates]
    terms = term_counts(typed, settings).sign()
    rest = counts[own] - asked[chosen]
    rest.data = np.maximum(rest.data, 0.0)
    rest.eliminate_zeros()
    left, there = saturated(rest, lengths, settings), saturated(counts[others], lengths, settings)
    encoded = dense(typed)
    rows = np.arange(len(chosen))
    features = np.empty([len(chosen), len(others) + 1, len(KINDS) + 1], np.float32)
    for kind, part in enumerate(_kinds(counts, settings)):
        query = terms[:, part] @ sp.diags(weights[part])
        features[:, 1:, kind] = (query @ there[:, part].T).toarray()
        features[:, 0, kind] = np.asarray(query.multiply(left[:, part]).sum(axis=1)).ravel()
    features[:, 1:, -1] = encoded[:, others]
    features[:, 0, -1] = encoded[rows, own]
    same = own[:, None] == others[None, :]

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        scores = features @ factors.astype(np.float32)
        scores[:, 1:][same] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores)
        shares /= shares.sum(axis=1, keepdims=True)
        gradient = np.einsum("qc,qcf->f", shares, features) - features[:, 0].sum(axis=0)
        return float(-np.log(np.maximum(shares[:, 0], 1e-30)).mean()), gradient.astype(np.float64) / len(rows)

    start = np.array([0.05] * len(KINDS) + [1.0])
    bounds = [(0.0, None)] * len(start)
    return np.asarray(scipy.optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x)
