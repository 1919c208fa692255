"""Routes of users: events, profiles and their deletion."""

from __future__ import annotations

from fastapi import FastAPI

from serving.app.http.routes.parameters import require_token
from serving.app.intake import forget_user, store_events
from serving.app.schemas import DeletedOut, EventsIn, EventsOut, Id, ProfileOut
from serving.app.state import AppState
from serving.app.views import profile_answer


def add_user_routes(app: FastAPI, state: AppState) -> None:
    """Add the routes to the application."""
    reads, writes = [require_token(state.options.read_tokens)], [require_token(state.options.write_tokens)]

    @app.post("/events", status_code=201, dependencies=writes)
    async def events(body: EventsIn) -> EventsOut:
        """Store events. They are on disk when this answers, and the next list takes them into account."""
        return await store_events(state, body.user, body.events)

    @app.get("/users/{user:path}", dependencies=reads)
    async def profile(user: Id) -> ProfileOut:
        """Return the profile of a user."""
        stored = await state.components.store.read(user)
        return profile_answer(user, stored, state.engine.catalogue, state.components.settings)

    @app.delete("/users/{user:path}", dependencies=writes)
    async def forget(user: Id) -> DeletedOut:
        """Delete all data of a user from the store and from every log file."""
        return await forget_user(state, user)
