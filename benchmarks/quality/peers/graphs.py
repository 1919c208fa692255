"""Graphs of users and items, and of items alike, for the graph models. NumPy and SciPy only."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

_ROWS = 1024  # items compared with all others at a time
_DRAWS = 20  # at most so many for a negative


def inverse_root(degrees: np.ndarray) -> np.ndarray:
    """Return float32 degrees^-1/2, 0 where a degree is 0."""
    return np.where(degrees > 0, 1.0 / np.sqrt(np.maximum(degrees, 1e-12)), 0.0).astype(np.float32)


def user_item_graph(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return float32 csr [U + N, U + N], D^-1/2 A D^-1/2 of the graph whose edges are the entries of a matrix [U, N]."""
    users = inverse_root(np.asarray(matrix.sum(axis=1)).ravel())
    items = inverse_root(np.asarray(matrix.sum(axis=0)).ravel())
    edges = sp.diags(users) @ matrix @ sp.diags(items)
    return sp.bmat([[None, edges], [edges.T, None]], format="csr", dtype=np.float32)


def drop_edges(matrix: sp.csr_matrix, share: float, rng: np.random.Generator) -> sp.csr_matrix:
    """Keep a random part of the edges, drawn without replacement by 1 / sqrt(degree of the user x degree of the item).

    Degree-sensitive edge pruning of FREEDOM (Zhou and Shen, ACM MM 2023): edges between popular nodes go first.

    Args:
      matrix: csr [U, N] of ones.
      share: of the edges that are dropped, at least 0 and below 1.
      rng: draws.
    """
    edges = matrix.tocoo()
    weight = (
        inverse_root(np.asarray(matrix.sum(axis=1)).ravel())[edges.row]
        * inverse_root(np.asarray(matrix.sum(axis=0)).ravel())[edges.col]
    )
    # The smallest of exponential times with these rates are a weighted draw without replacement.
    kept = max(1, round(len(weight) * (1.0 - share)))
    first = np.argpartition(rng.exponential(size=len(weight)) / weight, kept - 1)[:kept]
    return sp.csr_matrix((edges.data[first], (edges.row[first], edges.col[first])), shape=matrix.shape)


def alike_graph(content: sp.csr_matrix, neighbours: int) -> sp.csr_matrix:
    """Return the frozen graph of items that are alike in one feature (FREEDOM).

    An edge of weight 1 leads from an item to each of its nearest by cosine, itself among them; D^-1/2 S D^-1/2.

    Args:
      content: csr [N, d], rows of length 1, or 0 for items without the feature, which get no edges.
      neighbours: edges of an item.

    Returns:
      float32 csr [N, N].
    """
    present = np.flatnonzero(np.diff(content.indptr) > 0)
    known = content[present]
    count = min(neighbours, len(present))
    targets = [np.zeros(0, np.int64)]
    for start in range(0, len(present), _ROWS):
        cosines = (known[start : start + _ROWS] @ known.T).toarray()
        targets.append(present[np.argpartition(-cosines, count - 1, axis=1)[:, :count]].ravel())
    columns = np.concatenate(targets)
    rows = np.repeat(present, count)
    edges = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(content.shape[0],) * 2)
    scale = sp.diags(inverse_root(np.asarray(edges.sum(axis=1)).ravel()))
    return sp.csr_matrix(scale @ edges @ scale, dtype=np.float32)


def event_keys(matrix: sp.csr_matrix) -> np.ndarray:
    """Return the entries of a matrix [U, N] as ascending numbers, int64 user x N + item."""
    entries = matrix.tocoo()
    return np.sort(entries.row.astype(np.int64) * matrix.shape[1] + entries.col)


def draw_negatives(
    met: np.ndarray, users: np.ndarray, num_items: int, candidates: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw for each user an item that it has not met, uniformly; a user who has met nearly all may get one it has met.

    Args:
      met: int64 [E], the events, from `event_keys`.
      users: int64 [B].
      num_items: N.
      candidates: int [C], items to draw from.
      rng: draws.

    Returns:
      int64 [B].
    """
    negatives = rng.choice(candidates, len(users)).astype(np.int64)
    for _ in range(_DRAWS):
        keys = users * num_items + negatives
        wrong = np.flatnonzero(met[np.minimum(np.searchsorted(met, keys), len(met) - 1)] == keys)
        if not len(wrong):
            break
        negatives[wrong] = rng.choice(candidates, len(wrong))
    return negatives
