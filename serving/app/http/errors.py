"""Errors as JSON answers: one line each, without the content of the request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from serving.app.http.metrics import AppMetrics
from serving.app.intake import UnprocessableRequest
from serving.app.store.base import StoreError
from serving.wire.errors import InvalidRequestError, NotFoundError, ServingError

TOKEN_NEEDED = "a token is needed: send the header authorization: Bearer <token>"


def error_response(status: int, text: str, problems: Sequence[tuple[str, str]] = (), **headers: str) -> JSONResponse:
    """Build the JSON answer of an error; underscores in header names become hyphens."""
    content = {"error": text, "problems": [{"where": where, "what": what} for where, what in problems]}
    return JSONResponse(content, status, {name.replace("_", "-"): value for name, value in headers.items()})


def add_handlers(app: FastAPI, metrics: AppMetrics) -> None:
    """Register handlers that turn every error of a route into an `ErrorOut`."""

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        # The input is left out: it may be long, or a secret in the wrong field.
        problems = [
            (".".join(str(part) for part in detail["loc"][1:]) or "body", _message(detail)) for detail in error.errors()
        ]
        return error_response(422, f"{problems[0][0]}: {problems[0][1]}", problems[:20])

    @app.exception_handler(UnprocessableRequest)
    async def unprocessable(request: Request, error: UnprocessableRequest) -> JSONResponse:
        where, what = error.problems[0]
        return error_response(422, f"{where}: {what}", error.problems[:20])

    @app.exception_handler(StoreError)
    async def store_unavailable(request: Request, error: StoreError) -> JSONResponse:
        metrics.unavailable.labels("store").inc()
        return error_response(503, str(error), retry_after="1")

    @app.exception_handler(InvalidRequestError)
    async def invalid_request(request: Request, error: InvalidRequestError) -> JSONResponse:
        return error_response(422, str(error), [("request", str(error))])

    @app.exception_handler(ServingError)
    async def model_unavailable(request: Request, error: ServingError) -> JSONResponse:
        metrics.unavailable.labels("model").inc()
        return error_response(503, f"model server: {error}", retry_after="1")

    @app.exception_handler(NotFoundError)
    async def model_not_found(request: Request, error: NotFoundError) -> JSONResponse:
        return await model_unavailable(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's own answer to a body that cannot be parsed
            return error_response(422, "body: cannot be read as JSON", [("body", "cannot be read as JSON")])
        return JSONResponse({"error": str(error.detail), "problems": []}, error.status_code, error.headers)


def _message(detail: Any) -> str:
    return str(detail["msg"]).removeprefix("Value error, ")
