"""The linear item-item model of a large catalogue: every item regressed on its nearest neighbours alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from pipelines.runs.progress import progress
from tfrecs.errors import DataError

__all__ = ["neighbour_regression"]

_TOGETHER = 1024  # different items whose counts stand in memory at once, as a dense matrix of 8 MB


def neighbour_regression(
    train: sp.csr_matrix, neighbours: sp.csr_matrix, regularization: float, items: np.ndarray | None = None
) -> sp.csr_matrix:
    """Ridge regression of the columns of `train`, each on those of its item's neighbours.

    With S the neighbours of j it is B[S, j] = (X_S^T X_S + regularization I)^-1 X_S^T x_j: what `Ease` solves for all
    items, where only S may have weights. That item-kNN chooses what a regression may use is fsSLIM (Ning and Karypis,
    2011, "SLIM: sparse linear methods for top-n recommender systems", ICDM); Steck (2019, "Markov random fields for
    collaborative filtering", NeurIPS) solves for such blocks exactly, as here. All counts within a block are exact: with
    small ones left out the matrices would not be positive definite.

    Args:
      train: float32 [users, N], see `pipelines.item_item.model.training_matrix`.
      neighbours: csr [N, N], row j has its entries at the neighbours of j.
      regularization: L2 regularization, in users.
      items: int64, which columns to solve for; None: all.

    Returns:
      float32 csr [N, N], with a zero diagonal; empty columns for items that were not asked for.

    Raises:
      DataError: the regularization is too small for a solution.
    """
    num_items = train.shape[1]
    asked = np.ones(num_items, bool) if items is None else np.isin(np.arange(num_items), items)
    weights = sp.csr_matrix(neighbours, dtype=np.float32, copy=True)  # row j will be the column j of the result
    weights.data[:] = 0.0
    by_item = train.T.tocsr().astype(np.float64)
    local = np.zeros(num_items, np.int64)
    with progress("item regressions", "items") as advance:
        done, total = 0, int(asked.sum())
        advance(0, total)
        for block in _blocks(neighbours, asked):
            together = np.unique(np.concatenate([block, *(_row(neighbours, item) for item in block)]))
            local[together] = np.arange(len(together))
            columns = by_item[together]
            gram = (columns @ columns.T).toarray()
            for item in block:
                own = local[_row(neighbours, item)]
                if len(own):
                    kernel = gram[np.ix_(own, own)]
                    kernel[np.diag_indices_from(kernel)] += regularization
                    solution, failed = lapack.dposv(kernel, gram[own, local[item]], lower=1, overwrite_a=1)[1:]
                    if failed:
                        raise DataError(
                            f"the regression on neighbours has no solution with the regularization {regularization:g}: "
                            "--set hybrid.regularizations to larger numbers"
                        )
                    weights.data[weights.indptr[item] : weights.indptr[item + 1]] = solution
            done += len(block)
            advance(done, total)
    return weights.T.tocsr()


def _row(matrix: sp.csr_matrix, row: int) -> np.ndarray:
    """Where a row has entries."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _blocks(neighbours: sp.csr_matrix, asked: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the items that were asked for into blocks with at most `_TOGETHER` different neighbours, themselves among them.

    A block is an item and such that have its nearest neighbour as a neighbour too: they have many others in common.
    """
    seen, left, has_neighbour = np.zeros(len(asked), bool), asked.copy(), neighbours.tocsc()
    for seed in np.flatnonzero(asked).tolist():
        if not left[seed]:
            continue
        own = slice(neighbours.indptr[seed], neighbours.indptr[seed + 1])
        near = np.zeros(0, np.int64)
        if own.stop > own.start:
            nearest = neighbours.indices[own][np.argmax(neighbours.data[own])]
            near = has_neighbour.indices[has_neighbour.indptr[nearest] : has_neighbour.indptr[nearest + 1]]
            near = near[left[near] & (near != seed)][:_TOGETHER]
        block: list[int] = []
        count = 0
        for item in [seed, *near.tolist()]:
            members = np.append(_row(neighbours, item), item)
            new = members[~seen[members]]
            if block and count + len(new) > _TOGETHER:
                continue
            seen[new] = True
            count += len(new)
            block.append(item)
        left[block] = False
        seen[:] = False
        yield np.array(block)
