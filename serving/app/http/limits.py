"""What a client may ask of the app: bytes of a body, requests a second. Plain ASGI, before any body is read."""

from __future__ import annotations

import contextlib
import math
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.wire.errors import StartError

_OPEN = ("/health/live", "/health/ready", "/metrics")  # probes must not fail for what others ask


class TooLarge(Exception):  # noqa: N818  (no error of ours: it ends the reading of a body)
    """The body has more bytes than allowed."""


class BodyLimit:
    """413 for a body of more than `most` bytes, whatever its `content-length` says."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._most:
            await self._refuse(scope, receive, send)
            return
        count, begun = 0, False

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                raise TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            if count <= self._most or begun:  # else it is what the reader makes of the body that broke off
                begun = True
                await send(message)

        with contextlib.suppress(TooLarge):
            await self._app(scope, counted, noted)
        if count > self._most and not begun:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the body has more than {self._most:,} bytes (app.max_body_bytes); send less at a time"
        await JSONResponse({"error": text, "problems": []}, 413, {"connection": "close"})(scope, receive, send)


class RateLimit:
    """429 for an address that asks more often than `rate` (such as "100/second"), with `Retry-After`.

    Counted in this process: behind several, each address has as many times the rate.
    """

    def __init__(self, app: ASGIApp, rate: str) -> None:
        self._app = app
        self._rate = parse_rate(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        if self._limiter.hit(self._rate, address):
            await self._app(scope, receive, send)
            return
        wait = self._limiter.get_window_stats(self._rate, address).reset_time - time.time()
        seconds = max(1, math.ceil(wait))
        text = f"more than {self._rate} requests from {address} (app.rate); try again in {seconds} s"
        await JSONResponse({"error": text, "problems": []}, 429, {"retry-after": str(seconds)})(scope, receive, send)


def parse_rate(rate: str):  # type: ignore[no-untyped-def]  # limits' own type
    """Raises StartError where it is no rate."""
    try:
        return parse(rate)
    except ValueError as error:
        raise StartError(f"app.rate: {rate!r} is no rate; write it as 100/second or 1000/minute") from error
