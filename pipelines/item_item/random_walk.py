"""Random walks between items: to somebody who took an item, or to content like it, and on to another item of theirs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.item_item.sparse_top import Links, product_work, top_links, top_of_blocks

__all__ = ["content_groups", "random_walk"]

_WORK = 2_000_000_000  # multiplications of a hop: about a minute; larger catalogues keep fewer places of the walk
_DENSE = 0.25  # share of entries of content from which it is multiplied as a dense matrix
_FEWEST = 20  # places of the walk that are kept in any case


def random_walk(train: sp.csr_matrix, features: Mapping[str, sp.csr_matrix], settings: HybridConfig) -> Links:
    """Find where a walk of `walk_hops` hops from each item ends.

    A hop goes from an item to one of its users, and from there to one of the items of that user, all equally likely. So a
    user of many items counts no more for a hop than one of two, which is what short histories need: there most that is
    known of an item comes from a few users with endless histories. (P3alpha: Cooper et al., 2014, "Random walks in
    recommender systems"; several such hops are the linear graph convolution of LightGCN, He et al., 2020,
    arXiv:2002.02126, with nothing to learn.) An item and those with the most similar content stand for one more user, with a
    smaller weight, as edges of content do for Zhou and Shen, 2023, "A tale of two graphs" (FREEDOM).

    Args:
      train: float32 [users, N]; entries below 0 count as 0.
      features: item feature -> float32 csr [N, d], rows of length 1 or 0; may be empty.
      settings: section `hybrid`.

    Returns:
      `Links` [N, K], K at most `neighbours`: how many times likelier the walk ends at an item than a draw from the
      catalogue would; not at the item where it began.
    """
    num_items = train.shape[1]
    groups = [train.maximum(0)]
    if settings.walk_content > 0:
        nearest = settings.walk_neighbours
        groups += [settings.walk_content * content_groups(rows, nearest) for rows in features.values()]
    graph = sp.csr_matrix(sp.vstack(groups), dtype=np.float32)
    graph.eliminate_zeros()
    to_users, to_items = _shares(graph.T.tocsr()), _shares(graph)
    del groups, graph  # of a large log each is as large as its events
    kept = int(np.clip(np.sqrt(_WORK / num_items), _FEWEST, settings.kept_links(num_items)))
    hop = _product(to_users, to_items, kept, "hops of the random walk")
    del to_users, to_items
    walk = hop
    for number in range(2, settings.walk_hops + 1):
        walk = _product(walk, hop, kept, f"random walk, hop {number}")
    walk.data[walk.indices == np.repeat(np.arange(num_items), np.diff(walk.indptr))] = 0.0
    walk.eliminate_zeros()
    walk.data *= num_items
    return top_links(walk, kept)


def content_groups(rows: sp.csr_matrix, nearest: int) -> sp.csr_matrix:
    """Mark for each item itself and the `nearest` others by cosine; none for one without content.

    Args:
      rows: float32 csr [N, d], of length 1 or 0.
      nearest: others of each item; similarities of 0 and less are not counted.

    Returns:
      float32 csr [N, N] of ones.
    """
    by_term = rows.T.tocsr()
    work = product_work(rows, by_term)
    # Vectors are multiplied as they are: many times faster than as a sparse matrix without zeros.
    left, right = (rows.toarray(), by_term.toarray()) if rows.nnz > _DENSE * np.prod(rows.shape) else (rows, by_term)

    def block(start: int, stop: int) -> sp.csr_matrix:
        similarities = sp.csr_matrix(left[start:stop] @ right)
        similarities.data[similarities.data < 0] = 0.0
        similarities.eliminate_zeros()
        return similarities

    # The item itself is the nearest of all.
    label = "items with similar content"
    near = top_of_blocks(block, work, nearest + 1, num_columns=rows.shape[0], label=label)
    near.data[:] = 1.0
    return near


def _shares(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Each row over its sum; a row of zeros stays one."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)) @ matrix)


def _product(left: sp.csr_matrix, right: sp.csr_matrix, kept: int, label: str) -> sp.csr_matrix:
    """The largest entries of each row of the product."""
    work = product_work(left, right)
    return top_of_blocks(
        lambda start, stop: left[start:stop] @ right, work, kept, num_columns=right.shape[1], label=label
    )
