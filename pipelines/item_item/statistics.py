"""What counting says of a catalogue: neighbours, successors, popularity; for new items borrowed from their nearest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.evaluation.baselines import interaction_matrix, item_similarities
from pipelines.item_item.cold_start import Loans
from tfrecs.reading.reader import TrainingEvents
from towers.hybrid import NEIGHBOURS, RECENT, SUCCESSORS, Links, Statistics


def training_matrix(events: TrainingEvents, num_items: int) -> sp.csr_matrix:
    """float32 [users, N] of ones: who took what at all."""
    _, users = np.unique(events.users, return_inverse=True)
    train = interaction_matrix(users, events.items, num_users=int(users.max(initial=-1)) + 1, num_items=num_items)
    train.data[:] = 1.0
    return train


@dataclass(frozen=True)
class Linear:
    """What the linear model of neighbours is told beside the events; see `ease_weights`.

    Attributes:
      regularization: of its weights.
      content: how much the items' likeness counts beside common users, 0 = nothing.
    """

    regularization: float
    content: float = 0.0


def neighbour_links(train: sp.csr_matrix, linear: Linear, likeness: np.ndarray | None, settings: HybridConfig) -> Links:
    """Which items the users of an item take: the largest weights of EASE, or of item-kNN where there are too many items.

    Args:
      train: see `training_matrix`.
      linear: of EASE.
      likeness: see `ease_weights`; None where nothing is known of the items' content, or it shall not count.
    """
    if train.shape[1] > settings.linear_items:
        near = item_similarities(train, shrinkage=settings.shrinkage, neighbours=settings.neighbours)
    else:
        alike = linear.content * likeness if linear.content and likeness is not None else None
        near = sp.csr_matrix(ease_weights(train, linear.regularization, alike))
    return packed(near, settings.neighbours)


def count_statistics(
    events: TrainingEvents,
    num_items: int,
    history: int,
    *,
    ordered: bool,
    linear: Linear,
    likeness: np.ndarray | None,
    settings: HybridConfig,
) -> Statistics:
    """Statistics of the training events alone.

    Args:
      num_items: N, of the catalogue.
      history: events of a history that the model sees.
      ordered: whether the events of a user have an order; without one there is no successor, and no newest event.
      linear, likeness: see `neighbour_links`.
    """
    links = {NEIGHBOURS: neighbour_links(training_matrix(events, num_items), linear, likeness, settings)}
    last = {NEIGHBOURS: history}
    if ordered:
        _, users = np.unique(events.users, return_inverse=True)
        after = succession(users, events.items, num_items, window=settings.window, shrinkage=settings.shrinkage)
        links[SUCCESSORS] = packed(after, settings.neighbours)
        last |= {RECENT: min(settings.recent, history), SUCCESSORS: min(settings.last_successors, history)}
    counts = np.bincount(events.items, minlength=num_items)
    return Statistics(links, np.log1p(counts).astype(np.float32), counts == 0, last)


def ease_weights(train: sp.csr_matrix, regularization: float, likeness: np.ndarray | None = None) -> np.ndarray:
    """float32 [N, N] with a zero diagonal: the ridge regression of every column of `train` [users, N] on all others.

    With P = (X^T X + regularization I)^-1 it is B[i, j] = -P[i, j] / P[j, j] (Steck, 2019, "Embarrassingly shallow
    autoencoders for sparse data", arXiv:1905.03375). With the items' likeness added to X^T X it must foretell their
    content as well: each term of it is one more user (Jeunen et al., 2020, "Closed-form models for collaborative
    filtering with side-information", RecSys).

    Args:
      likeness: [N, N], positive semi-definite, in units of common users; of items that anybody took.
    """
    gram = (train.T @ train).toarray().astype(np.float64)
    if likeness is not None:
        taken = np.flatnonzero(gram.diagonal())
        gram[np.ix_(taken, taken)] += likeness[np.ix_(taken, taken)]
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


def completed(statistics: Statistics, trained: np.ndarray, loans: Loans, new_links: int) -> Statistics:
    """Statistics of another catalogue, or of the same one with its new items: what nothing was counted of borrows.

    The neighbours and successors of a new item, and how much others lead to it, are those of the known items in their
    shares; so is what its popularity is more or less than the mean.

    Args:
      statistics: of the trained items.
      trained: int64 [N], the trained position of each item of the other catalogue; -1 for none.
      loans: of the other catalogue.
      new_links: links of each item that lead to new ones, at most, beside those that lead to known ones.

    Returns:
      Statistics of N items.
    """
    known, new, shares = loans.known, loans.new, loans.shares
    take = sp.csr_matrix(
        (np.ones(len(known), np.float32), (np.arange(len(known)), trained[known])),
        shape=(len(known), len(statistics.popularity)),
    )
    counts = take @ statistics.popularity
    mean = counts.mean() if len(known) else 0.0
    popularity = np.zeros(len(trained), np.float32)
    popularity[known], popularity[new] = counts, mean + shares @ (counts - mean)
    links = {}
    for name, one in statistics.links.items():
        among = take @ unpacked(one, len(statistics.popularity)) @ take.T
        leading, led = shares @ among, among @ shares.T
        parts = [(among, leading, known, one.index.shape[1])]
        if len(new):
            parts.append((led, leading @ shares.T, new, min(new_links, len(new))))
        links[name] = _stacked(parts, known, new)
    return Statistics(links, popularity, np.isin(np.arange(len(trained)), new), statistics.last)


def _stacked(parts: Sequence[tuple[Any, Any, np.ndarray, int]], known: np.ndarray, new: np.ndarray) -> Links:
    """Links side by side. A part: matrices of what known and new items lead to, the items of their columns, the width."""
    width, count = sum(part[3] for part in parts), len(known) + len(new)
    result = Links(np.zeros((count, width), np.int32), np.zeros((count, width), np.float32))
    start = 0
    for of_known, of_new, columns, size in parts:
        for rows, matrix in ((known, of_known), (new, of_new)):
            if len(rows) and len(columns):
                links = packed(sp.csr_matrix(matrix), size)
                result.index[rows, start : start + size] = columns[links.index]
                result.value[rows, start : start + size] = links.value
        start += size
    return result
