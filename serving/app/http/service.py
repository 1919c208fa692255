"""The addresses of the app. Thin: what an address answers is made in the modules that it names."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from serving.app.http import media, views
from serving.app.http.headers import Headers
from serving.app.http.limits import BodyLimit, RateLimit
from serving.app.http.metrics import Measured
from serving.app.http.problems import Refused, add_handlers
from serving.app.models import (
    AboutOut,
    Card,
    DeletedOut,
    ErrorOut,
    EventIn,
    EventsIn,
    EventsOut,
    Id,
    ListOut,
    PickerOut,
    ProfileOut,
    ReadyOut,
    SimilarOut,
    Words,
)
from serving.app.ranking.asks import Ask
from serving.app.state import Options, Parts, State
from serving.app.store.events import Event
from serving.wire.tokens import Tokens

PAGE = Path(__file__).parents[1] / "page"
_AHEAD = 300.0  # seconds that a client's clock may be fast
_NOTE = (
    "The store and the log files of this app hold nothing of this user any more. Records and models that were built "
    "from the log before are not touched; build them again without it."
)

_K = Annotated[int, Query(ge=1)]
_Several = Annotated[list[Words], Query(max_length=16, default_factory=list)]
_Ids = Annotated[list[Id], Query(max_length=500, default_factory=list)]


def create_app(parts: Parts, options: Options) -> FastAPI:
    """The application.

    Args:
      parts: what it stands on; the client is made, and all of it closed, by the application's own lifespan.
      options: limits, hosts, tokens.
    """
    state = State(parts, options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await state.start()
        yield
        await state.stop()

    errors: dict[int | str, dict[str, Any]] = {code: {"model": ErrorOut} for code in (401, 404, 413, 422, 429, 503)}
    app = FastAPI(title=f"Triptych: {parts.name}", lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors)
    app.openapi_version = "3.0.3"  # the newest that the bundled page draws
    app.state.triptych = state
    add_handlers(app, state.metrics)
    _guard(app, state)
    _lists(app, state)
    _users(app, state)
    _items(app, state)
    _house(app, state)
    return app


def _guard(app: FastAPI, state: State) -> None:
    """From the inside out: the last one added is the first to see a request."""
    options = state.options
    app.add_middleware(BodyLimit, most=options.max_body_bytes)
    app.add_middleware(RateLimit, rate=options.rate)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(options.hosts))
    app.add_middleware(Headers)
    app.add_middleware(Measured, metrics=state.metrics)


def _bearer(tokens: Tokens | None):  # type: ignore[no-untyped-def]  # a dependency
    def check(request: Request) -> None:
        if tokens is not None and not tokens.allow(request.headers.get("authorization", "")):
            text = "a token is needed: send the header authorization: Bearer <token>"
            raise HTTPException(401, text, {"WWW-Authenticate": "Bearer"})

    return Depends(check)


def _lists(app: FastAPI, state: State) -> None:
    reads = [_bearer(state.options.read_tokens)]

    def checked(k: int) -> int:
        if k > state.parts.settings.max_k:
            raise Refused([("k", f"at most {state.parts.settings.max_k} (app.max_k)")])
        return k

    @app.get("/recommend", dependencies=reads)
    async def recommend(
        request: Request,
        *,
        user: Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
        k: _K = 10,
        turn: _Several,
        drop: _Several,
        category: _Several,
        media: _Several,
        without: _Ids,
        diversity: Annotated[float, Query(ge=0, le=1)] = 0.0,
        hide_seen: bool = True,
        rating_words: bool = False,
    ) -> ListOut:
        """The best items for a user now. Context of the data set's own: `context.NAME=VALUE`."""
        prefix = "context."
        context = {key[len(prefix) :]: value for key, value in request.query_params.items() if key.startswith(prefix)}
        ask = Ask(
            user=user,
            k=checked(k),
            turns=tuple(turn),
            dropped=tuple(drop),
            categories=tuple(category),
            media=tuple(media),
            without=tuple(without),
            diversity=diversity,
            hide_seen=hide_seen,
            rating_words=rating_words,
            context=context,
            search=False,
        )
        events = await state.parts.store.read(user) if user else []
        return state.shown(await state.engine.listing(ask, events))

    @app.get("/search", dependencies=reads)
    async def search(
        *,
        turn: Annotated[list[Words], Query(min_length=1, max_length=16)],
        k: _K = 10,
        drop: _Several,
        category: _Several,
        media: _Several,
    ) -> ListOut:
        """The items that words ask for, whoever asks."""
        ask = Ask(
            user="",
            k=checked(k),
            turns=tuple(turn),
            dropped=tuple(drop),
            categories=tuple(category),
            media=tuple(media),
            without=(),
            diversity=0.0,
            hide_seen=True,
            rating_words=False,
            context={},
            search=True,
        )
        return state.shown(await state.engine.listing(ask, []))

    @app.get("/similar", dependencies=reads)
    async def similar(item: Id, k: _K = 10) -> SimilarOut:
        """Items like an item."""
        if item not in state.engine.catalogue.position:
            raise HTTPException(404, "no such item")
        return await state.engine.similar(item, checked(k))

    @app.get("/picker", dependencies=reads)
    async def picker(
        user: Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = "", k: _K = 12
    ) -> PickerOut:
        """Items to ask a newcomer about."""
        events = await state.parts.store.read(user) if user else []
        return state.engine.picker(events, checked(k))


