"""What counting says of a catalogue: neighbours, successors, popularity; for new items borrowed from their nearest ones."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pipelines.baselines import interaction_matrix, item_similarities
from pipelines.config import HybridConfig
from tfrecs.reader import TrainingEvents
from towers.hybrid import NEIGHBOURS, SUCCESSORS, Links, Statistics


def count_statistics(
    events: TrainingEvents, num_items: int, history: int, *, ordered: bool, settings: HybridConfig
) -> Statistics:
    """Statistics of the training events alone.

    Args:
      num_items: N, of the catalogue.
      history: events of a history that the model sees.
      ordered: whether the events of a user have an order; without one there is no successor, and no newest event.
    """
    _, users = np.unique(events.users, return_inverse=True)
    train = interaction_matrix(users, events.items, num_users=int(users.max(initial=-1)) + 1, num_items=num_items)
    near = item_similarities(train, shrinkage=settings.shrinkage, neighbours=settings.neighbours)
    links, last = {NEIGHBOURS: packed(near, settings.neighbours)}, {NEIGHBOURS: history}
    if ordered:
        after = succession(users, events.items, num_items, settings.shrinkage)
        links[SUCCESSORS] = packed(after, settings.neighbours)
        last = {NEIGHBOURS: min(settings.last, history), SUCCESSORS: min(settings.last_successors, history)}
    counts = np.bincount(events.items, minlength=num_items)
    return Statistics(links, np.log1p(counts).astype(np.float32), counts == 0, last)


def succession(users: np.ndarray, items: np.ndarray, num_items: int, shrinkage: float) -> sp.csr_matrix:
    """float32 [N, N]: how often item j came right after item i, over the root of the product of their frequencies.

    Args:
      users, items: int [E], events of each user in order.
    """
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    follows = users[1:] == users[:-1]
    pairs = sp.csr_matrix(
        (np.ones(int(follows.sum())), (items[:-1][follows], items[1:][follows])), shape=(num_items, num_items)
    )
    scale = sp.diags(1.0 / np.sqrt(np.maximum(np.bincount(items, minlength=num_items), 1) + shrinkage))
    result = (scale @ pairs @ scale).tocsr().astype(np.float32)
    result.setdiag(0.0)
    result.eliminate_zeros()
    return result


def packed(matrix: sp.csr_matrix, width: int) -> Links:
    """The `width` largest values of each row of a float32 [N, N] as arrays; of equal ones the first columns."""
    count = matrix.shape[0]
    index, value = np.zeros((count, width), np.int32), np.zeros((count, width), np.float32)
    matrix = matrix.tocsr()
    matrix.sort_indices()
    for row in range(count):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        best = np.argsort(-matrix.data[part], kind="stable")[:width]
        index[row, : len(best)], value[row, : len(best)] = matrix.indices[part][best], matrix.data[part][best]
    return Links(index, value)


def unpacked(links: Links, count: int) -> sp.csr_matrix:
    """The inverse of `packed`: float32 [rows, count]."""
    row, place = np.nonzero(links.value)
    return sp.csr_matrix(
        (links.value[row, place], (row, links.index[row, place])), shape=(len(links.value), count), dtype=np.float32
    )


def completed(statistics: Statistics, trained: np.ndarray, unit: np.ndarray, nearest: int) -> Statistics:
    """Statistics of another catalogue, or of the same one with its new items: what nothing was counted of borrows.

    A new item has the neighbours, successors and popularity of the `nearest` known items around it, each by its
    cosine: the towers say what it is like, counting says where the like of it goes.

    Args:
      statistics: of the trained items.
      trained: int64 [N], the trained position of each item of the other catalogue; -1 for none.
      unit: float32 [N, D], its embeddings, of length 1.
      nearest: how many items are borrowed from, at most.

    Returns:
      Statistics of N items.
    """
    trained_items = len(statistics.popularity)
    counted = (trained >= 0) & ~statistics.borrowed[np.maximum(trained, 0)]
    sources, new = np.flatnonzero(counted), np.flatnonzero(~counted)
    take = sp.csr_matrix(
        (np.ones(len(sources), np.float32), (sources, trained[sources])), shape=(len(trained), trained_items)
    )
    popularity = take @ statistics.popularity
    borrow = sp.identity(len(trained), np.float32, format="csr")
    if len(new) and len(sources):
        share = _nearest_shares(unit[new], unit[sources], min(nearest, len(sources)))
        popularity[new] = share @ popularity[sources]
        rows, columns = share.nonzero()
        borrow += sp.csr_matrix((share.data, (new[rows], sources[columns])), shape=borrow.shape)
    links = {}
    for name, one in statistics.links.items():
        moved = take @ unpacked(one, trained_items) @ take.T
        links[name] = packed((borrow @ moved @ borrow.T).tocsr(), one.index.shape[1])
    return Statistics(links, popularity.astype(np.float32), ~counted, statistics.last)


def _nearest_shares(new: np.ndarray, sources: np.ndarray, nearest: int) -> sp.csr_matrix:
    """float32 [R, S]: for each row the `nearest` sources, by their cosine, as shares that sum to 1."""
    parts = []
    for start in range(0, len(new), 1024):
        cosine = np.maximum(new[start : start + 1024] @ sources.T, 0.0) + 1e-6
        best = np.argpartition(-cosine, nearest - 1, axis=1)[:, :nearest]
        share = np.take_along_axis(cosine, best, axis=1)
        share /= share.sum(axis=1, keepdims=True)
        pointers = np.arange(0, best.size + 1, nearest)
        parts.append(sp.csr_matrix((share.ravel(), best.ravel(), pointers), shape=cosine.shape))
    return sp.vstack(parts, format="csr", dtype=np.float32)
