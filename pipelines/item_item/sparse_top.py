"""The largest entries of each row of a sparse matrix, and of a product of sparse matrices made block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from pipelines.item_item.top_k import sort_keys
from pipelines.runs.progress import progress

__all__ = ["Links", "product_work", "row_blocks", "top_links", "top_of_blocks"]

_BLOCK_ENTRIES = 1 << 22  # entries of a block: about 100 MB with the keys that they are sorted by
_BLOCK_WORK = 1 << 26  # multiplications of a block: a few seconds, so that progress is seen
_LAST = np.iinfo(np.int64).max


class Links(NamedTuple):
    """The largest entries of each row of an item-item matrix, as arrays of one shape.

    Attributes:
      columns: int32 [N, K], where the entries are.
      values: float32 [N, K], the entries, of either sign; 0 where a row has fewer than K.
    """

    columns: np.ndarray
    values: np.ndarray

    def to_csr(self, num_columns: int) -> sp.csr_matrix:
        """Return the same entries as float32 csr [N, num_columns], columns in order."""
        used = self.values != 0
        ends = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        matrix = sp.csr_matrix((self.values[used], self.columns[used], ends), shape=(len(self.values), num_columns))
        matrix.sort_indices()
        return matrix


def top_links(matrix: sp.csr_matrix, k: int, ties: np.ndarray | None = None) -> Links:
    """Keep the `k` entries of each row with the largest absolute value, best first.

    Args:
      matrix: float [N, columns], no entry twice; it is compared and kept as float32.
      k: entries of a row that are kept.
      ties: int64 [columns], all different and at least 0; of equal entries the one with the smaller number comes first.
        None: the first column.

    Returns:
      `Links` of shape [N, k].
    """
    matrix = sp.csr_matrix(matrix)
    num_items = matrix.shape[0]
    links = Links(np.zeros((num_items, k), np.int32), np.zeros((num_items, k), np.float32))
    lengths = np.diff(matrix.indptr)
    for start, stop in row_blocks(np.maximum(lengths, k) / _BLOCK_ENTRIES):
        entries = slice(matrix.indptr[start], matrix.indptr[stop])
        columns, values = matrix.indices[entries], matrix.data[entries].astype(np.float32)
        keys = sort_keys(np.abs(values), columns if ties is None else ties[columns])
        rank, within = _ranks(keys, lengths[start:stop], k)
        links.columns[start:stop][within] = columns[rank]
        links.values[start:stop][within] = values[rank]
    return links


def _ranks(keys: np.ndarray, lengths: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the `k` smallest keys of each row, in order, one row after the other; bool [rows, k], which there are."""
    starts = np.cumsum(lengths) - lengths
    positions = np.zeros((len(lengths), k), np.int64)
    chosen = np.full((len(lengths), k), _LAST)
    short = lengths <= k
    row = np.repeat(np.flatnonzero(short), lengths[short])
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths[short]) - lengths[short], lengths[short])
    positions[row, column] = starts[row] + column
    for long in np.flatnonzero(~short):
        # Keys of a row are all different, so that this choice is the only possible one.
        own = keys[starts[long] : starts[long] + lengths[long]]
        positions[long] = starts[long] + np.argpartition(own, k - 1)[:k]
    within = np.arange(k) < lengths[:, None]
    chosen[within] = keys[positions[within]]
    order = np.argsort(chosen, axis=1)
    return np.take_along_axis(positions, order, axis=1)[within], within


def top_of_blocks(
    block: Callable[[int, int], sp.csr_matrix],
    work: np.ndarray,
    k: int,
    *,
    num_columns: int,
    label: str,
    ties: np.ndarray | None = None,
) -> sp.csr_matrix:
    """Make a matrix block by block and keep the `top_links` of its rows: never more than one block, and never a dense row.

    Args:
      block: (first row, row behind the last) -> these rows, float csr [rows, num_columns].
      work: int64 [N], multiplications that each row costs, see `product_work`.
      k, ties: see `top_links`.
      num_columns: M.
      label: names the work where it is long enough to be shown.

    Returns:
      float32 csr [N, num_columns], columns in order.
    """
    # As much as there can be; what is not written to takes no memory.
    most = int(np.minimum(work, k).sum())
    indices, data, lengths = np.empty(most, np.int32), np.empty(most, np.float32), np.zeros(len(work) + 1, np.int64)
    done, total, filled = 0, int(work.sum()) // 1_000_000 + 1, 0
    share = np.maximum(np.minimum(work, num_columns) / _BLOCK_ENTRIES, work / _BLOCK_WORK)
    with progress(label, "million products") as advance:
        advance(0, total)
        for start, stop in row_blocks(share):
            part = top_links(block(start, stop), k, ties).to_csr(num_columns)
            entries = slice(filled, filled + part.nnz)
            indices[entries], data[entries], lengths[start + 1 : stop + 1] = (
                part.indices,
                part.data,
                np.diff(part.indptr),
            )
            filled += part.nnz
            done += int(work[start:stop].sum())
            advance(done // 1_000_000, total)
    return sp.csr_matrix((data[:filled], indices[:filled], np.cumsum(lengths)), shape=(len(work), num_columns))


def product_work(left: sp.csr_matrix, right: sp.csr_matrix) -> np.ndarray:
    """Return how many multiplications each row of `left @ right` costs, int64 [N]."""
    lengths = np.diff(right.indptr).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(lengths[left.indices])])
    return sums[left.indptr[1:]] - sums[left.indptr[:-1]]


def row_blocks(share: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut rows into blocks whose shares add up to at most 1; a larger row is a block of its own.

    Args:
      share: float [N], what each row takes of a block.

    Yields:
      first row, and the row behind the last.
    """
    ends = np.cumsum(share)
    start = 0
    while start < len(share):
        before = ends[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(ends, before + 1.0, side="right")))
        yield start, stop
        start = stop
