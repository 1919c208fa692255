"""Loaded versions of models: kept in step with what shall be served, swapped without a gap.

A new version is loaded and warmed up beside the old one, takes over in one step, and the old one is freed when the last
request that uses it has its answer. One that fails to load changes nothing but its own status, and is tried again when
its files change. Nothing here knows of gRPC or REST.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from serving.server.servable import Servable, load
from serving.server.sources import ModelConfig, Source, folder, version_folders
from serving.server.status import failed_precondition, invalid, not_found
from serving.wire.errors import ServingError

__all__ = ["ModelConfig", "ModelManager", "Report", "Source", "State", "VersionStatus", "folder"]

_log = logging.getLogger(__name__)
_HEADLINE = "Graph execution error:\n\n"


class State(enum.IntEnum):
    """The life of a version; the numbers are those of `ModelVersionStatus.State`."""

    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


# Told one readable line for every change.
Report = Callable[[str], None]


@dataclass(frozen=True)
class VersionStatus:
    """Where a version stands; `error` is why it is not served, None where nothing went wrong."""

    version: int
    state: State
    error: tf.errors.OpError | None = None


@dataclass
class _Version:
    status: VersionStatus
    servable: Servable | None = None
    users: int = 0
    # What the files looked like when loading failed.
    failed: tuple = field(default_factory=tuple)


class ModelManager:
    """Keeps the served versions in step with the folders.

    Args:
      source: what to serve.
      poll_seconds: time between two looks; 0 for one look only, at `start`.
      report: told of every version that is loaded, freed or failed.
    """

    def __init__(self, source: Source, *, poll_seconds: float, report: Report) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._report = report
        self._models: dict[str, dict[int, _Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()  # guards _models, every _Version in it, and _labels
        self._polling = threading.Lock()  # one poll at a time
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._troubles: dict[str, str] = {}  # by model; "" is the source

    def start(self) -> None:
        """Loads what is there now, then watches in a thread. Raises as the source does where it cannot tell."""
        self._poll(self._source())
        if self._poll_seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="model-poll", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the watching and frees every version, each as soon as no request uses it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._polling:
            for name in list(self._models):
                self._retire(name, keep=())

    def poll(self) -> None:
        """One look at the folders now. Raises as the source does where it cannot tell."""
        self._poll(self._source())

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serves these models from now on, and returns when the new ones are loaded and those left out are gone.

        Raises:
          FailedPreconditionError: a label is for a version that is not available now; nothing has changed.
          InvalidArgumentError: a model's folder is not there; nothing has changed.
          UnknownError: a new model did not become available.
        """
        available = set(self.available())
        for config in configs:
            for version in config.labels.values():
                if (config.name, version) not in available:
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {config.name}, which is not currently "
                        "available for inference"
                    )
            if not config.base_path.is_dir():
                raise invalid(f"Could not find base path {config.base_path} for servable {config.name}")
        before = {name for name, _ in available}
        models = list(configs)
        self._source = lambda: models
        self._poll(models)
        missing = {config.name for config in models} - before - {name for name, _ in self.available()}
        if missing:
            raise tf.errors.UnknownError(
                None, None, f"Some models did not become available: {{{', '.join(sorted(missing))}}}"
            )

    @contextmanager
    def servable(self, name: str, version: int | None) -> Iterator[Servable]:
        """The version that answers, kept loaded until the block ends; None is the newest that is available.

        Raises:
          NotFoundError: it is not served.
        """
        with self._lock:
            entry, servable = self._find(name, version)
            entry.users += 1
        try:
            yield servable
        finally:
            with self._lock:
                entry.users -= 1
            self._free_if_unused(name, entry)

    def version_of(self, name: str, label: str) -> int:
        """The version that a label stands for. Raises InvalidArgumentError."""
        with self._lock:
            if label in self._labels.get(name, {}):
                return self._labels[name][label]
        raise invalid(f"Unrecognized servable version label: {label}")

    def statuses(self, name: str) -> list[VersionStatus]:
        """Of every version seen so far, newest first; empty for an unknown model."""
        with self._lock:
            versions = self._models.get(name, {})
            return [versions[version].status for version in sorted(versions, reverse=True)]

    def names(self) -> list[str]:
        """Every model seen so far."""
        with self._lock:
            return sorted(self._models)

    def available(self) -> list[tuple[str, int]]:
        """Name and version of everything that is served now."""
        return [
            (name, status.version)
            for name in self.names()
            for status in self.statuses(name)
            if status.state is State.AVAILABLE
        ]

    def _find(self, name: str, version: int | None) -> tuple[_Version, Servable]:
        available = {
            number: (entry, entry.servable)
            for number, entry in self._models.get(name, {}).items()
            if entry.servable is not None and entry.status.state is State.AVAILABLE
        }
        if version is None and available:
            return available[max(available)]
        if version in available:
            return available[version]
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {request}")

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.poll()
            except (OSError, ServingError) as error:
                self._trouble("", f"cannot look for models ({error})")
            except Exception as error:
                _log.exception("looking for models failed")
                self._trouble("", f"looking for models failed ({error!r})")
            else:
                self._troubles.pop("", None)

    def _trouble(self, name: str, what: str) -> None:
        if self._troubles.get(name) != what:  # once, not at every poll
            self._report(f"{what}; what is loaded goes on being served")
        self._troubles[name] = what

    def _poll(self, configs: Sequence[ModelConfig]) -> None:
        with self._polling:
            for config in configs:
                try:
                    self._update(config)
                except OSError as error:
                    self._trouble(config.name, f"cannot look for versions of {config.name} ({error})")
                else:
                    self._troubles.pop(config.name, None)
            with self._lock:
                self._labels = {config.name: dict(config.labels) for config in configs}
            for name in set(self._models) - {config.name for config in configs}:
                self._retire(name, keep=())

    def _update(self, config: ModelConfig) -> None:
        aspired = config.policy(version_folders(config.base_path))
        with self._lock:
            known = self._models.setdefault(config.name, {})
        for version, path in aspired.items():
            if self._stopping.is_set():
                return
            entry = known.get(version)
            if entry is None or (entry.status.state is State.END and entry.failed != _fingerprint(path)):
                self._load(config.name, version, path)
        served = [version for version in aspired if known[version].status.state is State.AVAILABLE]
        # As long as no aspired version is available, the old one is better than none.
        if served or not aspired:
            self._retire(config.name, keep=served)

    def _load(self, name: str, version: int, path: Path) -> None:
        with self._lock:
            entry = self._models[name][version] = _Version(VersionStatus(version, State.LOADING))
        fingerprint, started = _fingerprint(path), time.monotonic()
        try:
            servable = load(path, name, version)
        except Exception as error:
            # Anything at all may be wrong with files that someone else wrote; the status carries it to who asks.
            failure = _as_status(error)
            with self._lock:
                entry.failed = fingerprint
                entry.status = VersionStatus(version, State.END, failure)
            self._report(f"{name} version {version} cannot be served: {failure.message.splitlines()[0]}")
            return
        with self._lock:
            entry.servable = servable
            entry.status = VersionStatus(version, State.AVAILABLE)
        self._report(f"{name} version {version} is served (loaded in {time.monotonic() - started:.1f} s)")

    def _retire(self, name: str, keep: Sequence[int]) -> None:
        with self._lock:
            entries = [entry for version, entry in self._models[name].items() if version not in keep]
            leaving = [entry for entry in entries if entry.status.state is State.AVAILABLE]
            for entry in leaving:
                entry.status = VersionStatus(entry.status.version, State.UNLOADING)
        for entry in leaving:
            self._free_if_unused(name, entry)

    def _free_if_unused(self, name: str, entry: _Version) -> None:
        with self._lock:
            if entry.status.state is not State.UNLOADING or entry.users or entry.servable is None:
                return
            servable, entry.servable = entry.servable, None
        servable.close()
        with self._lock:
            entry.status = VersionStatus(entry.status.version, State.END)
        self._report(f"{name} version {entry.status.version} is no longer served")


def _fingerprint(path: Path) -> tuple:
    files = sorted(child for child in path.rglob("*") if child.is_file())
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def _as_status(error: Exception) -> tf.errors.OpError:
    if isinstance(error, tf.errors.OpError):
        # Session.run puts a line of its own before the reason; whoever reads one line wants the reason.
        return tf.errors.OpError(None, None, error.message.removeprefix(_HEADLINE), error.error_code)
    if isinstance(error, OSError):
        return not_found(str(error) or type(error).__name__)
    return invalid(f"{type(error).__name__}: {error}")
