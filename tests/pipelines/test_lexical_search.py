"""Lexical text search: terms, their fitted weights, and the index in Python and in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from contract_requests import CATEGORIES, IDS, request, returned_ids
from small_model import ITEMS, config, model

from pipelines.config import SearchConfig
from pipelines.exporting.serving_adapter import TowerRecommender
from pipelines.search.lexical_fit import fit_lexical, relevance_weights
from pipelines.search.lexical_index import LexicalIndex, LexicalModel, term_counts
from pipelines.search.made_queries import as_typed, self_queries
from serving.export_check.gate import unknown_ops
from serving.graph.lexical import LexicalSearch
from serving.graph.signatures import ServingModule
from towers.terms import extract_terms, unique_terms

SETTINGS = SearchConfig(queries=50, candidates=50)
SUBJECTS = [
    "vampire",
    "robot",
    "submarine",
    "violin",
    "glacier",
    "casino",
    "tango",
    "beehive",
    "pharaoh",
    "rodeo",
    "opera",
    "",
]
TEXTS = [
    f"The {word} comes to the town. In the night the {word} is alone. The end is the end of the {word}." if word else ""
    for word in SUBJECTS
]


def terms(text: str) -> dict[int, int]:
    matrix = term_counts([text], SETTINGS).tocoo()
    return dict(zip(matrix.col.tolist(), matrix.data.astype(int).tolist(), strict=True))


def kinds(keys: set[int]) -> list[int]:
    """How many of the terms are words, beginnings, runs of letters."""
    return np.bincount([key // SETTINGS.buckets for key in keys], minlength=3).tolist()


@pytest.fixture(scope="module")
def fitted() -> LexicalModel:
    return fit_lexical(TEXTS, lambda queries: np.zeros([len(queries), len(TEXTS)], np.float32), SETTINGS, 0)


@pytest.fixture(scope="module")
def index(fitted: LexicalModel) -> LexicalIndex:
    return fitted.index(TEXTS)


@pytest.fixture(scope="module")
def lexical(index: LexicalIndex) -> LexicalSearch:
    return LexicalSearch(index.model.terms, index.postings(), len(TEXTS), index.model.dense_weight)


def test_terms_of_a_word_are_itself_its_beginning_and_its_runs_of_letters() -> None:
    # robots: word, robot, and robo obot bots
    assert kinds(set(terms("robots"))) == [1, 1, 3]
    # ab: shorter than both, so its own beginning and run
    assert kinds(set(terms("ab"))) == [1, 1, 1]
    assert sum(terms("robots and robots").values()) == 2 * 5 + 3


def test_another_form_of_a_word_shares_all_but_the_word() -> None:
    shared = set(terms("robots")) & set(terms("robot"))
    assert kinds(shared) == [0, 1, 2]


def test_case_accents_and_marks_do_not_count() -> None:
    assert terms("Café, crème-brûlée!") == terms("CAFE CREME (brulee)")


def test_no_text_has_no_terms() -> None:
    assert terms("") == terms(" ... ") == {}


def test_a_term_counts_once_in_a_query() -> None:
    row, term = unique_terms(*extract_terms(tf.constant(["ab ab", "ab"]), buckets=1024, prefix=5, gram=4), 3 * 1024)
    first, second = (sorted(term.numpy()[row.numpy() == number].tolist()) for number in (0, 1))
    assert first == second
    assert len(first) == 3


def test_queries_are_sentences_or_halves_of_a_single_one() -> None:
    queries, owners = self_queries(["One two three. Four five six! Seven.", "a b c d e f", "", "x y"])
    assert queries == ["One two three.", "Four five six!", "a b c", "d e f"]
    assert owners.tolist() == [0, 0, 1, 1]


def test_typed_queries_have_half_of_the_words_some_without_their_ends() -> None:
    sentence = " ".join(["submarine"] * 2000)
    typed = as_typed(sentence, np.random.default_rng(0)).split()
    assert 900 < len(typed) < 1100
    assert set(typed) == {"submarine", "submarin", "submari"}


def test_what_comes_again_in_its_own_text_alone_is_worth_most_and_function_words_nothing() -> None:
    counts = term_counts(TEXTS, SETTINGS)
    queries, owners = self_queries(TEXTS)
    weights = relevance_weights(counts, term_counts(queries, SETTINGS), owners, SETTINGS)

    def worth(word: str) -> float:
        return float(weights[min(terms(word))])  # words have the lowest numbers

    # "town" is in every text with words, and in the rest of none.
    assert worth("the") < 0.5 * worth("robot")
    assert worth("town") == 0.0
    assert worth("robot") > 1.0


def test_fitting_twice_gives_the_same(fitted: LexicalModel) -> None:
    again = fit_lexical(TEXTS, lambda queries: np.zeros([len(queries), len(TEXTS)], np.float32), SETTINGS, 0)
    np.testing.assert_array_equal(fitted.weights, again.weights)


def test_encoders_count_as_far_as_they_find_the_text() -> None:
    def knowing(queries: Any) -> np.ndarray:
        scores = np.zeros([len(queries), len(TEXTS)], np.float32)
        for row, query in enumerate(queries):
            scores[row, [word != "" and word[:4] in query for word in SUBJECTS]] = 5.0
        return scores

    def noise(queries: Any) -> np.ndarray:
        return np.random.default_rng(0).normal(size=[len(queries), len(TEXTS)]).astype(np.float32)

    good, bad = (fit_lexical(TEXTS, dense, SETTINGS, 0).dense_weight for dense in (knowing, noise))
    assert good > 0.5
    assert bad < 0.5 * good


def test_a_catalogue_without_text_has_nothing_to_match() -> None:
    empty = fit_lexical(["", ""], lambda queries: np.zeros([len(queries), 2], np.float32), SETTINGS, 0)
    assert empty.index(["", ""])(["robot"]).tolist() == [[0.0, 0.0]]


def test_a_saved_model_is_the_same(fitted: LexicalModel, index: LexicalIndex, tmp_path: Path) -> None:
    fitted.save(tmp_path / "lexicon.npz")
    loaded = LexicalModel.load(tmp_path / "lexicon.npz")
    assert (loaded.settings, loaded.dense_weight) == (fitted.settings, fitted.dense_weight)
    np.testing.assert_array_equal(loaded.index(TEXTS)(["a robot"]), index(["a robot"]))
    assert [path.name for path in tmp_path.iterdir()] == ["lexicon.npz"]


QUERIES = ["the robot", "", "vampires of the glacier", "unheard-of", "opera opera opera"]


def test_the_graph_scores_as_scipy_does(index: LexicalIndex, lexical: LexicalSearch) -> None:
    graph = tf.function(lexical.scores, input_signature=[tf.TensorSpec([None], tf.string)])
    expected = index(QUERIES)
    np.testing.assert_allclose(graph(tf.constant(QUERIES)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lexical.scores(tf.constant(QUERIES)), expected, rtol=1e-5, atol=1e-6)
    assert expected.argmax(axis=1)[[0, 4]].tolist() == [SUBJECTS.index("robot"), SUBJECTS.index("opera")]
    assert not expected[[1, 3]].any()
    assert graph(tf.zeros([0], tf.string)).shape == (0, len(TEXTS))


def test_a_query_scores_alone_as_in_a_batch(lexical: LexicalSearch) -> None:
    together = lexical.scores(tf.constant(QUERIES)).numpy()
    for row, query in enumerate(QUERIES):
        np.testing.assert_array_equal(lexical.scores(tf.constant([query])).numpy()[0], together[row])


def test_new_items_are_found_by_words_that_no_text_had(fitted: LexicalModel) -> None:
    texts = [*TEXTS, "A hippopotamus learns to swim."]
    assert fitted.index(texts)(["hippopotamus"])[0].argmax() == len(TEXTS)


# --- in the signatures -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules(lexical: LexicalSearch) -> tuple[ServingModule, ServingModule]:
    """A model without and with the index."""
    trained = model(config())
    item_embeddings, weights = trained.item_embeddings()
    arguments = (TowerRecommender(trained, None), IDS, item_embeddings.numpy(), weights.numpy(), CATEGORIES)
    return (
        ServingModule(*arguments, pool=5, max_k=50),
        ServingModule(*arguments, pool=5, max_k=50, lexical=lexical),
    )


@pytest.fixture(scope="module")
def signatures(modules: tuple[ServingModule, ServingModule]) -> tuple[dict[str, Any], dict[str, Any]]:
    without, with_index = modules
    return without.signatures(), with_index.signatures()


@pytest.mark.slow
def test_search_finds_by_a_word(signatures: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert len(TEXTS) == ITEMS
    search = signatures[1]["search"]
    answer = search(query=tf.constant(["where the robots are", ""]), k=tf.constant([1, 1]))
    assert answer["ids"].numpy().tolist() == [[b"i1"], [b""]]


@pytest.mark.slow
def test_search_adds_the_words_to_the_encoders(
    signatures: tuple[dict[str, Any], dict[str, Any]], index: LexicalIndex
) -> None:
    query = tf.constant(["the opera"])
    plain, both = (functions["search"](query=query, k=tf.constant([ITEMS])) for functions in signatures)
    alone = dict(zip(found_ids(plain), plain["scores"].numpy()[0], strict=True))
    words = dict(zip(IDS, index(["the opera"])[0], strict=True))
    for item, score in zip(found_ids(both), both["scores"].numpy()[0], strict=True):
        np.testing.assert_allclose(score, index.model.dense_weight * alone[item] + words[item], rtol=1e-4, atol=1e-5)


def found_ids(answer: dict[str, tf.Tensor]) -> list[str]:
    return [item.decode() for item in answer["ids"].numpy()[0]]


@pytest.mark.slow
def test_recommending_without_a_query_is_as_before(signatures: tuple[dict[str, Any], dict[str, Any]]) -> None:
    inputs = request([["i3", "i4"], []])
    before, after = (functions["recommend"](**inputs) for functions in signatures)
    for name, value in before.items():
        np.testing.assert_array_equal(value.numpy(), after[name].numpy())


@pytest.mark.slow
def test_recommending_and_ranking_with_a_query_know_its_words(
    signatures: tuple[dict[str, Any], dict[str, Any]], index: LexicalIndex
) -> None:
    inputs = request([["i3", "i4"]], query=np.array(["casino"], object))
    answers = [functions["recommend"](**inputs) for functions in signatures]
    outputs = {name: value.numpy() for name, value in answers[1].items()}
    assert "i5" in returned_ids(outputs)
    candidates = {name: value for name, value in inputs.items() if name != "k"} | {
        "candidate_ids": tf.constant([["i5", "i6", "nobody"]])
    }
    plain, both = (functions["rank"](**candidates)["scores"].numpy()[0] for functions in signatures)
    np.testing.assert_allclose(both[:2] - plain[:2], index(["casino"])[0, 5:7], rtol=1e-4, atol=1e-5)
    assert both[2] == -np.inf


def test_the_index_uses_ops_of_a_stock_server_only(lexical: LexicalSearch) -> None:
    graph = tf.function(lexical.scores).get_concrete_function(tf.TensorSpec([None], tf.string)).graph.as_graph_def()
    ops = {node.op for node in graph.node} | {node.op for part in graph.library.function for node in part.node_def}
    assert "StringNGrams" in ops
    assert unknown_ops(ops) == []
