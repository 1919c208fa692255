"""What ScaNN would gain over the exact index, and what it loses. For an environment with the extra `scann`.

    pip install -c constraints.txt -e '.[scann]'       # in an environment of its own
    python -m benchmarks.approximate [--items 1000000] [--width 64] [--leaves-to-search 100]

Random embeddings are the hardest case for it: they have no clusters. A million of 64 numbers, scann 1.3.4 on two busy
processors: 0.9 ms a query against 25 ms, recall@100 0.54; 200,000: 0.6 ms against 2.6 ms, recall@100 0.66.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import serving  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: split
import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

K, QUERIES = 100, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--leaves-to-search", type=int, default=100)
    options = parser.parse_args()
    if not tfrs.layers.factorized_top_k._HAVE_SCANN:
        raise SystemExit("ScaNN is not installed here; pip install -c constraints.txt -e '.[scann]'")
    rng = np.random.default_rng(0)
    table = tf.constant(rng.standard_normal((options.items, options.width), np.float32))
    queries = tf.constant(rng.standard_normal((QUERIES, options.width), np.float32))
    leaves = max(1, round(options.items**0.5))
    layers: dict[str, Any] = {
        "exact": tfrs.layers.factorized_top_k.BruteForce(k=K),
        "scann": tfrs.layers.factorized_top_k.ScaNN(
            k=K, num_leaves=leaves, num_leaves_to_search=options.leaves_to_search, num_reordering_candidates=5 * K
        ),
    }
    figures: dict[str, Any] = {"items": options.items, "width": options.width, "leaves": leaves}
    found: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        begin = time.perf_counter()
        search = tf.function(layer.index(table))
        figures[f"{name}_index_seconds"] = round(time.perf_counter() - begin, 2)
        found[name] = search(queries)[1].numpy()
        figures[f"{name}_p50_ms"] = round(_p50(lambda turn, search=search: search(queries[turn : turn + 1])), 2)
    hits = [len(set(one) & set(other)) / K for one, other in zip(found["exact"], found["scann"], strict=True)]
    figures[f"recall@{K}"] = round(float(np.mean(hits)), 3)
    print(json.dumps(figures, indent=1))


def _p50(call: Callable[[int], Any]) -> float:
    """Median milliseconds of a call for one query."""
    call(0)
    times = []
    for turn in range(QUERIES):
        begin = time.perf_counter()
        call(turn)
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main()
