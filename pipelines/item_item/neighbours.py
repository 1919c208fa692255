"""Item-to-item similarities counted from interactions, as sparse matrices."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from pipelines.item_item.sparse_top import Links, product_work, top_links, top_of_blocks
from pipelines.item_item.top_k import tie_order

__all__ = ["co_occurrences", "interaction_matrix", "item_similarities", "successor_similarities"]


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
    rows, columns = np.asarray(users), np.asarray(items)
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

    def block(start: int, stop: int) -> sp.csr_matrix:
        products = by_item[start:stop] @ train
        row = np.repeat(np.arange(start, stop), np.diff(products.indptr))
        denominators = norms[row] * norms[products.indices] + shrinkage
        similarities = np.divide(products.data, denominators, out=np.zeros_like(products.data), where=denominators > 0)
        similarities[(row == products.indices) | (similarities < 0)] = 0.0
        products.data = similarities.astype(np.float32)
        products.eliminate_zeros()
        return products

    return top_of_blocks(
        block,
        product_work(by_item, train),
        neighbours,
        num_columns=num_items,
        label="item similarities",
        ties=tie_order(num_items),
    )


def co_occurrences(train: sp.csr_matrix, neighbours: int, items: np.ndarray | None = None) -> Links:
    """Count for items how often their users met each other item, and keep the most frequent others.

    Args:
      train: float32 [users, N], see `interaction_matrix`.
      neighbours: K; of equally frequent others the first positions are kept.
      items: int64 [R], positions of the items; None: all.

    Returns:
      `Links` of shape [R, K], the counts, most frequent first.
    """
    items = np.arange(train.shape[1]) if items is None else items
    by_item = train.T.tocsr()[items]

    def block(start: int, stop: int) -> sp.csr_matrix:
        products = by_item[start:stop] @ train
        item = np.repeat(items[start:stop], np.diff(products.indptr))
        products.data[item == products.indices] = 0.0
        products.eliminate_zeros()
        return products

    work = product_work(by_item, train)
    kept = top_of_blocks(block, work, neighbours, num_columns=train.shape[1], label="co-occurrences")
    return top_links(kept, neighbours)


def successor_similarities(
    users: np.ndarray,
    items: np.ndarray,
    num_items: int,
    weights: np.ndarray | None = None,
    *,
    window: int,
    shrinkage: float,
    neighbours: int,
) -> sp.csr_matrix:
    """Measure how often each item comes soon after each other one.

    Two events of a user that are d <= `window` positions apart add the product of their weights over d to T[i, j]; the
    result is T[i, j] / (sqrt(sum_j T[i, j] sum_i T[i, j]) + shrinkage), and 0 where i is j.

    Args:
      users, items: int [E], the events of each user in order.
      weights: float [E]; None: 1 each.
      window: largest distance.
      shrinkage: added to the denominator.
      neighbours: similarities of a row that are kept; of equal ones those to the first items.

    Returns:
      float32 csr [N, N], row: the earlier item, column: its successor.
    """
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    weights = np.ones(len(order)) if weights is None else weights[order].astype(np.float64)
    row_sums, column_sums, work = np.zeros(num_items), np.zeros(num_items), np.zeros(num_items, np.int64)
    for distance in range(1, window + 1):
        same_user = users[distance:] == users[:-distance]
        earlier, later = items[:-distance][same_user], items[distance:][same_user]
        values = (weights[:-distance] * weights[distance:])[same_user] / distance
        row_sums += np.bincount(earlier, values, minlength=num_items)
        column_sums += np.bincount(later, values, minlength=num_items)
        work += np.bincount(earlier, minlength=num_items)
    by_item = np.argsort(items, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(items, minlength=num_items))])

    def block(start: int, stop: int) -> sp.csr_matrix:
        earlier = by_item[ends[start] : ends[stop]]
        rows, columns, values = [], [], []
        for distance in range(1, window + 1):
            inside = earlier[earlier < len(items) - distance]
            own = inside[users[inside] == users[inside + distance]]
            rows.append(items[own] - start)
            columns.append(items[own + distance])
            values.append(weights[own] * weights[own + distance] / distance)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        counts = sp.csr_matrix(entries, shape=(stop - start, num_items))
        row = np.repeat(np.arange(start, stop), np.diff(counts.indptr))
        counts.data /= np.sqrt(row_sums[row] * column_sums[counts.indices]) + shrinkage
        counts.data[row == counts.indices] = 0.0
        counts.data = counts.data.astype(np.float32)
        counts.eliminate_zeros()
        return counts

    return top_of_blocks(block, work, neighbours, num_columns=num_items, label="successors")
