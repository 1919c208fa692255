"""Running state of the app: model client, ranking engine, store and logs. It follows new versions of the model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.http.metrics import AppMetrics
from serving.app.ranking.engine import Engine
from serving.app.ranking.requests import RankingSettings
from serving.app.ranking.rules import Rule, resolve_rules
from serving.app.schemas import ListOut, ReadyOut
from serving.app.store.base import Store, StoreError
from serving.app.store.event_log import EventLog
from serving.app.store.event_writer import EventWriter
from serving.app.store.impression_log import ImpressionLog
from serving.wire.errors import ServingError
from serving.wire.tokens import Tokens
from tfrecs.schema import TriptychError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AppComponents:
    """The parts that the app is assembled from.

    Attributes:
      name: of the model.
      connect: creates the model client in the running event loop.
      catalogue: of the version that is served now.
      latest_version: returns the newest version in the models folder, 0 if there is none.
      load_catalogue: reads the catalogue of the newest version; called in a thread.
      rules, rules_source: business rules, and their file for messages.
      store: events by user.
      event_log: interactions for later builds.
      impression_log: shown lists, for drift.
      settings: of the ranking engine.
    """

    name: str
    connect: Callable[[], Any]
    catalogue: AppCatalogue
    latest_version: Callable[[], int]
    load_catalogue: Callable[[], AppCatalogue]
    rules: Sequence[Rule]
    rules_source: str
    store: Store
    event_log: EventLog
    impression_log: ImpressionLog
    settings: RankingSettings


@dataclass(frozen=True)
class AppOptions:
    """Limits and access.

    Attributes:
      rate: requests per client address, such as "100/second".
      max_body_bytes: of a request.
      hosts: host names that the app answers to (`*.example.org` and `*` are allowed), against DNS rebinding.
      frames: origins whose pages may show the app's in a frame.
      write_tokens: required by POST and DELETE; None if anybody may write.
      read_tokens: required to read lists, items and profiles.
      poll: seconds between two checks for a new version.
      max_events: in one write to the store.
    """

    rate: str
    max_body_bytes: int
    hosts: tuple[str, ...]
    frames: tuple[str, ...]
    write_tokens: Tokens | None
    read_tokens: Tokens | None
    poll: float
    max_events: int


class AppState:
    """Everything that lives as long as the application; its lifespan is `running`."""

    engine: Engine
    event_writer: EventWriter

    def __init__(self, components: AppComponents, options: AppOptions) -> None:
        self.components, self.options = components, options
        self.metrics = AppMetrics()
        self._client: Any = None
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect to the model server and start the background tasks."""
        components = self.components
        self._client = components.connect()
        self._use(components.catalogue)
        self.event_writer = EventWriter(components.store, components.event_log, self.options.max_events)
        self.event_writer.start()
        components.impression_log.start()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Write what is pending and close everything."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self.event_writer.stop()
        await self.components.impression_log.stop()
        await self.components.store.close()
        await self._client.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AppState]:
        """Start, yield itself, and stop at the end of the block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def ready(self) -> ReadyOut:
        """Check the model server and the store."""
        model = store = "ok"
        try:
            versions = await self._client.status()
            if not any(version.state == "AVAILABLE" for version in versions):
                model = f"{self.components.name}: no version is available yet; wait, or look at the model server"
        except ServingError as error:
            model = str(error)
        try:
            await self.components.store.ping()
        except StoreError as error:
            store = str(error)
        return ReadyOut(ready=model == store == "ok", model=model, store=store)

    def record_impression(self, shown: ListOut) -> ListOut:
        """Log a list that is about to be shown, and return it."""
        catalogue = self.engine.catalogue
        rows = [catalogue.position[item.id] for item in shown.items]
        weights = catalogue.facts.weights[rows].astype(np.float64).mean(axis=0).round(4).tolist() if rows else []
        self.components.impression_log.add(
            time=round(time.time(), 3),
            list=shown.list_id,
            version=shown.model.version,
            items=[item.id for item in shown.items],
            weights=dict(zip(catalogue.modalities, weights, strict=True)) if rows else {},
            based_on=shown.based_on,
        )
        self.metrics.shown.inc(len(rows))
        return shown

    def _use(self, catalogue: AppCatalogue) -> None:
        components = self.components
        rules = resolve_rules(
            components.rules, catalogue.position, catalogue.categories, catalogue.numbers, components.rules_source
        )
        self.engine = Engine(self._client, catalogue, rules, components.settings)
        self.metrics.version.set(catalogue.version)

    async def _poll(self) -> None:
        """Follow the models folder. A version that cannot be read is reported once and not tried again."""
        tried = self.engine.catalogue.version
        while True:
            await asyncio.sleep(self.options.poll)
            newest = await asyncio.to_thread(self.components.latest_version)
            if newest <= 0 or newest == tried:
                continue
            tried = newest
            try:
                self._use((await asyncio.to_thread(self.components.load_catalogue)).prepare())
            except TriptychError as error:
                _log.warning("version %d: %s; keeping version %d", newest, error, self.engine.catalogue.version)
