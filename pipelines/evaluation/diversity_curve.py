"""What diversity costs: the test split served at several settings of `diversity`, by the ops of the export."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.evaluation.beyond_accuracy import coverage, diversity
from pipelines.scoring.metrics import Ranking, per_query
from pipelines.scoring.requests import Queries, Scorer
from serving.graph.selection import diverse_top_k, exclude

K = 20
ACCURACY = (f"recall@{K}", "ndcg@10")


def accuracy_diversity_curve(
    scorer: Scorer, queries: Queries, table: np.ndarray, *, levels: Sequence[float], pool: int, batch: int
) -> list[dict[str, float]]:
    """Accuracy and diversity of lists of 20 that maximal marginal relevance chose, for each level.

    Args:
      queries: with a target each; their histories are excluded.
      table: float [N, D], item embeddings; alike are items with a large cosine.
      levels: of the input `diversity`, in [0, 1].
      pool: candidates as a multiple of k, as in the export.
      batch: queries at a time.

    Returns:
      For each level its `diversity`, means of `recall@20` and `ndcg@10`, and `diversity@20` and `coverage@20` as in
      `pipelines.evaluation.beyond_accuracy`; NaN where undefined.
    """
    unit = tf.constant(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12), tf.float32)
    choose = tf.function(
        lambda scores, level: diverse_top_k(scores, unit, tf.fill([tf.shape(scores)[0]], level), tf.constant(K), pool)[
            1
        ],
        input_signature=[tf.TensorSpec([None, len(table)], tf.float32), tf.TensorSpec([], tf.float32)],
    )
    lists = {level: np.full([len(queries), K], -1, np.int32) for level in levels}
    for start in range(0, len(queries), batch):
        part = queries.slice(start, start + batch)
        longest = max((len(history) for history in part.histories), default=0)
        seen = np.full([len(part), longest], -1, np.int32)
        for row, history in enumerate(part.histories):
            seen[row, : len(history)] = history
        scores = exclude(tf.constant(scorer(part)), tf.constant(seen))
        for level in levels:
            lists[level][start : start + len(part)] = choose(scores, tf.constant(level, tf.float32)).numpy()
    return [_measured(level, Ranking(items, len(table)), queries, table) for level, items in lists.items()]


def _measured(level: float, ranking: Ranking, queries: Queries, table: np.ndarray) -> dict[str, float]:
    row = {"diversity": float(level)}
    row |= {metric: _mean(per_query(ranking, queries, metric)) for metric in ACCURACY}
    row[f"diversity@{K}"] = _mean(diversity(ranking, table, K))
    row[f"coverage@{K}"] = coverage(ranking, K) if len(queries) else np.nan
    return row


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan
