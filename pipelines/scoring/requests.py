"""Held-out requests, and the part of them that every scorer understands.

It imports neither TensorFlow nor anything of the product, so that peers can be measured in an environment of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from tfrecs.reading.reader import UserHistory
    from tfrecs.schema import Schema

__all__ = ["BlockScorer", "Choose", "Queries", "Requests", "Scorer", "first_requests", "item_blocks", "make_requests"]
__all__ += ["with_targets"]


@dataclass(frozen=True)
class Queries:
    """Q requests, each with the past it may use and the items that count as hits.

    Items are positions in the catalogue, 0 to N - 1.

    Attributes:
      user_ids: str [Q].
      times: int64 [Q], unix seconds, the moment of the request; 0 where unknown.
      histories: Q arrays int32, oldest event first: everything the user did before the request. These items are never
        recommended again, so a target that is in its own history cannot be hit.
      targets: Q arrays int32: one item where events have an order, the user's held-out set where they have none.
      rows: int64 [Q], the position of each query in the `Requests` it was taken from, where a scorer finds what it
        needs besides.
    """

    user_ids: NDArray[np.str_]
    times: NDArray[np.int64]
    histories: list[NDArray[np.int32]]
    targets: list[NDArray[np.int32]]
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        sizes = {len(self.user_ids), len(self.times), len(self.histories), len(self.targets), len(self.rows)}
        if len(sizes) != 1:
            raise ValueError(f"user_ids, times, histories, targets and rows differ in length: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, indices: ArrayLike) -> Queries:
        """Return the queries at these positions (int) or under this mask (bool [Q]), in the order given."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return Queries(
            user_ids=self.user_ids[chosen],
            times=self.times[chosen],
            histories=[self.histories[index] for index in chosen],
            targets=[self.targets[index] for index in chosen],
            rows=self.rows[chosen],
        )

    def slice(self, start: int, stop: int) -> Queries:
        """Return the queries start to stop - 1 without copying their arrays."""
        part = slice(start, stop)
        return Queries(self.user_ids[part], self.times[part], self.histories[part], self.targets[part], self.rows[part])


Scorer = Callable[[Queries], NDArray[np.float32]]
"""Scores the whole catalogue for each query: q queries -> float32 [q, N], higher is better, -inf is never recommended.

It is called on slices, so that no Q x N matrix ever exists. The scores of a query must not depend on its slice.
"""


