"""ASGI middleware of everything that the app serves: security headers, limits of body size and request rate."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.app.http.metrics import AppMetrics, RequestMetrics
from serving.app.rate import RateLimiter
from serving.app.state import AppOptions

_POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'"
# Swagger's page has an inline script and draws its icons from data URLs.
_DOCS_POLICY = "; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
_UNLIMITED = ("/health/live", "/health/ready", "/metrics")  # probes must not fail because of other clients


class SecurityHeaders:
    """Adds security headers to every answer; without `Access-Control-Allow-Origin`, other origins can read nothing.

    Args:
      app: the application.
      frames: origins whose pages may show the app's in a frame.
    """

    def __init__(self, app: ASGIApp, frames: Sequence[str]) -> None:
        self._app = app
        ancestors = " ".join(frames) or "'none'"
        self._policy = f"{_POLICY}; frame-ancestors {ancestors}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = self._policy + (_DOCS_POLICY if scope["path"] == "/docs" else "")
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cross-origin-resource-policy"] = "same-origin"
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class BodyTooLarge(Exception):  # noqa: N818  (control flow: it ends the reading of a body)
    """The body has more bytes than allowed."""


class BodyLimit:
    """Answers 413 to a body of more than `max_bytes` bytes, whatever its `content-length` says."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        content_length = dict(scope["headers"]).get(b"content-length", b"0")
        if content_length.isdigit() and int(content_length) > self._max_bytes:
            await self._reject(scope, receive, send)
            return
        count, response_started = 0, False

        async def receive_counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._max_bytes:
                raise BodyTooLarge
            return message

        async def send_unless_too_large(message: Message) -> None:
            nonlocal response_started
            if count <= self._max_bytes or response_started:  # else it is an error about the interrupted body
                response_started = True
                await send(message)

        with contextlib.suppress(BodyTooLarge):
            await self._app(scope, receive_counted, send_unless_too_large)
        if count > self._max_bytes and not response_started:
            await self._reject(scope, receive, send)

    async def _reject(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the body has more than {self._max_bytes:,} bytes (app.max_body_bytes); send less at a time"
        await JSONResponse({"error": text, "problems": []}, 413, {"connection": "close"})(scope, receive, send)


class RateLimit:
    """Answers 429 with `Retry-After` to an address that exceeds `rate`, such as "100/second"."""

    def __init__(self, app: ASGIApp, rate: str) -> None:
        self._app, self._limiter = app, RateLimiter(rate, "app.rate")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        seconds = self._limiter.hit(address)
        if not seconds:
            await self._app(scope, receive, send)
            return
        text = f"more than {self._limiter.rate} requests from {address} (app.rate); try again in {seconds} s"
        await JSONResponse({"error": text, "problems": []}, 429, {"retry-after": str(seconds)})(scope, receive, send)


def add_guards(app: Starlette, options: AppOptions, metrics: AppMetrics) -> None:
    """Add what every request passes: metrics, security headers, known hosts, limits of rate and size."""
    # The middleware that is added last sees a request first.
    app.add_middleware(BodyLimit, max_bytes=options.max_body_bytes)
    app.add_middleware(RateLimit, rate=options.rate)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(options.hosts))
    app.add_middleware(SecurityHeaders, frames=options.frames)
    app.add_middleware(RequestMetrics, metrics=metrics)
