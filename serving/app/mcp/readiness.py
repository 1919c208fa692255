"""Waits for a model server that is still starting, so that the first call of a talk does not fail."""

from __future__ import annotations

import asyncio
import time

from serving.app.state import AppState

_POLL_SECONDS = 0.25


class Readiness:
    """Lets calls wait until the model server has answered once; after that none waits.

    Args:
      state: of the app.
      most: the longest wait in seconds, from now on; a later call goes ahead and gets the model server's own error.
    """

    def __init__(self, state: AppState, most: float) -> None:
        self._state, self._until, self._ready = state, time.monotonic() + most, False

    async def wait(self) -> None:
        """Return when the model server is ready, or the time is over."""
        while not self._ready and time.monotonic() < self._until:
            self._ready = (await self._state.ready()).model == "ok"
            if not self._ready:
                await asyncio.sleep(_POLL_SECONDS)
