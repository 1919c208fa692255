"""The best 100 of a million items by a table of each dtype, beside reading the float32 one and TFRS's BruteForce."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from benchmarks.measurement import Measurement, seconds
from serving.graph.item_table import BFLOAT16, FLOAT32, INT8, ItemTable
from serving.graph.selection import exclude

K = 100
DTYPES = (FLOAT32, BFLOAT16, INT8)
FLOOR, BRUTE_FORCE = "read_the_table", "brute_force"
_REQUESTS = 32  # that take turns


@dataclass(frozen=True)
class _Finder:
    """A table with the graph that finds the best of it, and one that tells how often it scanned float32 after all."""

    table: ItemTable
    find: Callable[[tf.Tensor], Any]
    scans: Callable[[tf.Tensor], tf.Tensor]


def measure(embeddings: np.ndarray, time_limit: float, rows: int, name: str = "random") -> dict[str, Any]:
    """Measure the median milliseconds of calls that take turns.

    Args:
      embeddings: float32 [N, D].
      time_limit: how many seconds they take turns.
      rows: number of queries in a call; a query lies near an item.
      name: of the embeddings.

    Raises:
      SystemExit: the answers of float32 and BruteForce differ.
    """
    rng = np.random.default_rng(1)
    near = embeddings[rng.integers(0, len(embeddings), (_REQUESTS, rows))]
    queries = [tf.constant(part + 0.5 * rng.standard_normal(part.shape, np.float32)) for part in near]
    brute = _graph(tfrs.layers.factorized_top_k.BruteForce(k=K).index(tf.constant(embeddings)), embeddings.shape[1])
    finders = {dtype: _finder(embeddings, dtype) for dtype in DTYPES}
    calls: dict[str, Callable[[tf.Tensor], Any]] = {FLOOR: _reader(embeddings), BRUTE_FORCE: brute}
    calls |= {dtype: finder.find for dtype, finder in finders.items()}
    found = {name: [_arrays(call(query)) for query in queries] for name, call in calls.items() if name != FLOOR}
    for ours, theirs in zip(found[FLOAT32], found[BRUTE_FORCE], strict=True):
        _compare(ours, theirs)
    times: dict[str, list[float]] = {name: [] for name in calls}
    end, turn = time.perf_counter() + time_limit, 0
    while time.perf_counter() < end:
        query = queries[turn % _REQUESTS]
        for name_of, call in calls.items():
            times[name_of].append(seconds(lambda call=call, query=query: _arrays(call(query))))  # type: ignore[misc]
        turn += 1
    median = {name_of: statistics.median(values) for name_of, values in times.items()}
    return {
        "embeddings": name,
        "items": len(embeddings),
        "width": embeddings.shape[1],
        "k": K,
        "rows": rows,
        "rounds": turn,
        "ms": {name_of: round(1e3 * value, 2) for name_of, value in median.items()},
        "fastest_ms": {name_of: round(1e3 * min(values), 2) for name_of, values in times.items()},
        "read_gigabytes_per_second": round(embeddings.nbytes / median[FLOOR] / 1e9, 1),
        # Ratios of calls next to each other in time, so that other load affects both.
        "over_reading": {dtype: round(_ratio(times[dtype], times[FLOOR]), 3) for dtype in DTYPES},
        "faster_than_brute_force": {dtype: round(_ratio(times[BRUTE_FORCE], times[dtype]), 3) for dtype in DTYPES},
        "recall": {dtype: round(_recall(found[dtype], found[FLOAT32]), 5) for dtype in DTYPES},
        "scanned_megabytes": {dtype: round(_scanned_bytes(finders[dtype].table) / 1e6, 1) for dtype in DTYPES},
        "searched_again_in_float32": {
            dtype: statistics.mean(float(finders[dtype].scans(query)) - 1 for query in queries) for dtype in DTYPES
        },
    }


def measurements(figures: dict[str, Any]) -> list[Measurement]:
    """The figures of one query that have a limit."""
    ms = ", ".join(f"{name} {value:g}" for name, value in figures["ms"].items())
    kind = figures["embeddings"]
    limits = {FLOAT32: 1.5, BFLOAT16: 0.8, INT8: 0.8}
    ratios = figures["over_reading"].items()
    return [
        *(
            Measurement(f"top-100 of {kind}, {dtype} / reading float32", ratio, limits[dtype], False, ms)
            for dtype, ratio in ratios
        ),
        Measurement(
            f"BruteForce / top-100 of {kind}, float32", figures["faster_than_brute_force"][FLOAT32], 1.25, True, ms
        ),
        *(
            Measurement(f"recall@100 of {kind}, {dtype} of float32", figures["recall"][dtype], 0.999, True, "")
            for dtype in (BFLOAT16, INT8)
        ),
    ]


def _finder(embeddings: np.ndarray, dtype: str) -> _Finder:
    table = ItemTable(embeddings, dtype)
    padding, reach = tf.range(len(embeddings), len(table.norms)), float(table.norms.max())
    scans = tf.Variable(0, trainable=False)

    def best(queries: tf.Tensor, count: bool) -> Any:
        def finish(scores: tf.Tensor) -> tf.Tensor:
            if count:
                scans.assign_add(1)
            return exclude(scores, tf.tile(padding[None], [tf.shape(queries)[0], 1]))

        k = tf.constant(K)
        return table.search(queries, k, finish, lambda items: tf.ones_like(items, tf.float32), reach)(k)

    def counted(queries: tf.Tensor) -> tf.Tensor:
        scans.assign(0)
        with tf.control_dependencies(best(queries, True)):
            return scans.read_value()

    width = embeddings.shape[1]
    return _Finder(table, _graph(lambda queries: best(queries, False), width), _graph(counted, width))


def _scanned_bytes(table: ItemTable) -> int:
    variables = [table.rows] if table.scan is None else table.scan.variables
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)


def _arrays(parts: Any) -> list[np.ndarray]:
    return [part.numpy() for part in parts or ()]


def _recall(ours: list[list[np.ndarray]], exact: list[list[np.ndarray]]) -> float:
    pairs = [(a, b) for one, other in zip(ours, exact, strict=True) for a, b in zip(one[1], other[1], strict=True)]
    return statistics.mean(len(np.intersect1d(a, b)) / len(b) for a, b in pairs)


def _graph(function: Callable[..., Any], dim: int) -> Callable[..., Any]:
    spec = [tf.TensorSpec([None, dim], tf.float32)]
    return tf.function(function, input_signature=spec, autograph=False).get_concrete_function()


def _reader(embeddings: np.ndarray) -> Callable[[tf.Tensor], None]:
    """Return a function that reads every byte once, half in each of two threads: a lower bound for exact search."""
    halves = np.split(embeddings.reshape(-1), 2)

    def read(_: tf.Tensor) -> None:
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