@runtime_checkable
class BlockScorer(Protocol):
    """A scorer that need not score the whole catalogue at once."""

    def __call__(self, queries: Queries) -> NDArray[np.float32]:
        """Scores float32 [q, N], as those of a `Scorer`."""

    def blocks(self, queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
        """The same scores, `size` items after the other, float32 [q, size]; the last block may be smaller."""


def item_blocks(scorer: Scorer, queries: Queries, size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the scores of all items, at most `size` at a time where the scorer can, else all at once."""
    if isinstance(scorer, BlockScorer):
        yield from scorer.blocks(queries, size)
    else:
        yield scorer(queries)


@dataclass(frozen=True)
class Requests:
    """Q held-out requests with everything a model may know.

    Attributes:
      queries: users, moments, histories and targets.
      values: Q arrays float32, event values of the histories.
      event_times: Q arrays int64, times of the histories.
      labels: Q arrays float32 [events, labels] of the histories, NaN = unknown.
      context: context column -> [Q] (bytes or float32) at the moment of the request.
      users: serialized Examples [Q] with the users' features.
      texts: str [Q], the text queries, "" = none; None where the data set has no text queries.
      pair_rows: int64 [E], the request of each held-out event, positive or not; with `pair_items` and `pair_labels`
        it is what the ranking head is measured on.
      pair_items: int32 [E], the event's item.
      pair_labels: float32 [E, labels], NaN = unknown.
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

    def take(self, rows: NDArray[np.int64]) -> Requests:
        """Return the requests at these positions, in the order given, with their own events and no others."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        pairs = np.flatnonzero(place[self.pair_rows] >= 0)
        return Requests(
            queries=replace(self.queries.take(rows), rows=np.arange(len(rows))),
            values=[self.values[row] for row in rows],
            event_times=[self.event_times[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            context={name: values[rows] for name, values in self.context.items()},
            users=self.users[rows],
            pair_rows=place[self.pair_rows[pairs]],
            pair_items=self.pair_items[pairs],
            pair_labels=self.pair_labels[pairs],
            texts=None if self.texts is None else self.texts[rows],
        )

    def without_texts(self) -> Requests:
        """Return the same requests without their text queries."""
        return replace(self, texts=None)


Choose = Callable[[NDArray[np.str_], Sequence[NDArray[np.int32]]], NDArray[np.int64]]
"""(user str [R], items of the held-out positives of each) of all possible requests -> positions of those to make."""


@dataclass(frozen=True)
class _Row:
    history: UserHistory
    past: np.ndarray | slice  # positions of the events before the request
    targets: np.ndarray  # positions of the held-out positives
    events: np.ndarray  # positions of all held-out events
    moment: int  # the position whose time, context and text are the request's

    @property
    def text(self) -> str:
        return "" if self.history.queries is None else self.history.queries[self.moment].decode()


def _row(history: UserHistory, events: np.ndarray, ordered: bool) -> _Row:
    """The request of some held-out events: one where events have an order, a set where they have none."""
    # A slice shares the memory of the history; a copy for each event would take the square of its length.
    past = slice(0, int(events[0])) if ordered else np.flatnonzero(~history.target)
    return _Row(history, past, events[history.positive[events]], events, int(events[0]))


def _held_out(history: UserHistory, ordered: bool) -> list[np.ndarray]:
    """The positions of the held-out events of each possible request."""
    held_out = np.flatnonzero(history.target)
    return list(held_out[:, None]) if ordered else _split_by_text(history, held_out)


def first_requests(histories: Iterable[UserHistory], schema: Schema, num_items: int) -> NDArray[np.int64]:
    """Find the time of the first request with each item among its held-out events.

    Returns:
      int64 [N], the largest int64 where there is none.
    """
    first = np.full(num_items, np.iinfo(np.int64).max)
    for history in histories:
        for events in _held_out(history, schema.ordered):
            np.minimum.at(first, history.items[events], history.times[events[0]])
    return first


def _split_by_text(history: UserHistory, held_out: np.ndarray) -> list[np.ndarray]:
    """Split held-out events without an order into one set for each text query and one for those without."""
    if history.queries is None or not len(held_out):
        return [held_out] if len(held_out) else []
    texts = history.queries[held_out]
    return [held_out[texts == text] for text in dict.fromkeys(texts.tolist())]


def make_requests(
    histories: Iterable[UserHistory],
    schema: Schema,
    *,
    limit: int | None = None,
    seed: int = 0,
    choose: Choose | None = None,
) -> Requests:
    """Make a request of each held-out event, with the history before it; of each user (and text) without an order.

    Args:
      histories: one for each user; iterated over twice where there is a choice or a limit, so that only those that are
        chosen are held in memory.
      schema: says whether events have an order, and which context columns there are.
      limit: at most so many requests, drawn at random under `seed`; None: all.
      seed: of the draw.
      choose: chooses the requests, in place of `limit`; called once.
    """
    chosen: NDArray[np.int64] | None = None
    if choose is not None:
        users: list[str] = []
        positives: list[NDArray[np.int32]] = []
        for history in histories:
            for events in _held_out(history, schema.ordered):
                users.append(history.user_id)
                positives.append(history.items[events[history.positive[events]]])
        chosen = choose(np.array(users, np.str_), positives)
        del users, positives
    elif limit is not None:
        count = sum(len(_held_out(history, schema.ordered)) for history in histories)
        if count > limit:
            chosen = np.random.default_rng(seed).choice(count, limit, replace=False)
    wanted = None if chosen is None else set(chosen.tolist())
    rows, number = [], 0
    for history in histories:
        for events in _held_out(history, schema.ordered):
            if wanted is None or number in wanted:
                rows.append(_row(history, events, schema.ordered))
            number += 1
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
        texts=np.array([row.text for row in rows], np.str_) if schema.has_queries else None,
    )


def with_targets(queries: Queries) -> Queries:
    """Return the queries that have a target; a held-out event that is no positive is history and a label only."""
    return queries.take(np.array([len(targets) > 0 for targets in queries.targets], bool))
