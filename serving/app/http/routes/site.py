"""Routes of the site: /about, health checks, metrics, API documentation and the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from serving.app.schemas import AboutOut, ReadyOut
from serving.app.state import AppState
from serving.app.views import about_answer

PAGE_FOLDER = Path(__file__).parents[2] / "page"


def add_site_routes(app: FastAPI, state: AppState) -> None:
    """Add the routes to the application."""

    @app.get("/about")
    async def about() -> AboutOut:
        """Return the data of the page's controls."""
        write_token = state.options.write_tokens is not None
        return about_answer(state.engine.catalogue, state.components.settings, write_token)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process runs."""
        return {"status": "live"}

    @app.get("/health/ready", responses={503: {"model": ReadyOut}})
    async def ready(response: Response) -> ReadyOut:
        """Check that the model server and the store answer."""
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
    if PAGE_FOLDER.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE_FOLDER))

        @app.get("/", include_in_schema=False)
        async def page() -> FileResponse:
            return FileResponse(PAGE_FOLDER / "index.html", headers={"cache-control": "no-cache"})
