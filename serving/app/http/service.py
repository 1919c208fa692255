"""FastAPI application of the app: middleware, error handlers and routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from serving.app.http.errors import add_handlers
from serving.app.http.middleware import add_guards
from serving.app.http.routes.items import add_item_routes
from serving.app.http.routes.lists import add_list_routes
from serving.app.http.routes.site import add_site_routes
from serving.app.http.routes.users import add_user_routes
from serving.app.schemas import ErrorOut
from serving.app.state import AppComponents, AppOptions, AppState


def create_app(components: AppComponents, options: AppOptions) -> FastAPI:
    """Create the application.

    Args:
      components: what it is assembled from; the lifespan of the application opens the client and closes everything.
      options: limits, hosts and tokens.
    """
    state = AppState(components, options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with state.running():
            yield

    errors: dict[int | str, dict[str, Any]] = {code: {"model": ErrorOut} for code in (401, 404, 413, 422, 429, 503)}
    app = FastAPI(
        title=f"Triptych: {components.name}", lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors
    )
    app.openapi_version = "3.0.3"  # the newest version that the bundled Swagger page can show
    app.state.triptych = state
    add_handlers(app, state.metrics)
    add_guards(app, options, state.metrics)
    add_list_routes(app, state)
    add_user_routes(app, state)
    add_item_routes(app, state)
    add_site_routes(app, state)
    return app
