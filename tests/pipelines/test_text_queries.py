"""Text queries of events in a training step and in held-out requests, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import small_model
import tensorflow as tf
from held_out_events import ANN, BOB, lists, schema
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA, VOCABULARY
from small_model import WEIGHTED, assert_same_weights, sgd_step, weighted, with_own

from pipelines.evaluation.text_slices import bm25
from pipelines.scoring.requests import make_requests
from pipelines.search.lexical_index import LexicalModel
from pipelines.training.input_pipeline import made_queries, typed_queries
from towers.encoders.text import TextEncoder
from towers.text_queries import answers, at_positions, query_tokens

# Two windows of three positions: items 4, 5, 6 and 4, 7 with padding; item 4 was asked for in the first, 7 in the second.
INPUTS: dict[str, Any] = {
    "item_index": tf.constant([[4, 5, 6], [4, 7, 0]]),
    "target": tf.constant([[True, True, True], [True, True, False]]),
    "positive": tf.constant([[True, True, True], [True, False, False]]),
    "spans": tf.constant([[2, 9, 3, 0], [2, 9, 3, 0], [2, 3, 0, 0]]),
    "fresh_index": tf.constant([4, 7, 5]),
    "queries": tf.constant([[2, 8, 3, 0], [2, 8, 3, 0], [2, 3, 0, 0], [2, 3, 0, 0]]),
    "query_position": tf.constant([0, 4, -1, -1]),
    "query_given": tf.constant([True, False, False, False]),
    "has_query": tf.constant([[True, False, False], [False, True, False]]),
    "span_index": tf.constant([4, -1, 5]),
}


def test_a_query_answers_with_the_item_of_its_event_and_a_made_one_with_its_own() -> None:
    items, weight = answers(INPUTS)
    assert query_tokens(INPUTS).shape == [7, 4]
    # Made: item 4; 7 is asked for by its only event; 5 has no text. Typed: 4, then 7, which was not liked; two paddings.
    assert weight.numpy().tolist() == [1, 0, 0, 1, 0, 0, 0]
    assert items.numpy()[[0, 3]].tolist() == [4, 4]
    assert items.numpy().min() >= 0


def test_a_position_gets_its_own_query_or_a_made_one_or_none() -> None:
    encoded = tf.constant([[1.0], [2.0], [3.0], [10.0], [20.0], [30.0], [30.0]])
    given = at_positions(encoded, INPUTS, tf.ones([2, 3])).numpy()[:, :, 0]
    # Item 4: typed in the first window, made in the second; 7 has one of its own, which is not given; 6 is not fresh.
    assert given.tolist() == [[10, 3, 0], [1, 0, 0]]
    kept = at_positions(encoded, INPUTS, tf.zeros([2, 3])).numpy()[:, :, 0]
    assert kept.tolist() == [[10, 0, 0], [0, 0, 0]]  # `keep` is about made ones.


@pytest.mark.slow
def test_own_queries_are_drawn_tokenised_and_placed() -> None:
    encoder = TextEncoder(schema=TEXT_SCHEMA, vocabulary=VOCABULARY, **TEXT_OPTIONS)
    text = tf.constant([["abba", "", "cafe"], ["", "gag", "egg"]])
    target = tf.constant([[True, True, True], [True, True, False]])  # "egg" belongs to no target.
    index, fresh = tf.constant([[4, 5, 6], [6, 7, 8]]), tf.constant([4, 6, 5, -1])

    def drawn(count: int, rate: float, seed: int = 1) -> dict[str, np.ndarray]:
        of = made_queries(text, index, target, fresh)
        of |= typed_queries(
            text, of["has_query"], encoder, count=count, rate=rate, seed=tf.constant([seed, 5], tf.int64)
        )
        return {name: value.numpy() for name, value in of.items()}

    batch = drawn(4, 1.0)
    assert sorted(batch["query_position"].tolist()) == [-1, 0, 2, 4]
    words = {0: "abba", 2: "cafe", 4: "gag", -1: ""}
    expected = encoder.preprocess_query(tf.constant([words[at] for at in batch["query_position"].tolist()]))
    assert batch["queries"].tolist() == expected.numpy().tolist()
    assert batch["query_given"].tolist() == (batch["query_position"] >= 0).tolist()
    assert batch["has_query"].tolist() == [[True, False, True], [False, True, False]]
    # Item 4 was asked for by its only event; 6 by one of two; 5 by none.
    assert batch["span_index"].tolist() == [-1, 6, 5, -1]
    few = [drawn(2, 0.5, seed) for seed in range(40)]
    assert {at for one in few for at in one["query_position"].tolist()} == {0, 2, 4}
    assert all(len(set(one["query_position"].tolist())) == 2 for one in few)
    assert 0.3 < np.mean([one["query_given"].mean() for one in few]) < 0.7
    assert drawn(2, 0.5, 7)["query_position"].tolist() == few[7]["query_position"].tolist()


@pytest.mark.matrix
@pytest.mark.slow
def test_a_weighted_step_with_queries_compiled_by_xla_is_the_same_step() -> None:
    settings = small_model.config(retrieval={"softmax": "full"})
    plain, compiled = small_model.model(settings, schema=WEIGHTED), small_model.model(settings, schema=WEIGHTED)
    batch = with_own(weighted(small_model.batch(4, 6)), [0, 7, 13, -1])
    assert sgd_step(plain, batch) == pytest.approx(sgd_step(compiled, batch, jit=True), rel=1e-4)
    assert_same_weights(plain, compiled, 1e-4)


@pytest.mark.slow
def test_weighted_losses_of_replicas_with_queries_sum_to_the_loss_of_the_global_batch(
    two_replicas: tf.distribute.Strategy,
) -> None:
    settings = small_model.config()
    # Rows 0 to 3, positions 0 to 23, are the first half; to the second its own begin at 0.
    batch = with_own(weighted(small_model.batch(8, 8)), [0, 7, 24, 31])
    expected = float(small_model.model(settings, schema=WEIGHTED).compute_loss(batch, training=True))
    with two_replicas.scope():
        model = small_model.model(settings, schema=WEIGHTED)
    halves = [small_model.half(batch, part) for part in (0, 1)]
    halves[1]["query_position"] -= 24
    values = two_replicas.experimental_distribute_values_from_function(
        lambda context: halves[context.replica_id_in_sync_group]
    )
    run = tf.function(
        lambda part: two_replicas.run(lambda inputs: model.compute_loss(inputs, training=True), (part,)),
        autograph=False,
    )
    losses = two_replicas.reduce(tf.distribute.ReduceOp.SUM, run(values), axis=None)
    assert float(losses) == pytest.approx(expected, abs=1e-4)


@pytest.mark.matrix
@pytest.mark.slow
def test_training_on_queries_lowers_their_loss() -> None:
    model = small_model.model(small_model.config(retrieval={"search_weight": 1.0}))
    batch = with_own(small_model.batch(8, 8), [0, 6, 12, 18])
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    losses = model.fit(tf.data.Dataset.from_tensors(batch).repeat(20), epochs=2, verbose=0).history["search_loss"]
    assert losses[1] < 0.8 * losses[0]


QUERIES = np.array([b"", b"old", b"", b"new", b"new"], object)


def test_a_held_out_event_asks_with_what_was_typed_before_it() -> None:
    asked = schema(ordered=True).model_copy(update={"has_queries": True})
    requests = make_requests([replace(ANN, queries=QUERIES), replace(BOB, queries=QUERIES[:1])], asked)
    assert requests.texts is not None
    assert requests.texts.tolist() == ["", "new", "new", ""]  # Ann's events 2, 3 and 4; Bob's only one.
    assert requests.without_texts().texts is None
    assert make_requests([ANN, BOB], schema(ordered=True)).texts is None


def test_without_order_each_text_of_a_user_is_a_request_of_its_own() -> None:
    asked = schema(ordered=False).model_copy(update={"has_queries": True})
    requests = make_requests([replace(ANN, queries=QUERIES)], asked)
    assert requests.texts is not None
    assert requests.texts.tolist() == ["", "new"]
    # Held out are 9, then 4 (not liked) and 7, both asked for as "new".
    assert lists(requests.queries.targets) == [[9], [7]]
    assert lists(requests.queries.histories) == [[5, 3], [5, 3]]
    assert requests.pair_rows.tolist() == [0, 1, 1]
    assert requests.pair_items.tolist() == [9, 4, 7]


def test_words_of_a_text_that_an_item_does_not_have_say_nothing() -> None:
    settings = small_model.config().search.model_copy(update={"buckets": 1024})
    model = LexicalModel(settings, np.ones(3 * 1024, np.float32), np.full(3, 2.0), 1.0)
    words = model.index(["quiet night", "loud day", ""])
    scores = words(["quiet", "", "day"])
    assert scores.shape == (3, 3)
    assert (scores > 0).tolist() == [[True, False, False], [False] * 3, [False, True, False]]
    left = words.with_texts(np.array([False, True, True]))(["quiet", "", "day"])
    assert (left > 0).tolist() == [[False] * 3, [False] * 3, [False, True, False]]
    moved = words.with_texts(np.ones(3, bool), np.array([2, 0, 1]))(["quiet"])
    assert (moved > 0).tolist() == [[False, True, False]]


def test_bm25_by_hand() -> None:
    settings = small_model.config().search
    score = bm25(["a b", "a a a c", ""], settings, (1.2, 0.75))(["a c", "zzz"])
    # Two texts, mean length 3. idf = log(1 + (2 - n + .5) / (n + .5)): a in two, c in one.
    a, c = np.log(1 + 0.5 / 2.5), np.log(1 + 1.5 / 1.5)

    def part(tf: float, length: float) -> float:
        return tf / (tf + 1.2 * (0.25 + 0.75 * length / 3))

    np.testing.assert_allclose(score[0], [a * part(1, 2), a * part(3, 4) + c * part(1, 4), 0.0], rtol=1e-5)
    assert score[1].tolist() == [0, 0, 0]
    assert bm25(["", ""], settings, (1.2, 0.75))(["a"]).tolist() == [[0, 0]]
