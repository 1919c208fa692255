"""The generative head: a tree of valid codes by hand, beam search against every item, and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import tensorflow as tf
from contract_requests import CATEGORIES, IDS, request, returned_ids

from pipelines.exporting.serving_adapter import TowerRecommender
from pipelines.scoring.generative import beam_search
from serving.graph.signatures import ServingModule
from towers.semantic.codes import last_codes
from towers.semantic.decoder import BeamSearch, CodeDecoder, CodeTree
from towers.two_tower import TwoTower

LEVELS, CODES, DIM, ITEMS = 3, 4, 8, 30


def test_the_tree_of_four_items_by_hand() -> None:
    tree = CodeTree.of(np.array([[2, 1, 0], [0, 3, 0], [2, 1, 1], [2, 0, 0], [2, 1, 4]]), num_codes=4)
    # From the root 0 and 2; below 0 the code 3, below 2 the codes 0 and 1; below these the last codes.
    assert [starts.tolist() for starts in tree.starts] == [[0, 2], [0, 1, 3], [0, 1, 2, 4]]
    assert [codes.tolist() for codes in tree.codes] == [[0, 2], [3, 0, 1], [0, 0, 0, 1]]
    # The last item has a last code that no level has: nothing leads to it.
    assert tree.items.tolist() == [1, 3, 0, 2]


def decoder() -> CodeDecoder:
    tf.keras.utils.set_random_seed(0)
    layer = CodeDecoder(LEVELS, CODES, DIM)
    layer(tf.zeros([1, DIM]), tf.zeros([1, LEVELS], tf.int32))
    for variable in layer.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, seed=1))  # far from indifferent
    return layer


def catalogue() -> np.ndarray:
    content = np.random.default_rng(0).integers(0, CODES, (ITEMS, LEVELS - 1)) // 2 * 2  # codes 0 and 2 alone
    content[:5] = np.arange(5)[:, None] % CODES
    codes = np.concatenate([content, last_codes(content)[:, None]], axis=1)
    return codes[codes[:, -1] < CODES].astype(np.int32)


def log_probabilities(layer: CodeDecoder, queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Of every item, one by one: float [B, N]."""
    return np.stack([-layer.surprisal(tf.tile(query[None], [len(codes), 1]), codes).numpy() for query in queries])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_beam_as_wide_as_the_catalogue_finds_what_going_through_all_items_finds(compiled: bool) -> None:
    layer, codes = decoder(), catalogue()
    queries = np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32)
    search = BeamSearch(layer, CodeTree.of(codes, CODES), width=100)
    items, scores = tf.function(search, autograph=False, jit_compile=compiled)(tf.constant(queries))
    expected = log_probabilities(layer, queries, codes)
    order = np.argsort(-expected, axis=1)
    assert items.numpy()[:, : len(codes)].tolist() == order.tolist()
    np.testing.assert_allclose(scores[:, : len(codes)], np.take_along_axis(expected, order, axis=1), atol=1e-4)
    assert (items.numpy()[:, len(codes) :] == -1).all()
    assert np.isneginf(scores[:, len(codes) :]).all()


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_narrow_beam_finds_different_items_of_the_catalogue_with_their_own_probabilities(width: int) -> None:
    layer, codes = decoder(), catalogue()
    queries = np.random.default_rng(2).normal(size=(7, DIM)).astype(np.float32)
    items, scores = BeamSearch(layer, CodeTree.of(codes, CODES), width)(tf.constant(queries))
    assert items.shape == (7, width)
    expected = log_probabilities(layer, queries, codes)
    for row in range(7):
        found = items[row].numpy()
        assert set(found.tolist()) <= set(range(len(codes)))
        assert len(set(found.tolist())) == width
        np.testing.assert_allclose(scores[row], expected[row, found], atol=1e-4)


def with_head(**sections: dict) -> TwoTower:
    """A small model with random codes."""
    item = {"semantic_levels": LEVELS - 1, "semantic_codes": CODES}
    model = small_model.model(small_model.config(item=item, generative={"weight": 0.5}, **sections))
    assert model.codes is not None
    model.codes.fill(np.random.default_rng(3).integers(0, CODES, (small_model.ITEMS, LEVELS - 1)).astype(np.int32))
    return model


