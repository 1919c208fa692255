"""Exact top-k of a catalogue in the graph: compared with numpy, with ties, with large k, and without a copy of the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.graph.categories import category_bits, keep_categories, requested_bits
from serving.graph.selection import exclude
from serving.graph.top_k import BLOCK, LARGE, inner_products, padded_embeddings, top_k

INF = float("inf")
SIZE = LARGE + 4 * BLOCK


def best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As the export runs it, in a graph that knows the size of the catalogue."""
    graph = tf.function(top_k, input_signature=[tf.TensorSpec([None, scores.shape[1]]), tf.TensorSpec([], tf.int32)])
    values, index = graph(tf.constant(scores), tf.constant(k))
    return values.numpy(), index.numpy()


def expected(scores: np.ndarray, k: int) -> np.ndarray:
    """Highest first, of equal ones the smaller index: what a stable sort gives."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, order, axis=1) == -INF, -1, order)


@pytest.mark.parametrize("k", [1, 2, 10, 65, 66, 67, 300])
def test_it_is_the_head_of_a_sort(k: int) -> None:
    scores = np.random.default_rng(k).standard_normal((3, SIZE)).astype(np.float32)
    values, index = best(scores, k)
    np.testing.assert_array_equal(index, expected(scores, k))
    np.testing.assert_array_equal(values, np.take_along_axis(scores, index, axis=1))


@pytest.mark.parametrize("k", [1, 10, 60])
@pytest.mark.parametrize("different", [1, 2, 50])
def test_of_equal_scores_the_first_items_are_taken(k: int, different: int) -> None:
    """Few different scores: ties inside a block, between blocks, and at the cut."""
    scores = np.random.default_rng(different).integers(0, different, (2, SIZE)).astype(np.float32)
    np.testing.assert_array_equal(best(scores, k)[1], expected(scores, k))


def test_the_best_may_all_be_in_one_block_or_each_in_its_own() -> None:
    scores = np.zeros([2, SIZE], np.float32)
    scores[0, 5 * BLOCK : 5 * BLOCK + 60] = np.arange(60) + 1
    scores[1, 7 : 7 + 60 * BLOCK : BLOCK] = np.arange(60) + 1
    index = best(scores, 60)[1]
    assert index[0].tolist() == list(range(5 * BLOCK + 59, 5 * BLOCK - 1, -1))
    assert index[1].tolist() == list(range(7 + 59 * BLOCK, 6, -BLOCK))


def test_a_k_beyond_the_catalogue_or_beyond_what_is_left_ends_in_nothing() -> None:
    scores = np.full([2, SIZE], -INF, np.float32)
    scores[0, [SIZE - 1, 3, 2 * BLOCK]] = [1.0, 3.0, 2.0]
    for k in (5, SIZE + 10):
        values, index = best(scores, k)
        assert index.shape == values.shape == (2, k)
        assert index[0, :5].tolist() == [3, 2 * BLOCK, SIZE - 1, -1, -1]
        assert (index[0, 3:] == -1).all()
        assert (index[1] == -1).all()
        assert np.isneginf(values[0, 3:]).all()
        assert np.isneginf(values[1]).all()
    # Small catalogues have no blocks.
    values, index = best(np.array([[0.5, -INF, 0.9]], np.float32), 5)
    assert index.tolist() == [[2, 0, -1, -1, -1]]
    np.testing.assert_allclose(values, [[0.9, 0.5, -INF, -INF, -INF]])


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_products_are_those_of_numpy_whichever_side_the_table_is_on(rows: int) -> None:
    rng = np.random.default_rng(rows)
    states, items = rng.standard_normal((rows, 8)), rng.standard_normal((SIZE, 8))
    product = inner_products(tf.constant(states, tf.float32), tf.constant(items, tf.float32))
    np.testing.assert_allclose(product.numpy(), states @ items.T, atol=1e-4)


def test_a_large_table_is_filled_up_to_whole_blocks_and_a_small_one_is_left() -> None:
    assert padded_embeddings(np.ones([LARGE - 1, 2], np.float32)).shape == (LARGE - 1, 2)
    padded = padded_embeddings(np.ones([LARGE + 1, 2], np.float32))
    assert padded.shape == (LARGE + BLOCK, 2)
    assert padded.sum() == 2 * (LARGE + 1)


@pytest.mark.parametrize("count", [1, 3, 31, 32, 100])
def test_a_filter_keeps_items_in_any_wanted_category(count: int) -> None:
    last = count - 1
    bits = tf.constant(category_bits([[0], [last], [], sorted({0, last})], count))
    columns = tf.constant([[0, -1, 0], [last, -1, -1], [0, last, 0], [-1, -1, -1], [-1, -1, -1]])
    wanted = tf.constant([True, True, True, True, False])
    kept = keep_categories(tf.ones([5, 4]), requested_bits(columns, bits.shape[0]), bits, wanted).numpy() > -INF
    first = [True, count == 1, False, True]
    other = [count == 1, True, False, True]
    # The fourth row wants only what there is not, which is not the same as wanting nothing.
    assert kept.tolist() == [first, other, [True, True, False, True], [False] * 4, [True] * 4]


def test_excluding_leaves_what_was_given_as_it_was() -> None:
    scores = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert exclude(scores, tf.constant([[0, -1], [-1, -1]])).numpy().tolist() == [[-INF, 2.0], [3.0, 4.0]]
    assert scores.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]]


MEMORY = """
import re
import numpy as np
import tensorflow as tf
from serving.graph.selection import exclude
from serving.graph.top_k import inner_products, top_k

def megabytes(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

def finder(rows):
    table = tf.Variable(np.random.default_rng(0).standard_normal((rows, 64), np.float32))
    return tf.function(
        lambda states: top_k(
            exclude(inner_products(states, tf.convert_to_tensor(table)), tf.zeros([1, 1], tf.int32)), tf.constant(100)
        ),
        input_signature=[tf.TensorSpec([None, 64])], autograph=False,
    )

small, large = finder(20_480), finder(409_600)
large.get_concrete_function()
small(tf.ones([1, 64]))  # threads, libraries and allocators
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = megabytes("VmRSS")
for _ in range(20):
    large(tf.ones([1, 64]))
print(megabytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_request_needs_no_memory_of_the_size_of_the_table() -> None:
    """105 MB of table; the scores of a request are 1.6 MB."""
    folder = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=folder, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 35
