"""The linear item-item model of a large catalogue: every item regressed on its nearest neighbours alone."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from pipelines.runs.progress import progress
from tfrecs.errors import DataError

__all__ = ["neighbour_regression"]

_POPULAR = 8192  # items whose counts stand in memory as a dense matrix: 270 MB
_ROWS = 512  # of it that are made at once


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
    asked = np.arange(num_items, dtype=np.int32) if items is None else np.unique(items).astype(np.int32)
    chosen = neighbours if items is None else neighbours[asked]
    solutions = np.zeros(chosen.nnz, np.float32)
    counts = _Counts(train)
    # On one thread: handing matrices this small from thread to thread takes longer than solving them.
    with threadpool_limits(1, "blas"), progress("item regressions", "items") as advance:
        advance(0, len(asked))
        for done, item in enumerate(asked.tolist(), 1):
            entries = slice(chosen.indptr[done - 1], chosen.indptr[done])
            if entries.stop > entries.start:
                gram = counts.between(np.append(chosen.indices[entries], item))
                kernel, common = gram[:-1, :-1], gram[:-1, -1]
                kernel[np.diag_indices_from(kernel)] += regularization
                solution, failed = lapack.dposv(kernel, common, lower=1)[1:]
                if failed:
                    raise DataError(
                        f"the regression on neighbours has no solution with the regularization {regularization:g}: "
                        "--set hybrid.regularizations to larger numbers"
                    )
                solutions[entries] = solution
            if done % 128 == 0 or done == len(asked):
                advance(done, len(asked))
    del counts  # two large arrays, before the largest ones are turned about
    # Row j is column j of the result, of which only those are there that were asked for.
    weights = sp.csc_matrix((solutions, chosen.indices, chosen.indptr), shape=(num_items, len(asked))).tocsr()
    if items is None:
        return weights
    return sp.csr_matrix((weights.data, asked[weights.indices], weights.indptr), shape=(num_items, num_items))


class _Counts:
    """How many users any two items have in common (X^T X), without a matrix of all of them.

    Items that many users have are neighbours of many others: among the most popular ones the counts are made once, as a
    dense matrix. Any other item has few users, and its counts are made where they are asked for.
    """

    def __init__(self, train: sp.csr_matrix):
        self.by_item = train.T.tocsr()
        num_items, num_users = self.by_item.shape
        popular = np.argsort(-np.diff(self.by_item.indptr), kind="stable")[:_POPULAR]
        self.place = np.full(num_items, -1)
        self.place[popular] = np.arange(len(popular))
        self.user_place = np.full(num_users, -1, np.int32)
        own = self.by_item[popular].astype(np.float64)
        by_user = own.T.tocsr()
        self.among_popular = np.empty((len(popular), len(popular)), np.float32)
        with progress("counts of popular items", "items") as advance:
            for start in range(0, len(popular), _ROWS):
                block = own[start : start + _ROWS]
                self.among_popular[start : start + _ROWS] = (block @ by_user).toarray()
                advance(start + block.shape[0], len(popular))

    def between(self, items: np.ndarray) -> np.ndarray:
        """Return the counts of every two of `items`, float64 [len(items), len(items)]."""
        place = self.place[items]
        is_popular = place >= 0
        if is_popular.all():
            return self.among_popular[np.ix_(place, place)].astype(np.float64)
        rows = self.by_item[items]
        # Users of the others, numbered: a matrix with a row for every user would take longer to make than to multiply.
        others = np.repeat(~is_popular, np.diff(rows.indptr))
        users = rows.indices[others]
        self.user_place[users] = np.arange(len(users))
        places = self.user_place[rows.indices]
        self.user_place[users] = -1
        kept = places >= 0
        pointers = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
        few = sp.csr_matrix(
            (rows.data[kept].astype(np.float64), places[kept], pointers), shape=(len(items), len(users))
        )
        result = np.zeros((len(items), len(items)))
        chosen = np.flatnonzero(is_popular)
        result[np.ix_(chosen, chosen)] = self.among_popular[np.ix_(place[chosen], place[chosen])]
        of_others = (few[np.flatnonzero(~is_popular)] @ few.T).toarray()
        result[~is_popular] = of_others
        result[:, ~is_popular] = of_others.T
        return result
