"""Routes of ranked lists: /recommend, /search, /similar and /picker."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.exceptions import HTTPException

from serving.app.http.routes.parameters import Ids, ListLength, Texts, User, require_token
from serving.app.intake import check_length
from serving.app.ranking.requests import ListRequest
from serving.app.schemas import Id, ListOut, PickerOut, SimilarOut, Text
from serving.app.state import AppState

_CONTEXT_PREFIX = "context."


def add_list_routes(app: FastAPI, state: AppState) -> None:
    """Add the routes to the application."""
    reads = [require_token(state.options.read_tokens)]
    store, max_k = state.components.store, state.components.settings.max_k

    @app.get("/recommend", dependencies=reads)
    async def recommend(
        request: Request,
        *,
        user: User = "",
        k: ListLength = 10,
        turn: Texts,
        drop: Texts,
        category: Texts,
        media: Texts,
        without: Ids,
        diversity: Annotated[float, Query(ge=0, le=1)] = 0.0,
        hide_seen: bool = True,
        rating_words: bool = False,
    ) -> ListOut:
        """Recommend items to a user. Context columns of the data set are sent as `context.NAME=VALUE`."""
        list_request = ListRequest(
            k=check_length(k, max_k),
            turns=tuple(turn),
            dropped=tuple(drop),
            categories=tuple(category),
            media=tuple(media),
            without=tuple(without),
            diversity=diversity,
            hide_seen=hide_seen,
            rating_words=rating_words,
            context={
                name.removeprefix(_CONTEXT_PREFIX): value
                for name, value in request.query_params.items()
                if name.startswith(_CONTEXT_PREFIX)
            },
        )
        events = await store.read(user) if user else []
        return state.record_impression(await state.engine.recommend(list_request, events))

    @app.get("/search", dependencies=reads)
    async def search(
        *,
        turn: Annotated[list[Text], Query(min_length=1, max_length=16)],
        k: ListLength = 10,
        drop: Texts,
        category: Texts,
        media: Texts,
    ) -> ListOut:
        """Search items by a text query, independently of the user."""
        list_request = ListRequest(
            k=check_length(k, max_k),
            turns=tuple(turn),
            dropped=tuple(drop),
            categories=tuple(category),
            media=tuple(media),
            search=True,
        )
        return state.record_impression(await state.engine.recommend(list_request, []))

    @app.get("/similar", dependencies=reads)
    async def similar(item: Id, k: ListLength = 10) -> SimilarOut:
        """Return the items most similar to an item."""
        if item not in state.engine.catalogue.position:
            raise HTTPException(404, "no such item")
        return await state.engine.similar(item, check_length(k, max_k))

    @app.get("/picker", dependencies=reads)
    async def picker(user: User = "", k: ListLength = 12) -> PickerOut:
        """Return items to ask a new user about."""
        events = await store.read(user) if user else []
        return state.engine.pick(events, check_length(k, max_k))
