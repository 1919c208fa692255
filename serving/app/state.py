"""What the app holds while it runs: client, engine, store, logs; and how it follows new versions of the model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.http.metrics import Metrics
from serving.app.models import ListOut, ReadyOut
from serving.app.ranking.asks import Settings
from serving.app.ranking.engine import Engine
from serving.app.ranking.rules import Rule, resolve
from serving.app.store.base import Store, StoreError
from serving.app.store.event_log import EventLog
from serving.app.store.intake import Intake
from serving.app.store.served import ServedLog
from serving.wire.errors import ServingError
from serving.wire.tokens import Tokens
from tfrecs.schema import TriptychError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What the app stands on.

    Attributes:
      name: of the model.
      connect: makes the client, where the event loop runs.
      catalogue: of the version that is served now.
      newest: the newest version in the models folder; 0: none.
      load: reads the catalogue of the newest version; called in a thread.
      rules, rules_source: of the house, and the file for messages.
      store, log, served: where events and lists go.
      settings: numbers of the engine.
    """

    name: str
    connect: Callable[[], Any]
    catalogue: Catalogue
    newest: Callable[[], int]
    load: Callable[[], Catalogue]
    rules: Sequence[Rule]
    rules_source: str
    store: Store
    log: EventLog
    served: ServedLog
    settings: Settings


@dataclass(frozen=True)
class Options:
    """How the app may be used.

    Attributes:
      rate: requests of one address, such as "100/second".
      max_body_bytes: of a request.
      hosts: names that the app answers to (`*.example.org` and `*` too): a page elsewhere cannot point its own there.
      write_tokens: POST and DELETE need one; None: nobody does.
      read_tokens: and so do reads of lists, items and profiles.
      poll: seconds between two looks for a new version.
      most_events: in one write to the store.
    """

    rate: str
    max_body_bytes: int
    hosts: tuple[str, ...]
    write_tokens: Tokens | None
    read_tokens: Tokens | None
    poll: float
    most_events: int


class State:
    """Started and stopped by the application's lifespan."""

    engine: Engine
    intake: Intake

    def __init__(self, parts: Parts, options: Options) -> None:
        self.parts, self.options = parts, options
        self.metrics = Metrics()
        self._client: Any = None
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._client = self.parts.connect()
        self._use(self.parts.catalogue)
        self.intake = Intake(self.parts.store, self.parts.log, self.options.most_events)
        self.intake.start()
        self.parts.served.start()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self.intake.stop()
        await self.parts.served.stop()
        await self.parts.store.close()
        await self._client.close()

    async def ready(self) -> ReadyOut:
        """Asks both what the app cannot do without."""
        model = store = "ok"
        try:
            versions = await self._client.status()
            if not any(one.state == "AVAILABLE" for one in versions):
                model = f"{self.parts.name}: no version is available yet; wait, or look at the model server"
        except ServingError as error:
            model = str(error)
        try:
            await self.parts.store.ping()
        except StoreError as error:
            store = str(error)
        return ReadyOut(ready=model == store == "ok", model=model, store=store)

    def shown(self, answer: ListOut) -> ListOut:
        """Notes what is shown, and hands it on."""
        catalogue = self.engine.catalogue
        rows = [catalogue.position[item.id] for item in answer.items]
        weights = catalogue.facts.weights[rows].astype(np.float64).mean(axis=0).round(4).tolist() if rows else []
        self.parts.served.note(
            time=round(time.time(), 3),
            list=answer.list_id,
            version=answer.model.version,
            items=[item.id for item in answer.items],
            weights=dict(zip(catalogue.modalities, weights, strict=True)) if rows else {},
            based_on=answer.based_on,
        )
        self.metrics.shown.inc(len(rows))
        return answer

    def _use(self, catalogue: Catalogue) -> None:
        parts = self.parts
        house = resolve(parts.rules, catalogue.position, catalogue.categories, catalogue.numbers, parts.rules_source)
        self.engine = Engine(self._client, catalogue, house, parts.settings)
        self.metrics.version.set(catalogue.version)

    async def _poll(self) -> None:
        """Follows the models folder; what cannot be read is said once, and tried again with the next version."""
        tried = self.engine.catalogue.version
        while True:
            await asyncio.sleep(self.options.poll)
            newest = await asyncio.to_thread(self.parts.newest)
            if newest <= 0 or newest == tried:
                continue
            tried = newest
            try:
                self._use((await asyncio.to_thread(self.parts.load)).prepare())
            except TriptychError as error:
                _log.warning("version %d: %s; version %d stays", newest, error, self.engine.catalogue.version)
