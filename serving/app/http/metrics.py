"""Counts and times of the app for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One registry for each app, so that two in a process count apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "triptych_app_requests", "Requests", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "triptych_app_seconds", "Seconds to answer", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.events = Counter("triptych_app_events", "Events kept", ("kind",), registry=self.registry)
        self.shown = Counter("triptych_app_items_shown", "Items in answers", registry=self.registry)
        self.away = Counter("triptych_app_away", "Requests that found it away", ("what",), registry=self.registry)
        self.version = Gauge("triptych_app_model_version", "Version of the catalogue", registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Measured:
    """Counts every request by its route, never by its path: ids would make a line each, and tell of users."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD") else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
