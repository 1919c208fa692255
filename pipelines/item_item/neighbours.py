"""Item-to-item similarities counted from interactions, as sparse matrices and as fixed-width arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from pipelines.item_item.top_k import tie_order, top_k

__all__ = ["Links", "interaction_matrix", "item_similarities", "successor_similarities", "top_links"]

_BLOCK_ELEMENTS = 1 << 24  # float32 similarities of one block of items against the catalogue: 64 MB


class Links(NamedTuple):
    """The largest entries of each row of an item-item matrix, as arrays of one shape.

    Attributes:
      columns: int32 [N, K], where the entries are.
      values: float32 [N, K], the entries, of either sign; 0 where a row has fewer than K.
    """

    columns: np.ndarray
    values: np.ndarray

    def to_csr(self, num_columns: int) -> sp.csr_matrix:
        """Return the same entries as float32 csr [N, num_columns]."""
        row, rank = np.nonzero(self.values)
        entries = (self.values[row, rank], (row, self.columns[row, rank]))
        return sp.csr_matrix(entries, shape=(len(self.values), num_columns), dtype=np.float32)


def top_links(matrix: sp.csr_matrix, k: int) -> Links:
    """Keep the `k` entries of each row with the largest absolute value; of equal ones the first columns.

    Args:
      matrix: float32 [N, columns].
      k: entries of a row that are kept.

    Returns:
      `Links` of shape [N, k].
    """
    matrix = sp.csr_matrix(matrix)
    matrix.sort_indices()
    num_items = matrix.shape[0]
    links = Links(np.zeros((num_items, k), np.int32), np.zeros((num_items, k), np.float32))
    for row in range(num_items):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        largest = np.argsort(-np.abs(matrix.data[entries]), kind="stable")[:k]
        links.columns[row, : len(largest)] = matrix.indices[entries][largest]
        links.values[row, : len(largest)] = matrix.data[entries][largest]
    return links


def interaction_matrix(
    users: ArrayLike, items: ArrayLike, weights: ArrayLike | None = None, *, num_users: int, num_items: int
) -> sp.csr_matrix:
    """Count how often each user met each item, or sum up the weights.

    Args:
      users, items: int [E], one pair of positions per event.
      weights: float [E]; None: 1 each.

    Returns:
      float32 csr [num_users, num_items].
    """
    rows, columns = np.asarray(users, np.int64), np.asarray(items, np.int64)
    values = np.ones(len(rows), np.float32) if weights is None else np.asarray(weights, np.float32)
    return sp.csr_matrix((values, (rows, columns)), shape=(num_users, num_items))  # equal pairs are summed


def item_similarities(train: sp.csr_matrix, *, shrinkage: float, neighbours: int) -> sp.csr_matrix:
    """Cosine similarities of item-based k-nearest neighbours (item-kNN).

    sim(i, j) = (x_i . x_j) / (|x_i| |x_j| + shrinkage) over the columns x of `train`: cosine, shrunk towards 0 where
    it rests on few users. An item is not its own neighbour, similarities of 0 are not kept, and ties at the last
    place are broken as in ranking. Keeping the nearest items of the item that was CONSUMED (rows) is the model of
    Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004; keeping the nearest of the item
    to be recommended (columns) is another model with other figures.

    Args:
      train: float32 [users, N], see `interaction_matrix`.
      shrinkage: added to the product of the norms.
      neighbours: similarities of a row that are kept.

    Returns:
      float32 csr [N, N].
    """
    num_items = train.shape[1]
    by_item = train.T.tocsr().astype(np.float64)
    norms = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1)).ravel())
    ties = tie_order(num_items)
    block = max(1, _BLOCK_ELEMENTS // max(1, num_items))
    parts: list[sp.csr_matrix] = []
    for start in range(0, num_items, block):
        dots = (by_item[start : start + block] @ train).toarray()
        rows = np.arange(len(dots))
        denominators = norms[start : start + block, None] * norms + shrinkage
        similarities = np.divide(dots, denominators, out=np.zeros_like(dots), where=denominators > 0).astype(np.float32)
        similarities[rows, start + rows] = 0.0
        nearest = top_k(np.where(similarities > 0, similarities, -np.inf), neighbours, ties)
        row, rank = np.nonzero(nearest >= 0)
        column = nearest[row, rank]
        parts.append(sp.csr_matrix((similarities[row, column], (row, column)), shape=dots.shape))
    return sp.vstack(parts, format="csr", dtype=np.float32) if parts else sp.csr_matrix((0, 0), dtype=np.float32)


def successor_similarities(
    users: np.ndarray,
    items: np.ndarray,
    num_items: int,
    weights: np.ndarray | None = None,
    *,
    window: int,
    shrinkage: float,
) -> sp.csr_matrix:
    """Measure how often each item comes soon after each other one.

    Two events of a user that are d <= `window` positions apart add the product of their weights over d to T[i, j]; the
    result is T[i, j] / (sqrt(sum_j T[i, j] sum_i T[i, j]) + shrinkage), and 0 where i is j.

    Args:
      users, items: int [E], the events of each user in order.
      weights: float [E]; None: 1 each.

    Returns:
      float32 csr [N, N], row: the earlier item, column: its successor.
    """
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    weights = np.ones(len(order)) if weights is None else weights[order].astype(np.float64)
    total = sp.csr_matrix((num_items, num_items))
    for distance in range(1, window + 1):
        same_user = users[distance:] == users[:-distance]
        pairs = items[:-distance][same_user], items[distance:][same_user]
        values = (weights[:-distance] * weights[distance:])[same_user] / distance
        total = total + sp.csr_matrix((values, pairs), shape=total.shape)
    counts = total.tocoo()
    row_sums, column_sums = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(counts.sum(axis=0)).ravel()
    values = counts.data / (np.sqrt(row_sums[counts.row] * column_sums[counts.col]) + shrinkage)
    values[counts.row == counts.col] = 0.0
    result = sp.csr_matrix((values.astype(np.float32), (counts.row, counts.col)), shape=counts.shape)
    result.eliminate_zeros()
    return result
