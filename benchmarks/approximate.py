"""Speed and recall of ScaNN beside the exact index. Needs an environment with the extra `scann`.

    pip install -c constraints.txt -e '.[scann]'       # in an environment of its own
    python -m benchmarks.approximate [--items 1000000] [--width 64] [--leaves-to-search 100]

Random embeddings are the hardest case for ScaNN, because they have no clusters. With scann 1.3.4 on two busy cores: a
million embeddings of dimension 64 take 0.9 ms a query against 25 ms, recall@100 0.54; 200,000 take 0.6 ms against 2.6 ms,
recall@100 0.66.
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
    """Measure both indexes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--leaves-to-search", type=int, default=100)
    options = parser.parse_args()
    if not tfrs.layers.factorized_top_k._HAVE_SCANN:
        raise SystemExit("ScaNN is not installed here; pip install -c constraints.txt -e '.[scann]'")
    rng = np.random.default_rng(0)
    embeddings = tf.constant(rng.standard_normal((options.items, options.width), np.float32))
    queries = tf.constant(rng.standard_normal((QUERIES, options.width), np.float32))
    leaves = max(1, round(options.items**0.5))
    layers: dict[str, Any] = {
        "exact": tfrs.layers.factorized_top_k.BruteForce(k=K),
        "scann": tfrs.layers.factorized_top_k.ScaNN(
            k=K, num_leaves=leaves, num_leaves_to_search=options.leaves_to_search, num_reordering_candidates=5 * K
        ),
    }
    figures: dict[str, Any] = {"items": options.items, "width": options.width, "leaves": leaves}
    neighbours: dict[str, np.ndarray] = {}
    for name, layer in layers.items():
        start = time.perf_counter()
        search = tf.function(layer.index(embeddings))
        figures[f"{name}_index_seconds"] = round(time.perf_counter() - start, 2)
        neighbours[name] = search(queries)[1].numpy()
        figures[f"{name}_p50_ms"] = round(_p50(lambda turn, search=search: search(queries[turn : turn + 1])), 2)
    pairs = zip(neighbours["exact"], neighbours["scann"], strict=True)
    recall = [len(set(exact) & set(approximate)) / K for exact, approximate in pairs]
    figures[f"recall@{K}"] = round(float(np.mean(recall)), 3)
    print(json.dumps(figures, indent=1))


def _p50(call: Callable[[int], Any]) -> float:
    """Return the median milliseconds of a call with one query."""
    call(0)
    times = []
    for turn in range(QUERIES):
        start = time.perf_counter()
        call(turn)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    main()
