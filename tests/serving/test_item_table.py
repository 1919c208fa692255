"""The table that a request scans: whatever its dtype, the best items and their scores are those of float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from serving.graph.item_table import (
    _FIELD,
    BFLOAT16,
    FLOAT32,
    INT8,
    INT8_WIDTH,
    Int8Scan,
    ItemTable,
    code_norm,
    int8_codes,
    margin,
)
from serving.graph.selection import exclude
from serving.graph.top_k import BLOCK, LOWEST

SIZE, WIDTH, K = 400 * BLOCK, 16, 10


@pytest.fixture(autouse=True)
def small_catalogues_have_a_second_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ItemTable, "LEAST_ITEMS", 0)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def random(rng: np.random.Generator) -> np.ndarray:
    return normal(rng, SIZE, WIDTH)


def clustered(rng: np.random.Generator) -> np.ndarray:
    """Sixty-four clusters of items that differ by a thousandth."""
    centers = normal(rng, 64, WIDTH)
    return centers[rng.integers(0, 64, SIZE)] + 1e-3 * normal(rng, SIZE, WIDTH)


def repeated(rng: np.random.Generator) -> np.ndarray:
    """Each item three hundred times or so, in small integers: scores are exact and mostly equal."""
    return rng.integers(-3, 4, (170, WIDTH)).astype(np.float32)[rng.integers(0, 170, SIZE)]


def few_integers(rng: np.random.Generator) -> np.ndarray:
    """Exact scores of which many are equal, of items that are not."""
    return rng.integers(-2, 3, (SIZE, WIDTH)).astype(np.float32)


def of_all_lengths(rng: np.random.Generator) -> np.ndarray:
    """Norms from 1e-20 to 1e15, values of a row from 1 to 1e-6 of its largest one, and rows of zeros."""
    rows = (
        normal(rng, SIZE, WIDTH) * 10.0 ** rng.uniform(-6, 0, (SIZE, WIDTH)) * 10.0 ** rng.uniform(-20, 15, (SIZE, 1))
    )
    rows[::7] = 0
    return rows.astype(np.float32)


def off_center(rng: np.random.Generator) -> np.ndarray:
    return normal(rng, SIZE, WIDTH) + 20


TABLES: list[Callable[[np.random.Generator], np.ndarray]] = [
    random, clustered, repeated, few_integers, of_all_lengths, off_center,
]  # fmt: skip


def found(table: ItemTable, queries: np.ndarray, k: int, excluded: np.ndarray, added: np.ndarray) -> list[np.ndarray]:
    """The best by 0.5 times the score plus `added`, as an export finds them: in a graph that knows the number of items."""

    def graph(queries: tf.Tensor, k: tf.Tensor, excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return table.search(
            queries,
            k,
            lambda scores: exclude(0.5 * scores + added, excluded),
            lambda items: tf.fill(tf.shape(items), 0.5),
            0.5 * float(table.norms.max()),
        )(k)

    signature = [tf.TensorSpec([None, WIDTH]), tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None], tf.int32)]
    made = tf.function(graph, input_signature=signature, autograph=False)
    return [value.numpy() for value in made(tf.constant(queries), tf.constant(k), tf.constant(excluded, tf.int32))]


@pytest.mark.parametrize("dtype", [BFLOAT16, INT8])
@pytest.mark.parametrize("make", TABLES)
def test_the_best_and_their_order_are_those_of_float32(make: Callable[..., np.ndarray], dtype: str) -> None:
    rng = np.random.default_rng(0)
    rows = make(rng)
    table, plain = ItemTable(rows, dtype), ItemTable(rows, FLOAT32)
    assert (table.dtype, plain.dtype) == (dtype, FLOAT32)
    exact = make in (repeated, few_integers)
    for size in (1, 3, 0):
        queries = np.round(1.5 * normal(rng, size, WIDTH))
        queries[1:2] = 0
        excluded = rng.integers(-1, SIZE, (size, 50))
        scores, index = found(table, queries, K, excluded, np.zeros(SIZE, np.float32))
        expected, items = found(plain, queries, K, excluded, np.zeros(SIZE, np.float32))
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=0 if exact else 1e-5)
        # Sums of floats may differ in the last digit, so that two items change places.
        close = np.isclose(scores, expected, rtol=1e-5, atol=1e-5) & (not exact)
        assert ((index == items) | close).all()
        if make is random:
            np.testing.assert_array_equal(index, items)


@pytest.mark.parametrize("dtype", [BFLOAT16, INT8])
def test_what_is_added_to_the_scores_counts(dtype: str) -> None:
    rng = np.random.default_rng(1)
    rows, added = few_integers(rng), rng.integers(0, 200, SIZE).astype(np.float32)
    query = np.round(1.5 * normal(rng, 1, WIDTH))
    scores, index = found(ItemTable(rows, dtype), query, K, np.full([1, 1], -1), added)
    all_scores = 0.5 * rows @ query[0] + added
    expected = np.argsort(-all_scores, kind="stable")[:K]
    assert index[0].tolist() == expected.tolist()
    np.testing.assert_array_equal(scores[0], all_scores[expected])


@pytest.mark.parametrize("dtype", [BFLOAT16, INT8])
@pytest.mark.parametrize("k", [1, K, 300, SIZE + 5])
def test_where_few_items_are_left_or_k_is_large_the_rest_is_nothing(dtype: str, k: int) -> None:
    rng = np.random.default_rng(2)
    rows, left = few_integers(rng), np.array([7, 8, SIZE - 1])
    added = np.full(SIZE, LOWEST, np.float32)
    added[left] = 0
    query = normal(rng, 1, WIDTH)
    scores, index = found(ItemTable(rows, dtype), query, k, np.full([1, 1], -1), added)
    best = left[np.argsort(-(rows[left] @ query[0]), kind="stable")][:k]
    assert index.shape == scores.shape == (1, k)
    assert index[0, :3].tolist() == best.tolist()
    assert (index[0, 3:] == -1).all()
    assert np.isneginf(scores[0, 3:]).all()


@pytest.mark.parametrize("dtype", [BFLOAT16, INT8])
def test_a_shortlist_that_cannot_be_shown_to_hold_the_best_is_not_trusted(dtype: str) -> None:
    """All items but one are the same to twelve bits, so that neither table can tell them apart."""
    rng = np.random.default_rng(3)
    rows = np.repeat(normal(rng, 1, WIDTH), SIZE, axis=0)
    rows[:, 0] += np.linspace(0, 1e-4, SIZE, dtype=np.float32)
    query = np.zeros([1, WIDTH], np.float32)
    query[0, 0] = 1
    index = found(ItemTable(rows, dtype), query, K, np.full([1, 1], -1), np.zeros(SIZE, np.float32))[1]
    assert sorted(rows[index[0], 0]) == sorted(np.sort(rows[:, 0])[-K:])


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16, INT8])
def test_corrections_make_scores_those_of_float32(dtype: str) -> None:
    rng = np.random.default_rng(4)
    rows, queries, items = random(rng), normal(rng, 1, WIDTH), rng.integers(0, SIZE, (1, 30)).astype(np.int32)
    table = ItemTable(rows, dtype)
    scores = table.scores(tf.constant(queries), K)
    corrected = tf.gather(scores, items, batch_dims=1) + table.corrections(tf.constant(queries), scores, items)
    np.testing.assert_allclose(corrected[0], rows[items[0]] @ queries[0], atol=1e-5)


def test_a_catalogue_for_which_float32_is_as_fast_has_no_second_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    table = ItemTable(np.ones([SIZE, 2], np.float32), INT8)
    assert (table.dtype, table.scan) == (FLOAT32, None)
    assert len(table.trainable_variables) == 0
    assert len(table.variables) == 1


@pytest.mark.parametrize("width", [1, 2, 64, 300, INT8_WIDTH])
def test_codes_are_within_half_a_step_and_their_products_within_their_bits(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = (normal(rng, 500, width) * 10.0 ** rng.uniform(-30, 30, (500, 1))).astype(np.float32)
    rows[0], rows[1], rows[2] = 0, 0, 1
    rows[1, 0] = -3e38  # its square is no float32
    codes, scales = int8_codes(rows)
    assert codes.dtype == np.int8
    assert not codes[0].any()
    assert scales[0] == 0
    error = np.abs(codes * scales[:, None].astype(np.float64) - rows)
    assert (error <= 0.5001 * scales[:, None]).all()
    longest = np.linalg.norm(codes.astype(np.float64), axis=1).max()
    assert longest**2 + margin(code_norm(width)) < _FIELD / 2


def test_scores_of_int8_are_upper_bounds_and_close() -> None:
    """Both halves of the table, whose scores share words; one of a million may be below its bound."""
    rng = np.random.default_rng(5)
    rows, queries = normal(rng, 4096, 64) * np.float32(10.0) ** rng.uniform(-3, 3, (4096, 1)), normal(rng, 20, 64)
    rows = rows.astype(np.float32)
    bound, exact = Int8Scan(rows).scores(tf.constant(queries)).numpy(), queries @ rows.T
    above = (bound - exact) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(rows, axis=1)
    assert (above < 0).mean() < 1e-3
    assert above.max() < 0.09
    for half in (above[:, :2048], above[:, 2048:]):
        assert half.mean() == pytest.approx(0.041, abs=0.002)
