"""Semantic IDs: codes by hand, items that share them, and what a training step does with them."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import tensorflow as tf
from small_model import assert_same_weights, compile_with_rows

from pipelines.model.model_factory import make_codes
from pipelines.training.semantic_ids import describe_codes, fit_codebooks, residual_k_means
from pipelines.training.warm_start import take_over
from tfrecs.errors import SpecError
from towers.semantic.codes import UNUSED, SemanticCodes, last_codes, quantise
from towers.two_tower import TwoTower

# Two groups ten apart, two members each, one apart: the first level finds the groups, the second what is left within them.
POINTS = np.array([[10, 1], [0, 0], [10, 0], [0, 1]], np.float32)
CODEBOOKS = [[[0, 0.5], [10, 0.5]], [[0, -0.5], [0, 0.5]]]
CODES = [[1, 1], [0, 0], [1, 0], [0, 1]]


def test_codebooks_and_codes_of_two_levels_by_hand() -> None:
    codebooks = residual_k_means(POINTS, 2, 2, seed=0)
    np.testing.assert_allclose(codebooks, CODEBOOKS, atol=1e-6)
    assert quantise(tf.constant(POINTS), tf.unstack(codebooks)).numpy().tolist() == CODES


def test_of_more_codes_than_contents_the_rest_is_never_used() -> None:
    codebooks = residual_k_means(POINTS, 2, 7, seed=0)
    # Four different points have four centres, in order; nothing is left of them but one residual, zero.
    np.testing.assert_allclose(codebooks[0, :4], [[0, 0], [0, 1], [10, 0], [10, 1]], atol=1e-6)
    assert (codebooks[0, 4:] == UNUSED).all()
    np.testing.assert_allclose(codebooks[1, 0], [0, 0], atol=1e-6)
    assert quantise(tf.constant(POINTS), tf.unstack(codebooks)).numpy().tolist() == [[3, 0], [0, 0], [2, 0], [1, 0]]


def test_the_same_seed_gives_the_same_codebooks() -> None:
    content = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    first, second, other = (residual_k_means(content, 3, 8, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    # Each level leaves less.
    left = [content]
    for centres, code in zip(first, quantise(tf.constant(content), tf.unstack(first)).numpy().T, strict=True):
        left.append(left[-1] - centres[code])
    lengths = [float(np.square(rest).sum()) for rest in left]
    assert lengths == sorted(lengths, reverse=True)


def test_a_last_code_tells_items_with_the_same_codes_apart() -> None:
    codes = np.array([[1, 1], [0, 0], [1, 1], [0, 1], [1, 1], [0, 0]])
    assert last_codes(codes).tolist() == [0, 0, 1, 0, 2, 1]
    whole = np.concatenate([codes, last_codes(codes)[:, None]], axis=1)
    assert len(np.unique(whole, axis=0)) == len(whole)
    assert describe_codes(whole) == "2 x 2 codes, 3 different ones for 6 items, at most 3 alike"


def test_each_modality_counts_alike_and_a_missing_one_not_at_all() -> None:
    codes = SemanticCodes(num_items=3, num_levels=1, num_codes=2, dims=[4, 1])
    encodings = [tf.ones([3, 4]), tf.fill([3, 1], 2.0)]
    content = codes.content(encodings, tf.constant([[True, True], [False, True], [False, False]])).numpy()
    # Ones of 4 dimensions have the length that one of 1 dimension has.
    np.testing.assert_allclose(content, [[0.5, 0.5, 0.5, 0.5, 2], [0, 0, 0, 0, 2], [0, 0, 0, 0, 0]])


def with_codes(mode: str, **sections: dict) -> TwoTower:
    """A small model whose codebooks are fitted; items 1 and 2 have the same content, 1 is known and 0 is not."""
    item = {"semantic_ids": mode, "semantic_levels": 2, "semantic_codes": 3}
    model = small_model.model(small_model.config(item=item, **sections))
    for cache in model.cache.values():
        values = cache.numpy()
        values[2] = values[1]
        cache.assign(values)
    presence = model.presence.numpy()
    presence[:3] = True
    model.presence = tf.constant(presence)
    assert model.codes is not None
    model.codes.codebooks.assign(fit_codebooks(model, seed=0))
    model.fill_codes()
    return model


@pytest.mark.parametrize("mode", ["beside", "instead"])
def test_items_of_like_content_share_the_embeddings_of_its_codes_without_their_ids(mode: str) -> None:
    model = with_codes(mode)
    assert model.codes is not None
    codes = model.codes.catalogue.numpy()
    assert codes[1, :-1].tolist() == codes[2, :-1].tolist()
    assert codes[1, -1] != codes[2, -1]
    without = model.content_embeddings(model.presence, model.cache)[0].numpy()
    np.testing.assert_allclose(without[1], without[2], atol=1e-6)
    table = model.item_tower.code_embeddings.table
    before = {"known": model.item_embeddings()[0].numpy(), "new": without}
    table.assign(tf.tensor_scatter_nd_add(table, [[int(codes[1, 0])]], tf.ones([1, table.shape[1]])))
    after = {
        "known": model.item_embeddings()[0].numpy(),
        "new": model.content_embeddings(model.presence, model.cache)[0].numpy(),
    }
    sharing = (codes[:, 0] == codes[1, 0]) & model.presence.numpy().any(axis=1)
    assert 2 <= sharing.sum() < len(sharing)
    for name, value in after.items():
        moved = (value - before[name]).mean(axis=1)
        np.testing.assert_allclose(moved, np.where(sharing, 1.0, 0.0), atol=1e-5, err_msg=name)


def test_instead_of_ids_known_items_have_the_embedding_of_their_last_code() -> None:
    model = with_codes("instead")
    assert model.codes is not None
    table = model.item_tower.id_embeddings.numpy()
    assert len(table) == 3 + 1  # as many as a level has codes, and that of no code
    assert model.item_tower.tables == []
    difference = model.item_embeddings()[0].numpy() - model.content_embeddings(model.presence, model.cache)[0].numpy()
    known = (model.id_index.numpy() >= 0)[:, None]
    np.testing.assert_allclose(difference, known * table[model.codes.catalogue.numpy()[:, -1] % 3], atol=1e-6)


def test_content_that_is_given_has_the_codes_that_the_catalogue_has() -> None:
    model = with_codes("beside")
    rng = np.random.default_rng(5)
    inputs = {
        "words": tf.constant(rng.integers(5, 12, (4, 8)), tf.int32),
        "feel": tf.constant(rng.normal(size=(4, 4)), tf.float32),
    }
    for name, encoding in model.encode_items(inputs).items():
        values = model.cache[name].numpy()
        values[:4] = encoding
        model.cache[name].assign(values)
    presence = tf.ones([4, 2], tf.bool)
    everywhere = tf.concat([presence, model.presence[4:]], axis=0)
    np.testing.assert_allclose(
        model.embed_items(inputs, presence)[0], model.content_embeddings(everywhere, model.cache)[0][:4], atol=1e-5
    )


@pytest.mark.parametrize("mode", ["beside", "instead"])
def test_a_model_of_more_items_takes_codebooks_and_codes_over(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = with_codes(mode, generative={"weight": 0.5})
    monkeypatch.setattr(small_model, "ITEMS", small_model.ITEMS - 3)
    earlier = with_codes(mode, generative={"weight": 0.5})
    assert earlier.codes is not None
    assert grown.codes is not None
    earlier.codes.codebooks.assign_add(tf.random.normal(earlier.codes.codebooks.shape, stddev=0.1, seed=0))
    earlier.fill_codes()
    take_over(earlier, grown)
    grown.presence = tf.concat([earlier.presence, grown.presence[earlier.num_items :]], axis=0)
    grown.fill_codes()
    np.testing.assert_array_equal(grown.codes.codebooks, earlier.codes.codebooks)
    np.testing.assert_array_equal(grown.codes.catalogue[: earlier.num_items], earlier.codes.catalogue)
    tables = [model.item_tower.code_embeddings.table.numpy() for model in (earlier, grown)]
    np.testing.assert_array_equal(*tables)


@pytest.mark.slow
@pytest.mark.matrix
def test_a_step_compiled_by_xla_is_the_same_step_and_teaches_the_codes() -> None:
    """With HSTU and the generative head. That the item tower compiles with codes instead of ids: see test_layers.py."""
    sections = {"train": {"encoders": "frozen"}, "user": {"block": "hstu"}, "generative": {"weight": 0.5}}
    plain, compiled = (with_codes("beside", **sections) for _ in range(2))
    before = plain.item_tower.code_embeddings.table.numpy()
    batch = small_model.events_alone(small_model.with_candidates(small_model.batch(4, 6)))
    for model, jit in ((plain, False), (compiled, True)):
        compile_with_rows(model, jit_compile=jit)
        model.fit(tf.data.Dataset.from_tensors(batch).repeat(2), verbose=0)
    assert_same_weights(plain, compiled, 1e-4)
    assert np.abs(plain.item_tower.code_embeddings.table.numpy() - before).max() > 1e-3


def test_items_without_content_have_no_semantic_ids() -> None:
    with pytest.raises(SpecError, match=r"item\.semantic_ids=beside: items have no features that codes could be taken"):
        make_codes(small_model.config(item={"semantic_ids": "beside"}), {}, 5)
