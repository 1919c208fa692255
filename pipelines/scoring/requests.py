"""Held-out requests: what a user had done, when they came back, and what they then took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.scoring.queries import Queries
from tfrecs.reading.reader import UserHistory
from tfrecs.schema import Schema


@dataclass(frozen=True)
class Requests:
    """Q requests with everything a model may know. `queries` is the part that every scorer understands.

    Attributes:
      queries: users, moments, histories and targets.
      values: Q arrays float32, event values of the histories.
      event_times: Q arrays int64, times of the histories.
      labels: Q arrays float32 [events, labels] of the histories, NaN = unknown.
      context: column context -> [Q] (bytes or float32), of the moment of the request.
      users: serialized Examples [Q] that carry the users' features.
      texts: str [Q], what the user had typed, "" = nothing; None where the data set has no text queries.
      pair_rows, pair_items, pair_labels: int64 [E], int32 [E], float32 [E, labels]: every held-out event, positive or
        not, as (request, item, labels), for the ranking head.
    """

    queries: Queries
    values: list[np.ndarray]
    event_times: list[np.ndarray]
    labels: list[np.ndarray]
    context: Mapping[str, np.ndarray]
    users: np.ndarray
    pair_rows: np.ndarray
    pair_items: np.ndarray
    pair_labels: np.ndarray
    texts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def without_texts(self) -> Requests:
        """The same, as if nobody had typed anything."""
        return replace(self, texts=None)


@dataclass(frozen=True)
class _Row:
    history: UserHistory
    past: np.ndarray  # positions of the events that the request may know
    targets: np.ndarray  # positions of the held-out positives
    events: np.ndarray  # positions of all held-out events
    moment: int  # position whose time and context are the request's


def _rows(history: UserHistory, ordered: bool) -> list[_Row]:
    held_out = np.flatnonzero(history.target)
    if not ordered:
        past = np.flatnonzero(~history.target)
        sets = _by_text(history, held_out)
        return [_Row(history, past, one[history.positive[one]], one, int(one[0])) for one in sets]
    rows = []
    for position in held_out:
        targets = np.array([position] if history.positive[position] else [], np.int64)
        rows.append(_Row(history, np.arange(position), targets, np.array([position]), int(position)))
    return rows


def _by_text(history: UserHistory, held_out: np.ndarray) -> list[np.ndarray]:
    """Held-out events without an order: one set for each text query, one for those without."""
    if history.queries is None or not len(held_out):
        return [held_out] if len(held_out) else []
    typed = history.queries[held_out]
    return [held_out[typed == text] for text in dict.fromkeys(typed.tolist())]


def make_requests(
    histories: Sequence[UserHistory], schema: Schema, *, limit: int | None = None, seed: int = 0
) -> Requests:
    """One request for each held-out event, with the history up to it and what the user had typed; one for each user (and
    text) where events have no order.

    Args:
      limit: at most so many requests, drawn at random under `seed`; None: all.
    """
    rows = [row for history in histories for row in _rows(history, schema.ordered)]
    if limit is not None and len(rows) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False))
        rows = [rows[index] for index in chosen]
    contexts = [row.name for row in schema.context if row.source == "column"]
    empty = np.zeros([0], np.int64)
    return Requests(
        queries=Queries(
            user_ids=np.array([row.history.user_id for row in rows], np.str_),
            times=np.array([row.history.times[row.moment] for row in rows], np.int64),
            histories=[row.history.items[row.past] for row in rows],
            targets=[row.history.items[row.targets] for row in rows],
            rows=np.arange(len(rows)),
        ),
        values=[row.history.values[row.past] for row in rows],
        event_times=[row.history.times[row.past] for row in rows],
        labels=[row.history.labels[row.past] for row in rows],
        context={name: np.array([row.history.context[name][row.moment] for row in rows]) for name in contexts},
        users=np.array([row.history.user for row in rows], object),
        pair_rows=np.concatenate([np.full(len(row.events), index) for index, row in enumerate(rows)] or [empty]),
        pair_items=np.concatenate([row.history.items[row.events] for row in rows] or [empty.astype(np.int32)]),
        pair_labels=np.concatenate(
            [row.history.labels[row.events] for row in rows] or [np.zeros([0, len(schema.labels)], np.float32)]
        ),
        texts=np.array([_text(row) for row in rows], np.str_) if schema.has_queries else None,
    )


def _text(row: _Row) -> str:
    return "" if row.history.queries is None else row.history.queries[row.moment].decode()


def with_targets(queries: Queries) -> Queries:
    """Those that have something to find: an event that is no positive is history and a label, not a target."""
    return queries.take(np.array([len(targets) > 0 for targets in queries.targets], bool))
