"""Prometheus metrics of the app."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)


class AppMetrics:
    """Counters of one app, in a registry of its own, so that two apps in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "triptych_app_requests", "Requests", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "triptych_app_seconds", "Seconds to answer", ("route",), buckets=_BUCKETS, registry=self.registry
        )
        self.events = Counter("triptych_app_events", "Events kept", ("kind",), registry=self.registry)
        self.shown = Counter("triptych_app_items_shown", "Items in answers", registry=self.registry)
        self.unavailable = Counter(
            "triptych_app_away", "Requests that found it away", ("what",), registry=self.registry
        )
        self.tools = Counter(
            "triptych_app_tool_calls", "Calls of tools by agents", ("tool", "outcome"), registry=self.registry
        )
        self.version = Gauge("triptych_app_model_version", "Version of the catalogue", registry=self.registry)

    def text(self) -> bytes:
        """Return the metrics in the text format."""
        return generate_latest(self.registry)


class RequestMetrics:
    """Middleware that counts requests by route. Paths contain ids, which would identify users and need a line each."""

    def __init__(self, app: ASGIApp, metrics: AppMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD") else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