def test_the_loss_is_the_mean_surprisal_of_the_codes_of_positives() -> None:
    model = with_head(train={"encoders": "frozen"})
    batch = small_model.events_alone(small_model.batch(4, 6))
    queries = model._query_embeddings(model._shared(batch, training=False)[0], batch, training=False)
    assert model.codes is not None
    assert model.decoder is not None
    codes = model.codes.of_catalogue(tf.reshape(batch["item_index"], [-1]))
    surprisal = np.zeros(len(codes))
    logits = tf.nn.log_softmax(model.decoder(queries, codes)).numpy()
    for position, row in enumerate(codes.numpy()):
        surprisal[position] = -sum(logits[position, level, code] for level, code in enumerate(row))
    counts = (batch["target"] & batch["positive"]).numpy().reshape(-1)
    model.compute_loss(batch, training=False)
    expected = surprisal[counts].mean()
    assert float(model.step_metrics["generative_loss"].result()) == pytest.approx(expected, rel=1e-4)
    # A sample of the catalogue changes where items stand in a batch, not what their codes are.
    model.step_metrics["generative_loss"].reset_state()
    model.compute_loss(small_model.with_candidates(batch), training=False)
    assert float(model.step_metrics["generative_loss"].result()) == pytest.approx(expected, rel=1e-3)


def test_explicit_negatives_teach_the_decoder_nothing() -> None:
    item = {"semantic_levels": LEVELS - 1, "semantic_codes": CODES}
    settings = small_model.config(item=item, generative={"weight": 0.5}, train={"encoders": "frozen"})
    model = small_model.model(settings, schema=small_model.WEIGHTED)
    batch = small_model.events_alone(small_model.batch(2, 6))
    model.compute_loss({**batch, "values": -tf.abs(batch["values"])}, training=False)
    assert float(model.step_metrics["generative_loss"].result()) == 0


@pytest.mark.slow
def test_rows_in_parts_are_the_step_of_the_batch_in_one_piece() -> None:
    gradients = []
    for parts in (1, 2):
        model = with_head(train={"encoders": "frozen", "accumulate": parts})
        batch = small_model.events_alone(small_model.batch(4, 6))
        _, _, found = model.gradients(batch, tf.constant(1.0))
        assert model.decoder is not None
        gradients.append(
            [
                tf.convert_to_tensor(gradient).numpy()
                for gradient, variable in zip(found, model.trainable_variables, strict=True)
                if any(variable is own for own in model.decoder.trainable_variables)
            ]
        )
    assert len(gradients[0]) == 12
    for whole, summed in zip(*gradients, strict=True):
        np.testing.assert_allclose(whole, summed, atol=1e-5)
    assert any(np.abs(whole).max() > 1e-3 for whole in gradients[0])


def test_the_signature_gives_items_that_are_neither_in_the_history_nor_excluded_nor_filtered_out() -> None:
    model = with_head()
    embeddings, weights = model.item_embeddings()
    assert model.codes is not None
    search = beam_search(model, model.codes.catalogue.numpy(), 50)
    adapter = TowerRecommender(model, None)
    arguments = (adapter, IDS, embeddings.numpy(), weights.numpy(), CATEGORIES)
    module = ServingModule(*arguments, pool=5, max_k=50, generator=search)
    inputs = request(
        [["i1", "i2"], [], ["i3"]],
        exclude_ids=np.array([["i4"], [""], ["nobody"]], object),
        categories=np.array([[""], ["big"], ["even"]], object),
        k=14,
    )
    outputs = {name: value.numpy() for name, value in module.signatures()["generate"](**inputs).items()}
    assert set(outputs) == {"ids", "scores"}
    left = [set(IDS) - {"i1", "i2", "i4"}, {"i7", "i9", "i11"}, {"i0", "i2", "i4", "i6", "i8", "i10"}]
    for row, expected in enumerate(left):
        ids = returned_ids(outputs, row)
        assert set(ids[: len(expected)]) == expected
        assert ids[len(expected) :] == [""] * (14 - len(expected))
        assert (np.diff(outputs["scores"][row, : len(expected)]) <= 0).all()
        assert np.isneginf(outputs["scores"][row, len(expected) :]).all()
    # Probabilities of all items of the catalogue: at most 1 in all, as other codes may be said too.
    assert 0 < np.exp(outputs["scores"][0, :9]).sum() < 1


def test_without_a_head_there_is_no_signature_to_generate() -> None:
    model = small_model.model(small_model.config(item={"semantic_ids": "beside"}))
    embeddings, weights = model.item_embeddings()
    adapter = TowerRecommender(model, None)
    module = ServingModule(adapter, IDS, embeddings.numpy(), weights.numpy(), CATEGORIES, pool=5, max_k=50)
    assert set(module.signatures()) == {
        *("recommend", "serving_default", "recommend_simple", "rank", "similar", "search", "embed_items"),
    }
