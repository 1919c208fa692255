"""What `triptych app` says while it waits for the model server, and how it ends if that does not come up."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from pipelines.runs.progress import say
from pipelines.webapp.model_process import ModelServer
from serving.app.schemas import ReadyOut
from serving.wire.errors import StartError

_FIRST_LINE, _LINE_EVERY = 5.0, 15.0  # seconds, as of other long work


class Opening:
    """Follows the checks of a model server until it has answered.

    Args:
      model: name of the model.
      server: the server behind the app.
      url: of the page, without a slash at the end.
      state: folder of profiles and events.
    """

    def __init__(self, model: str, server: ModelServer, url: str, state: Path) -> None:
        self._model, self._server, self._url, self._state = model, server, url, state
        self._started: float | None = None
        self._due = 0.0
        self._failure = ""

    def watch(self, ready: ReadyOut) -> None:
        """Take one check: say that the app is open, or how long it has waited; end the app if its server has ended."""
        now = time.monotonic()
        if ready.model == "ok":
            waited = "" if self._started is None else f" after {now - self._started:.0f} s"
            say(
                f"Triptych is open{waited}: {self._url}/   (API: {self._url}/docs, "
                f"profiles and events: {self._state}; Ctrl-C ends it)"
            )
        elif self._server.process is not None and not self._server.is_running():
            if not self._failure:
                self._failure = f"the model server ended with status {self._server.process.returncode}"
                signal.raise_signal(signal.SIGTERM)  # as from outside: what is stored is whole
        elif self._started is None:
            self._started, self._due = now, now + _FIRST_LINE
            say(f"Waiting for the model {self._model}; until it answers, {self._url}/ says that it is loading.")
        elif now >= self._due:
            self._due = now + _LINE_EVERY
            say(f"  Waiting for the model: {now - self._started:.0f} s so far; {ready.model}")

    def check(self) -> None:
        """Raise StartError if the model server ended before it had answered."""
        if self._failure:
            raise StartError(f"{self._failure} before it answered; its own message stands above")
