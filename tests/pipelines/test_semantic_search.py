"""Search by meaning: passages, their space, its weight, and the graph that scores as Python does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA, VOCABULARY

from pipelines.config import SearchConfig
from pipelines.exporting.serving_adapter import meaning_encoder
from pipelines.runs.run_folder import RunFolder
from pipelines.search.lexical_fit import fit_lexical
from pipelines.search.lexical_index import LexicalModel
from pipelines.search.semantic_fit import best_weight, own_scores
from pipelines.search.semantic_index import (
    SemanticIndex,
    SemanticModel,
    fit_transform,
    passages,
    passages_per_item,
    text_encoder,
    unit,
)
from pipelines.search.text_index import TextIndex, TextModel
from serving.export_check.gate import unknown_ops
from serving.graph.semantic import SemanticSearch
from towers.encoders.text import TextEncoder

SYNONYMS = {"robot": 0, "android": 0, "singer": 1, "vocalist": 1, "ship": 2, "vessel": 2, "baker": 3, "pastry": 3}
TEXTS = [
    "A robot wakes. It looks for its maker.",
    "The singer lost everything.",
    "",
    "A ship in the ice. Nobody answers. A robot keeps the log.",
]


def by_synonym(strings: Sequence[str]) -> np.ndarray:
    """An encoder that knows eight words, two of each meaning; everything has a little of a fifth direction."""
    vectors = np.full([len(strings), 5], 0.1, np.float32)
    for row, text in enumerate(strings):
        for word, meaning in SYNONYMS.items():
            vectors[row, meaning] += word in text
    return vectors


def model(whitening: float = 0.0, most: int = 8) -> SemanticModel:
    return SemanticModel.fit(TEXTS, by_synonym, SearchConfig(whitening=whitening), most)


def test_passages_are_sentences_and_neighbours_are_joined_where_they_are_too_many() -> None:
    text = "One. Two! Three?\nFour"
    assert passages(text, 4) == ["One.", "Two!", "Three?", "Four"]
    assert passages(text, 2) == ["One. Two!", "Three? Four"]
    assert passages(text, 1) == ["One. Two! Three? Four"]
    assert passages("", 4) == []


def test_large_catalogues_have_fewer_passages_an_item_and_in_the_end_none() -> None:
    settings = SearchConfig(passages=32, most_passages=1000)
    assert [passages_per_item(items, settings) for items in (0, 10, 100, 1000, 1001)] == [32, 32, 10, 1, 0]
    assert passages_per_item(10, SearchConfig(passages=0)) == 0


def test_another_word_of_the_same_meaning_finds_the_sentence() -> None:
    index = model().index(TEXTS, by_synonym)
    scores = index(["android", "vocalist", "a vessel", " "])
    assert scores.argmax(axis=1)[:3].tolist() == [0, 1, 3]
    # A cosine: the sentence and the query have the same vector.
    np.testing.assert_allclose([scores[0, 0], scores[0, 3], scores[1, 1]], 1.0, atol=1e-3)
    # Without a text, and for a blank query, nothing.
    assert not scores[:, 2].any()
    assert not scores[3].any()


def test_whitening_counts_what_all_share_less_and_of_power_zero_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=[4000, 3]) * [1.0, 0.5, 0.25] + [3.0, 0.0, 0.0])
    np.testing.assert_allclose(fit_transform(vectors, 0.0), np.eye(3), atol=1e-6)
    moment = vectors.T @ vectors / len(vectors)
    whole = vectors @ fit_transform(vectors, 0.5)
    # Power 1/2 makes the second moment a multiple of the identity: its mean eigenvalue, 1/3 for unit vectors.
    np.testing.assert_allclose(whole.T @ whole / len(vectors), np.eye(3) / 3, atol=2e-3)
    half = fit_transform(vectors, 0.25)
    np.testing.assert_allclose(half @ moment @ half, np.real(matrix_root(moment)) * np.sqrt(1 / 3), atol=2e-3)


def matrix_root(moment: np.ndarray) -> np.ndarray:
    values, directions = np.linalg.eigh(moment)
    return (directions * np.sqrt(values)) @ directions.T


def test_a_part_of_the_items_scores_as_it_does_in_the_whole() -> None:
    index = model().index(TEXTS, by_synonym)
    whole = index(["robot", "ship"])
    parts = [index.of_items(0, 3)(["robot", "ship"]), index.of_items(3, 1)(["robot", "ship"])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert index.of_items(2, 1)(["robot"]).tolist() == [[0.0]]


def test_items_score_by_the_text_that_they_are_given() -> None:
    index = model().index(TEXTS, by_synonym)
    has_text, donors = np.array([True, True, True, False]), np.array([3, 2, 1, 0])
    np.testing.assert_array_equal(
        index.with_texts(has_text, donors)(["robot", "singer"]),
        index(["robot", "singer"])[:, donors] * has_text,
    )


def test_only_sentences_that_the_trained_catalogue_lacks_are_encoded_for_another_one() -> None:
    asked: list[str] = []

    def encode(strings: Sequence[str]) -> np.ndarray:
        asked.extend(strings)
        return by_synonym(strings)

    index = model().index([*TEXTS, "The baker sings. A robot wakes."], encode)
    assert asked == ["The baker sings."]
    assert index(["pastry"])[0].argmax() == 4


def test_what_is_left_of_a_text_scores_without_the_query() -> None:
    index = model().index(TEXTS, by_synonym)
    queries, owners = ["A robot keeps the log.", "The singer"], np.array([3, 1])
    encoded = index.encoded(queries)
    rest = own_scores(index, encoded, queries, owners, TEXTS)
    # Vectors are (1.1, .1, .1, .1, .1) for a known word and five times .1 for none. Left are "A ship in the ice." (cosine
    # .2) and "Nobody answers." (.6); of a single sentence the other half, "lost everything." (.6). The whole would be 1.
    np.testing.assert_allclose(rest, [0.6, 0.6], atol=1e-3)


def test_the_weight_is_that_of_the_best_ranks() -> None:
    # Words rank the answer of both queries behind ten others; meaning knows the first alone.
    others = np.zeros(2, np.float32), np.ones([2, 12], np.float32)
    meaning = np.array([0.5, 0.0], np.float32), np.array([[0.0] * 12, [0.4] * 12], np.float32)
    none = np.zeros([2, 12], bool)
    # 0.5 w > 1 from w = 2 on; 2 itself is a tie, which counts against it.
    assert best_weight(others, meaning, none) == pytest.approx(2 * 2**0.5)
    useless = np.zeros(2, np.float32), np.full([2, 12], 0.4, np.float32)
    assert best_weight((others[0] + 2, others[1]), useless, none) == 0.0


def test_meaning_has_a_weight_where_words_fail_and_is_kept_in_the_run(tmp_path: Path) -> None:
    pairs = [("robot", "android"), ("singer", "vocalist"), ("ship", "vessel"), ("baker", "pastry")]
    texts = [f"One {a} was here before. Some {b} came back at last." for a, b in pairs] * 5
    settings = SearchConfig(queries=40, candidates=20, buckets=1024, whitening=0.0, meaning=3.0)
    semantic = SemanticModel.fit(texts, by_synonym, settings, 8)
    silent = lambda queries: np.zeros([len(queries), len(texts)], np.float32)  # noqa: E731
    lexical = fit_lexical(texts, silent, settings, 0, semantic.index(texts, by_synonym))
    assert lexical.semantic_weight > 0
    without = fit_lexical(texts, silent, settings, 0)
    assert without.semantic_weight == 0
    np.testing.assert_array_equal(without.weights, lexical.weights)
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run")
    TextModel(lexical, semantic).save(run)
    again, asked = TextModel.load(run), ["some vessel", "nothing", ""]
    index = again.index(texts, by_synonym)
    np.testing.assert_array_equal(index(asked), TextModel(lexical, semantic).index(texts, by_synonym)(asked))
    assert index.semantic is not None
    expected = index.lexical(asked) + lexical.semantic_weight * index.semantic(asked)
    np.testing.assert_allclose(index(asked), expected, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(index.blocks(asked, 7)), axis=1), expected, rtol=1e-6)
    # A lexicon of an earlier version is words alone.
    with np.load(run.lexicon) as file:
        np.savez(tmp_path / "earlier.npz", **{name: file[name] for name in file.files if name != "semantic"})
    assert LexicalModel.load(tmp_path / "earlier.npz").semantic_weight == 0
    # A run whose encoder is not a pretrained one leaves no passages of an earlier one behind.
    TextModel(without).save(run)
    assert TextModel.load(run).semantic is None


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    tf.keras.utils.set_random_seed(3)
    made = TextEncoder(TEXT_SCHEMA, VOCABULARY, **TEXT_OPTIONS)
    made(tf.constant([[2, 5, 3]]))
    return made


@pytest.fixture(scope="module")
def index(encoder: TextEncoder) -> SemanticIndex:
    texts = ["abc def. gh.", "ha be", "", "ceg. fad. bah. dec"]
    encode = text_encoder(encoder, 2)
    return SemanticModel.fit(texts, encode, SearchConfig(), 3).index(texts, encode)


QUERIES = ["abc", "", "a bag of heads and cabbages", " "]


def test_strings_are_encoded_each_as_alone_and_in_their_order(encoder: TextEncoder) -> None:
    together = text_encoder(encoder, 2)(QUERIES)
    for text, vector in zip(QUERIES, together, strict=True):
        np.testing.assert_allclose(encoder(encoder.preprocess(tf.constant([text]))).numpy()[0], vector, atol=1e-5)
    assert text_encoder(encoder, 2)([]).shape == (0, encoder.output_dim)


def test_the_graph_scores_as_python_does_and_uses_ops_of_a_stock_server(
    encoder: TextEncoder, index: SemanticIndex
) -> None:
    encode = meaning_encoder(encoder, index.model.transform)
    search = SemanticSearch(encode, index.vectors, index.owners, 6, 2.5)  # two rows of padding
    graph = tf.function(search.scores, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.string))
    scores = graph(tf.constant(QUERIES)).numpy()
    np.testing.assert_allclose(scores[:, :4], 2.5 * index(QUERIES), atol=1e-4)
    assert scores[0].max() > 0.1
    assert not scores[:, 4:].any()
    assert graph(tf.constant(["", " "])).numpy().tolist() == [[0.0] * 6] * 2
    assert graph(tf.zeros([0], tf.string)).shape == (0, 6)
    definition = graph.graph.as_graph_def()
    ops = {node.op for node in definition.node} | {
        node.op for part in definition.library.function for node in part.node_def
    }
    assert "UnsortedSegmentMax" in ops
    assert unknown_ops(ops) == []


def test_text_search_without_meaning_is_the_words(index: SemanticIndex) -> None:
    lexical = fit_lexical(TEXTS, lambda queries: np.zeros([len(queries), 4], np.float32), SearchConfig(buckets=1024), 0)
    words = lexical.index(TEXTS)
    np.testing.assert_array_equal(TextIndex(words)(["robot"]), words(["robot"]))
