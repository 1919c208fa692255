"""Exact top-100 of a million items, beside the time of reading the embeddings and beside BruteForce of TFRS."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from serving.graph.selection import exclude
from serving.graph.top_k import inner_products, padded_embeddings, top_k

K = 100


def measure(embeddings: np.ndarray, seconds: float, rows: int) -> dict[str, Any]:
    """Measure the median milliseconds of calls that take turns.

    Args:
      embeddings: float32 [N, D].
      seconds: how long they take turns.
      rows: number of queries in a call.

    Raises:
      SystemExit: the answers differ.
    """
    queries = tf.constant(np.random.default_rng(1).standard_normal((rows, embeddings.shape[1]), np.float32))
    brute = _graph(tfrs.layers.factorized_top_k.BruteForce(k=K).index(tf.constant(embeddings)), embeddings.shape[1])
    padded = padded_embeddings(embeddings)
    variable, padding = tf.Variable(padded, trainable=False), tf.range(len(embeddings), len(padded))

    def search(query_embeddings: tf.Tensor) -> Any:
        scores = inner_products(query_embeddings, tf.convert_to_tensor(variable))
        return top_k(exclude(scores, tf.tile(padding[None], [tf.shape(query_embeddings)[0], 1])), tf.constant(K))

    ours = _graph(search, embeddings.shape[1])
    calls: dict[str, Callable[[], Any]] = {
        "read_the_table": _reader(embeddings),
        "ours": lambda: [part.numpy() for part in ours(queries)],
        "brute_force": lambda: [part.numpy() for part in brute(queries)],
    }
    _compare(calls["ours"](), calls["brute_force"]())
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "items": len(embeddings),
        "width": embeddings.shape[1],
        "k": K,
        "rows": rows,
        "rounds": len(times["ours"]),
        "ms": {name: round(1e3 * value, 2) for name, value in median.items()},
        "fastest_ms": {name: round(1e3 * min(values), 2) for name, values in times.items()},
        "read_gigabytes_per_second": round(embeddings.nbytes / median["read_the_table"] / 1e9, 1),
        # Ratios of calls next to each other in time, so that other load affects both.
        "over_reading": round(_ratio(times["ours"], times["read_the_table"]), 3),
        "faster_than_brute_force": round(_ratio(times["brute_force"], times["ours"]), 3),
    }


def _graph(function: Callable[..., Any], dim: int) -> Callable[..., Any]:
    spec = [tf.TensorSpec([None, dim], tf.float32)]
    return tf.function(function, input_signature=spec, autograph=False).get_concrete_function()


def _reader(embeddings: np.ndarray) -> Callable[[], None]:
    """Return a function that reads every byte once, half in each of two threads: a lower bound for exact search."""
    halves = np.split(embeddings.reshape(-1), 2)

    def read() -> None:
        threads = [threading.Thread(target=np.dot, args=(half, half)) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return read


def _compare(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    # Items with equal float32 scores may change places.
    if (ours[1] != theirs[1]).mean() > 0.01:
        raise SystemExit("the two top-100 lists differ")


def _ratio(times: list[float], reference: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, reference, strict=True))
