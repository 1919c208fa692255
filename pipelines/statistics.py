"""What counting says of a catalogue: neighbours, successors, popularity; for new items borrowed from their nearest ones."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pipelines.baselines import interaction_matrix, item_similarities
from pipelines.config import HybridConfig
from tfrecs.reader import TrainingEvents
from towers.hybrid import NEIGHBOURS, RECENT, SUCCESSORS, Links, Statistics


def training_matrix(events: TrainingEvents, num_items: int) -> sp.csr_matrix:
    """float32 [users, N] of ones: who took what at all."""
    _, users = np.unique(events.users, return_inverse=True)
    train = interaction_matrix(users, events.items, num_users=int(users.max(initial=-1)) + 1, num_items=num_items)
    train.data[:] = 1.0
    return train


def neighbour_links(train: sp.csr_matrix, regularization: float, settings: HybridConfig) -> Links:
    """Which items the users of an item take: the largest weights of EASE, or of item-kNN where there are too many items.

    Args:
      train: see `training_matrix`.
      regularization: of EASE.
    """
    if train.shape[1] > settings.linear_items:
        near = item_similarities(train, shrinkage=settings.shrinkage, neighbours=settings.neighbours)
    else:
        near = sp.csr_matrix(ease_weights(train, regularization))
    return packed(near, settings.neighbours)


def count_statistics(
    events: TrainingEvents,
    num_items: int,
    history: int,
    *,
    ordered: bool,
    regularization: float,
    settings: HybridConfig,
) -> Statistics:
    """Statistics of the training events alone.

    Args:
      num_items: N, of the catalogue.
      history: events of a history that the model sees.
      ordered: whether the events of a user have an order; without one there is no successor, and no newest event.
      regularization: see `neighbour_links`.
    """
    links = {NEIGHBOURS: neighbour_links(training_matrix(events, num_items), regularization, settings)}
    last = {NEIGHBOURS: history}
    if ordered:
        _, users = np.unique(events.users, return_inverse=True)
        after = succession(users, events.items, num_items, window=settings.window, shrinkage=settings.shrinkage)
        links[SUCCESSORS] = packed(after, settings.neighbours)
        last |= {RECENT: min(settings.recent, history), SUCCESSORS: min(settings.last_successors, history)}
    counts = np.bincount(events.items, minlength=num_items)
    return Statistics(links, np.log1p(counts).astype(np.float32), counts == 0, last)


def ease_weights(train: sp.csr_matrix, regularization: float) -> np.ndarray:
    """float32 [N, N] with a zero diagonal: the ridge regression of every column of `train` [users, N] on all others.

    With P = (X^T X + regularization I)^-1 it is B[i, j] = -P[i, j] / P[j, j] (Steck, 2019, "Embarrassingly shallow
    autoencoders for sparse data", arXiv:1905.03375).
    """
    gram = (train.T @ train).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights


def succession(users: np.ndarray, items: np.ndarray, num_items: int, *, window: int, shrinkage: float) -> sp.csr_matrix:
    """float32 [N, N]: how much item j is what comes soon after item i.

    Two events of a user that are d <= `window` places apart add 1 / d to T[i, j]; the result is
    T[i, j] / (sqrt(sum_j T[i, j] sum_i T[i, j]) + shrinkage), and 0 where i is j.

    Args:
      users, items: int [E], events of each user in order.
    """
    order = np.argsort(users, kind="stable")
    users, items = users[order], items[order]
    total = sp.csr_matrix((num_items, num_items))
    for distance in range(1, window + 1):
        same = users[distance:] == users[:-distance]
        pairs = items[:-distance][same], items[distance:][same]
        total = total + sp.csr_matrix((np.full(len(pairs[0]), 1.0 / distance), pairs), shape=total.shape)
    counts = total.tocoo()
    out, into = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(counts.sum(axis=0)).ravel()
    values = counts.data / (np.sqrt(out[counts.row] * into[counts.col]) + shrinkage)
    values[counts.row == counts.col] = 0.0
    result = sp.csr_matrix((values.astype(np.float32), (counts.row, counts.col)), shape=counts.shape)
    result.eliminate_zeros()
    return result


def packed(matrix: sp.csr_matrix, width: int) -> Links:
    """The `width` largest values of each row of a float32 [N, N], by their size, as arrays; of equal ones the first."""
    count = matrix.shape[0]
    index, value = np.zeros((count, width), np.int32), np.zeros((count, width), np.float32)
    matrix = matrix.tocsr()
    matrix.sort_indices()
    for row in range(count):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        best = np.argsort(-np.abs(matrix.data[part]), kind="stable")[:width]
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
