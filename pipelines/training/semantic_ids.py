"""The codebooks of semantic IDs, fitted to the encodings of the catalogue before the first epoch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from pipelines.model.encodings import in_order
from pipelines.runs.progress import Advance, progress
from towers.semantic.codes import UNUSED
from towers.two_tower import TwoTower

__all__ = ["describe_codes", "fit_codebooks", "residual_k_means"]

_SAMPLE = 20_000  # items that the centres of a larger catalogue are fitted to
_ITERATIONS = 50


def fit_codebooks(model: TwoTower, seed: int) -> np.ndarray:
    """Fit the codebooks to the encodings in a model's cache: float32 [levels, K, d]."""
    codes = model.codes
    assert codes is not None
    rows = np.arange(model.num_items)
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SAMPLE, replace=False))
    encodings = {name: tf.convert_to_tensor(value[:]) for name, value in in_order(model.cache, rows).items()}
    content = codes.content(model.standardize(encodings), tf.gather(model.presence, rows)).numpy()
    with progress("semantic IDs", "levels") as advance:
        return residual_k_means(content, codes.num_levels, codes.num_codes, seed, advance)


def residual_k_means(
    content: np.ndarray, num_levels: int, num_codes: int, seed: int, advance: Advance = lambda done, total: None
) -> np.ndarray:
    """Fit the centres of each level to what the levels before leave of the content.

    Args:
      content: float32 [R, d].
      num_levels: levels.
      num_codes: K.
      seed: of the first centres.
      advance: called with the levels that are done and of all.

    Returns:
      float32 [num_levels, K, d]; centres of a level in lexicographic order, `UNUSED` behind them where the level has fewer
      different residuals than K.
    """
    rest = content.astype(np.float32)
    codebooks = np.full((num_levels, num_codes, content.shape[1]), UNUSED, np.float32)
    for level in range(num_levels):
        different = len(np.unique(rest, axis=0))
        fitted = KMeans(min(num_codes, different), n_init=1, max_iter=_ITERATIONS, random_state=seed + level)
        with threadpool_limits(1, "openmp"):  # threads add up in the order in which they end, so not always alike
            fitted.fit(rest)
        order = np.lexsort(fitted.cluster_centers_.T[::-1])
        centres = fitted.cluster_centers_[order]
        codebooks[level, : len(centres)] = centres
        rest = rest - fitted.cluster_centers_[fitted.labels_]
        advance(level + 1, num_levels)
    return codebooks


def describe_codes(codes: np.ndarray) -> str:
    """Say in words how well codes int [N, levels + 1], the last ones included, tell items apart."""
    content, last = codes[:, :-1], codes[:, -1]
    used = " x ".join(str(len(np.unique(level))) for level in content.T)
    return f"{used} codes, {int((last == 0).sum()):,} different ones for {len(codes):,} items, at most {last.max() + 1} alike"
