"""Errors as answers: one line each, and never what somebody else sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from serving.app.http.metrics import Metrics
from serving.app.store.base import StoreError
from serving.wire.errors import InvalidRequestError, NotFoundError, ServingError


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """A request that is well formed and still makes no sense here: 422 with (where, what)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


def answer(status: int, text: str, problems: Sequence[tuple[str, str]] = (), **headers: str) -> JSONResponse:
    content = {"error": text, "problems": [{"where": where, "what": what} for where, what in problems]}
    return JSONResponse(content, status, {name.replace("_", "-"): value for name, value in headers.items()})


def add_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Every error of a route as an answer of API.md."""

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input: it may be anything, a whole book or another user's secret in the wrong field.
        problems = [(".".join(str(part) for part in one["loc"][1:]) or "body", _said(one)) for one in error.errors()]
        return answer(422, f"{problems[0][0]}: {problems[0][1]}", problems[:20])

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        where, what = error.problems[0]
        return answer(422, f"{where}: {what}", error.problems[:20])

    @app.exception_handler(StoreError)
    async def store_away(request: Request, error: StoreError) -> JSONResponse:
        metrics.away.labels("store").inc()
        return answer(503, str(error), retry_after="1")

    @app.exception_handler(InvalidRequestError)
    async def invalid(request: Request, error: InvalidRequestError) -> JSONResponse:
        return answer(422, str(error), [("request", str(error))])

    @app.exception_handler(ServingError)
    async def model_away(request: Request, error: ServingError) -> JSONResponse:
        metrics.away.labels("model").inc()
        return answer(503, f"model server: {error}", retry_after="1")

    @app.exception_handler(NotFoundError)
    async def model_not_found(request: Request, error: NotFoundError) -> JSONResponse:
        return await model_away(request, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's own, of a body that no parser gets through
            return answer(422, "body: cannot be read as JSON", [("body", "cannot be read as JSON")])
        return JSONResponse({"error": str(error.detail), "problems": []}, error.status_code, error.headers)


def _said(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