def _users(app: FastAPI, state: State) -> None:
    reads, writes = [_bearer(state.options.read_tokens)], [_bearer(state.options.write_tokens)]

    @app.post("/events", status_code=201, dependencies=writes)
    async def events(body: EventsIn) -> EventsOut:
        """Keeps events; answers once they are on disk, and part of the next answer."""
        now = time.time()
        catalogue, scale = state.engine.catalogue, state.parts.settings.scale
        problems = []
        for place, event in enumerate(body.events):
            where = f"events.{place}"
            if event.item is not None and event.item not in catalogue.position:
                problems.append((f"{where}.item", "the catalogue has no such item"))
            if event.time is not None and event.time > now + _AHEAD:
                problems.append((f"{where}.time", "is in the future"))
            if event.value is not None and not scale.holds(event.value):
                problems.append((f"{where}.value", f"is not between {scale.low:g} and {scale.high:g}"))
        if problems:
            raise Refused(problems)
        kept = [_event(event, now + place / 1e6) for place, event in enumerate(body.events)]
        await state.intake.put(body.user, kept)
        for one in kept:
            state.metrics.events.labels(one.kind).inc()
        return EventsOut(stored=len(kept), ids=[one.id for one in kept])

    @app.get("/users/{user:path}", dependencies=reads)
    async def profile(user: Id) -> ProfileOut:
        """What is known of a user."""
        kept = await state.parts.store.read(user)
        return views.profile_of(user, kept, state.engine.catalogue, state.parts.settings)

    @app.delete("/users/{user:path}", dependencies=writes)
    async def forget(user: Id) -> DeletedOut:
        """Removes everything that is known of a user, from the store and from every file of the log."""
        stored, logged = await state.intake.forget(user)
        return DeletedOut(user=user, store=stored, log=logged, note=_NOTE)


def _items(app: FastAPI, state: State) -> None:
    reads = [_bearer(state.options.read_tokens)]

    @app.get("/items/{item:path}/media/{feature}")
    async def medium(item: Id, feature: str) -> FileResponse:
        """A picture or a sound; `Range` works."""
        catalogue = state.engine.catalogue
        relative = catalogue.row(item).media.get(feature) if feature in catalogue.media else None
        found = None if relative is None else media.locate(catalogue.root, relative)
        if found is None:
            raise HTTPException(404, "no such item, or it has no such medium")
        return FileResponse(found[0], media_type=found[1], headers={"cache-control": "max-age=3600"})

    @app.get("/items/{item:path}", dependencies=reads)
    async def card(item: Id) -> Card:
        """An item for people."""
        if item not in state.engine.catalogue.position:
            raise HTTPException(404, "no such item")
        return state.engine.catalogue.cards([item])[0]


def _house(app: FastAPI, state: State) -> None:
    @app.get("/about")
    async def about() -> AboutOut:
        """What a page needs to draw its controls."""
        return views.about(state.engine.catalogue, state.parts.settings, state.options.write_tokens is not None)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @app.get("/health/ready", responses={503: {"model": ReadyOut}})
    async def ready(response: Response) -> ReadyOut:
        """Model server and store answer."""
        result = await state.ready()
        response.status_code = 200 if result.ready else 503
        return result

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon-32x32.png",
        )

    app.mount("/docs/static", StaticFiles(directory=swagger_ui_path))
    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE))

        @app.get("/", include_in_schema=False)
        async def page() -> FileResponse:
            return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})


def _event(event: EventIn, now: float) -> Event:
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
