"""Routes of users: events, profiles and their deletion."""

from __future__ import annotations

import time
import uuid

from fastapi import FastAPI

from serving.app.http.errors import UnprocessableRequest
from serving.app.http.routes.parameters import require_token
from serving.app.http.views import profile_answer
from serving.app.schemas import DeletedOut, EventIn, EventsIn, EventsOut, Id, ProfileOut
from serving.app.state import AppState
from serving.app.store.base import Event

_CLOCK_TOLERANCE = 300.0  # seconds that a client's clock may be ahead
_DELETION_NOTE = (
    "The store and the log files of this app contain nothing about this user any more. Records and models that were "
    "built from the log before are not changed; build them again without it."
)


def add_user_routes(app: FastAPI, state: AppState) -> None:
    """Add the routes to the application."""
    reads, writes = [require_token(state.options.read_tokens)], [require_token(state.options.write_tokens)]

    @app.post("/events", status_code=201, dependencies=writes)
    async def events(body: EventsIn) -> EventsOut:
        """Store events. They are on disk when this answers, and the next list takes them into account."""
        now = time.time()
        if problems := _problems(body, state, now):
            raise UnprocessableRequest(problems)
        # Events without a time keep their order through microseconds.
        stored = [_to_event(event, now + index / 1e6) for index, event in enumerate(body.events)]
        await state.event_writer.put(body.user, stored)
        for event in stored:
            state.metrics.events.labels(event.kind).inc()
        return EventsOut(stored=len(stored), ids=[event.id for event in stored])

    @app.get("/users/{user:path}", dependencies=reads)
    async def profile(user: Id) -> ProfileOut:
        """Return the profile of a user."""
        stored = await state.components.store.read(user)
        return profile_answer(user, stored, state.engine.catalogue, state.components.settings)

    @app.delete("/users/{user:path}", dependencies=writes)
    async def forget(user: Id) -> DeletedOut:
        """Delete all data of a user from the store and from every log file."""
        stored, logged = await state.event_writer.forget(user)
        return DeletedOut(user=user, store=stored, log=logged, note=_DELETION_NOTE)


def _problems(body: EventsIn, state: AppState, now: float) -> list[tuple[str, str]]:
    """Check events against the catalogue; return (field, problem) pairs."""
    catalogue, scale = state.engine.catalogue, state.components.settings.scale
    problems = []
    for index, event in enumerate(body.events):
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
