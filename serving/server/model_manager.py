"""The loaded model versions, kept in step with a source and swapped without a gap.

A new version is loaded and warmed up beside the old one and takes over in one step; the old one is freed when the last
request that uses it has its answer. A version that fails to load changes nothing but its own status, and is tried again
when its files change, or after a while as often as it is told to. This module knows nothing of gRPC or REST.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from serving.server.servable import Servable, load
from serving.server.sources import ModelConfig, Source, version_folders
from serving.server.status import failed_precondition, invalid, not_found
from serving.wire.errors import ServingError

_log = logging.getLogger(__name__)
_SHORTEST_POLL = 0.05  # seconds, between polls for retries alone
_HEADLINE = "Graph execution error:\n\n"

Report = Callable[[str], None]
"""Called with one readable line for every change."""


class VersionState(enum.IntEnum):
    """The states of a version, numbered as in `ModelVersionStatus.State`."""

    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """The status of a version; `error` is why it is not served, None if nothing went wrong."""

    version: int
    state: VersionState
    error: tf.errors.OpError | None = None


@dataclass
class _Version:
    status: VersionStatus
    servable: Servable | None = None
    leases: int = 0  # requests that use the servable now
    failed_files: tuple = field(default_factory=tuple)  # fingerprint of the files at a failed load
    failures: int = 0  # loads of these files that failed
    retry_at: float | None = None  # monotonic time of the next one


class ModelManager:
    """Loads and unloads versions as the source says, and leases them to requests.

    Args:
      source: lists the models to serve.
      poll_seconds: time between two polls of the source; 0 to look only once, at `start`.
      report: called for every version that is loaded, unloaded or failed.
      load_retries: how often a version that failed is tried again although its files are the same.
      load_retry_seconds: least time between two of these tries, which are made in a poll. Without polling, the source
        is polled for them until there are none left.
    """

    def __init__(
        self,
        source: Source,
        *,
        poll_seconds: float,
        report: Report,
        load_retries: int = 0,
        load_retry_seconds: float = 0.0,
    ) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._report = report
        self._load_retries = load_retries
        self._load_retry_seconds = load_retry_seconds
        self._models: dict[str, dict[int, _Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()  # guards _models, every _Version in it, and _labels
        self._polling = threading.Lock()  # one poll at a time
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._problems: dict[str, str] = {}  # last reported, by model; "" is the source

    def start(self) -> None:
        """Load the source's models, then poll in a thread. Raises what the source raises."""
        self._poll(self._source())
        if self._poll_seconds > 0 or self._load_retries > 0:
            self._thread = threading.Thread(target=self._poll_forever, name="model-poll", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop polling and unload every version as soon as no request uses it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._polling:
            for name in list(self._models):
                self._unload(name, keep=())

    def poll(self) -> None:
        """Poll the source now. Raises what the source raises."""
        self._poll(self._source())

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Replace the source by these models; return when the new ones are loaded and the others unloaded.

        Raises:
          FailedPreconditionError: a label is for a version that is not available now; nothing has changed.
          InvalidArgumentError: a model's folder does not exist; nothing has changed.
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
        """Lease a version: it stays loaded until the block ends.

        Args:
          name: of the model.
          version: version number; None for the newest available one.

        Raises:
          NotFoundError: it is not served.
        """
        with self._lock:
            entry, servable = self._find(name, version)
            entry.leases += 1
        try:
            yield servable
        finally:
            with self._lock:
                entry.leases -= 1
            self._free_if_unused(name, entry)

    def version_of(self, name: str, label: str) -> int:
        """The version number behind a label. Raises InvalidArgumentError for an unknown label."""
        with self._lock:
            if label in self._labels.get(name, {}):
                return self._labels[name][label]
        raise invalid(f"Unrecognized servable version label: {label}")

    def statuses(self, name: str) -> list[VersionStatus]:
        """The status of every version seen so far, newest first; empty for an unknown model."""
        with self._lock:
            versions = self._models.get(name, {})
            return [versions[version].status for version in sorted(versions, reverse=True)]

    def retrying(self) -> bool:
        """Whether a version that failed to load will be tried again, or one is being loaded."""
        with self._lock:
            entries = [entry for versions in self._models.values() for entry in versions.values()]
            return any(entry.retry_at is not None or entry.status.state is VersionState.LOADING for entry in entries)

    def problems(self) -> list[str]:
        """Why models could not be looked for at the last poll, one line each."""
        return list(self._problems.values())

    def names(self) -> list[str]:
        """The names of all models seen so far, sorted."""
        with self._lock:
            return sorted(self._models)

    def available(self) -> list[tuple[str, int]]:
        """(name, version) of everything that is served now."""
        return [
            (name, status.version)
            for name in self.names()
            for status in self.statuses(name)
            if status.state is VersionState.AVAILABLE
        ]

    def _find(self, name: str, version: int | None) -> tuple[_Version, Servable]:
        available = {
            number: (entry, entry.servable)
            for number, entry in self._models.get(name, {}).items()
            if entry.servable is not None and entry.status.state is VersionState.AVAILABLE
        }
        if version is None and available:
            return available[max(available)]
        if version in available:
            return available[version]
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {request}")

    def _poll_forever(self) -> None:
        while not self._stopping.wait(self._poll_seconds or max(self._load_retry_seconds, _SHORTEST_POLL)):
            if not self._poll_seconds and not self.retrying():
                continue
            try:
                self.poll()
            except (OSError, ServingError) as error:
                self._report_problem("", f"cannot look for models ({error})")
            except Exception as error:
                _log.exception("looking for models failed")
                self._report_problem("", f"looking for models failed ({error!r})")
            else:
                self._problems.pop("", None)

    def _report_problem(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:  # once, not at every poll
            self._report(f"{problem}; what is loaded goes on being served")
        self._problems[name] = problem

    def _poll(self, configs: Sequence[ModelConfig]) -> None:
        with self._polling:
            for config in configs:
                try:
                    self._update(config)
                except OSError as error:
                    self._report_problem(config.name, f"cannot look for versions of {config.name} ({error})")
                else:
                    self._problems.pop(config.name, None)
            with self._lock:
                self._labels = {config.name: dict(config.labels) for config in configs}
            for name in set(self._models) - {config.name for config in configs}:
                self._forget_retries(name, keep=())
                self._unload(name, keep=())

    def _update(self, config: ModelConfig) -> None:
        aspired = config.policy(version_folders(config.base_path))
        with self._lock:
            known = self._models.setdefault(config.name, {})
        self._forget_retries(config.name, keep=aspired)
        for version, path in aspired.items():
            if self._stopping.is_set():
                return
            entry = known.get(version)
            if entry is None or (entry.status.state is VersionState.END and _due(entry, path)):
                self._load(config.name, version, path)
        served = [version for version in aspired if known[version].status.state is VersionState.AVAILABLE]
        # Keep the old version until a new one is available.
        if served or not aspired:
            self._unload(config.name, keep=served)

    def _load(self, name: str, version: int, path: Path) -> None:
        with self._lock:
            before = self._models[name].get(version)
            entry = self._models[name][version] = _Version(VersionStatus(version, VersionState.LOADING))
        fingerprint, started = _fingerprint(path), time.monotonic()
        try:
            servable = load(path, name, version)
        except Exception as error:
            # Files that someone else wrote may fail in any way; clients see the reason in the version's status.
            failure = _as_status(error)
            again = ""
            with self._lock:
                entry.failed_files = fingerprint
                entry.failures = 1 + (before.failures if before and before.failed_files == fingerprint else 0)
                if entry.failures <= self._load_retries:
                    entry.retry_at = time.monotonic() + self._load_retry_seconds
                    again = (
                        f"; tried again in {self._load_retry_seconds:g} s ({entry.failures} of {self._load_retries})"
                    )
                entry.status = VersionStatus(version, VersionState.END, failure)
            self._report(f"{name} version {version} cannot be served: {failure.message.splitlines()[0]}{again}")
            return
        with self._lock:
            entry.servable = servable
            entry.status = VersionStatus(version, VersionState.AVAILABLE)
        self._report(f"{name} version {version} is served (loaded in {time.monotonic() - started:.1f} s)")

    def _forget_retries(self, name: str, keep: Collection[int]) -> None:
        with self._lock:
            for version, entry in self._models[name].items():
                if version not in keep:
                    entry.retry_at = None

    def _unload(self, name: str, keep: Sequence[int]) -> None:
        with self._lock:
            entries = [entry for version, entry in self._models[name].items() if version not in keep]
            leaving = [entry for entry in entries if entry.status.state is VersionState.AVAILABLE]
            for entry in leaving:
                entry.status = VersionStatus(entry.status.version, VersionState.UNLOADING)
        for entry in leaving:
            self._free_if_unused(name, entry)

    def _free_if_unused(self, name: str, entry: _Version) -> None:
        with self._lock:
            if entry.status.state is not VersionState.UNLOADING or entry.leases or entry.servable is None:
                return
            servable, entry.servable = entry.servable, None
        servable.close()
        with self._lock:
            entry.status = VersionStatus(entry.status.version, VersionState.END)
        self._report(f"{name} version {entry.status.version} is no longer served")


def _due(entry: _Version, path: Path) -> bool:
    """Whether a version that failed or is gone is to be loaded: its files are others, or it is time to try again."""
    return entry.failed_files != _fingerprint(path) or (
        entry.retry_at is not None and time.monotonic() >= entry.retry_at
    )


def _fingerprint(path: Path) -> tuple:
    files = sorted(child for child in path.rglob("*") if child.is_file())
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def _as_status(error: Exception) -> tf.errors.OpError:
    if isinstance(error, tf.errors.OpError):
        # Session.run puts a headline before the reason; messages show the first line only.
        return tf.errors.OpError(None, None, error.message.removeprefix(_HEADLINE), error.error_code)
    if isinstance(error, OSError):
        return not_found(str(error) or type(error).__name__)
    return invalid(f"{type(error).__name__}: {error}")
