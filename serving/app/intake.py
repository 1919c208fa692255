"""What a request asks of users and lists, checked against catalogue and limits before anything is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from serving.app.schemas import DeletedOut, EventIn, EventsOut
from serving.app.state import AppState
from serving.app.store.base import Event

_CLOCK_TOLERANCE = 300.0  # seconds that a client's clock may be ahead
_DELETION_NOTE = (
    "The store and the log files of this app contain nothing about this user any more. Records and models that were "
    "built from the log before are not changed; build them again without it."
)


class UnprocessableRequest(Exception):  # noqa: N818  (an answer, not a fault)
    """A well-formed request that is invalid for this catalogue: (field, problem) pairs."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


def check_length(k: int, max_k: int, option: str = "app.max_k") -> int:
    """Return k. Raises UnprocessableRequest if it is larger than `max_k`, which `option` sets."""
    if k > max_k:
        raise UnprocessableRequest([("k", f"at most {max_k} ({option})")])
    return k


async def store_events(state: AppState, user: str, events: Sequence[EventIn]) -> EventsOut:
    """Store events of a user. They are on disk when this returns, and the next list takes them into account.

    Raises:
      UnprocessableRequest: an event does not fit the catalogue; none is stored.
      StoreError: the store does not answer, or the log cannot be written.
    """
    now = time.time()
    if problems := _problems(events, state, now):
        raise UnprocessableRequest(problems)
    # Events without a time keep their order through microseconds.
    stored = [_to_event(event, now + index / 1e6) for index, event in enumerate(events)]
    await state.event_writer.put(user, stored)
    for event in stored:
        state.metrics.events.labels(event.kind).inc()
    return EventsOut(stored=len(stored), ids=[event.id for event in stored])


async def forget_user(state: AppState, user: str) -> DeletedOut:
    """Delete all data of a user from the store and from every log file. Raises StoreError."""
    stored, logged = await state.event_writer.forget(user)
    return DeletedOut(user=user, store=stored, log=logged, note=_DELETION_NOTE)


def _problems(events: Sequence[EventIn], state: AppState, now: float) -> list[tuple[str, str]]:
    """Check events against the catalogue; return (field, problem) pairs."""
    catalogue, scale = state.engine.catalogue, state.components.settings.scale
    problems = []
    for index, event in enumerate(events):
        if event.item is not None and event.item not in catalogue.position:
            problems.append((f"events.{index}.item", "the catalogue has no such item"))
        if event.time is not None and event.time > now + _CLOCK_TOLERANCE:
            problems.append((f"events.{index}.time", "is in the future"))
        if event.value is not None and not scale.in_range(event.value):
            problems.append((f"events.{index}.value", f"is not between {scale.low:g} and {scale.high:g}"))
    return problems


def _to_event(event: EventIn, now: float) -> Event:
    return Event(
        id=event.id or uuid.uuid4().hex,
        kind=event.kind,
        time=now if event.time is None else event.time,
        item=event.item or "",
        value=event.value,
        text=event.text or "",
        scope=event.scope,
        list_id=event.list_id or "",
        context=dict(event.context),
    )
