"""`triptych app`: the web service in front of a served model, from configuration and data folder. No TensorFlow here."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import yaml
from threadpoolctl import threadpool_limits

from pipelines.config import Config
from pipelines.config.running import AppConfig
from pipelines.runs.progress import say
from pipelines.webapp.item_rows import media_features, read_rows
from serving.app.catalogue import Catalogue
from serving.app.http.limits import parse_rate
from serving.app.http.service import create_app
from serving.app.ranking.asks import Settings
from serving.app.ranking.profile import Scale
from serving.app.ranking.rules import read_rules, resolve
from serving.app.state import Options, Parts
from serving.app.store.base import Kept, open_store
from serving.app.store.event_log import PATTERN, Columns, EventLog
from serving.app.store.served import ServedLog
from serving.client.aio import AsyncClient
from serving.client.client import Client
from serving.server.process import listening_socket, until_signal
from serving.wire import layout
from serving.wire.errors import ServingError, StartError
from serving.wire.tokens import read_tokens
from tfrecs.spec.dataset_yaml import SPEC_FILE, DatasetSpec, load_spec

EVENTS_FOLDER, SERVED_FOLDER, STORE_FILE = "events", "served", "profiles.sqlite"


@dataclass(frozen=True)
class AppJob:
    """What to open.

    Attributes:
      config: its sections `app` and `serve` are read.
      model: its name; its folder below `models` says what the items are.
      data: the data folder, with the item table and its media.
      models: folder with exported models.
      state: where profiles and logs go.
      target: host:port of a model server; None: the embedded one on its port if it serves this model, else a new one.
      spec: a dataset.yaml elsewhere.
      host, port: where to listen; None: as the configuration says. Port 0: any free one.
      rules: the rules of the house.
      token_file: tokens, one a line.
    """

    config: Config
    model: str
    data: Path
    models: Path
    state: Path
    target: str | None = None
    spec: Path | None = None
    host: str | None = None
    port: int | None = None
    rules: Path | None = None
    token_file: Path | None = None


def run(job: AppJob) -> None:
    """Answers until SIGTERM or SIGINT. Raises TriptychError."""
    settings = job.config.app
    host = job.host or settings.host
    listening = listening_socket(host, settings.port if job.port is None else job.port, "--port")
    # Its arrays are small: threads of the linear algebra wait for one another, and take the cores that the model server needs.
    with threadpool_limits(1, user_api="blas"), _model_server(job) as target:
        application = create_app(make_parts(job, target), make_options(job, host))
        place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        say(f"Triptych is open: {place}/   (API: {place}/docs, profiles and events: {job.state}; Ctrl-C ends it)")
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_level="warning",
                access_log=False,  # addresses have user ids and questions in them
                server_header=False,
                proxy_headers=settings.behind_proxy,
                timeout_graceful_shutdown=int(job.config.serve.grace) or 1,
            )
        )
        # uvicorn sends itself again what it was stopped by; this process has its server to end first.
        with until_signal(threading.Event()):
            server.run(sockets=[listening])


def make_parts(job: AppJob, target: str) -> Parts:
    """Everything the app stands on. Raises TriptychError where something is not there or not what it must be."""
    settings = job.config.app
    spec = load_spec(job.data, job.spec)
    catalogue = load_catalogue(job, spec)
    rules = () if job.rules is None else read_rules(job.rules)
    source = str(job.rules)
    resolve(rules, catalogue.position, catalogue.categories, catalogue.numbers, source)  # now rather than while it runs
    folder = job.state / EVENTS_FOLDER
    scale = make_scale(settings, spec)
    log = EventLog(folder, make_columns(settings, spec, scale), settings.log_bytes)
    (folder / SPEC_FILE).write_text(log_spec(spec), encoding="utf-8")
    address = settings.store or f"sqlite:{job.state / STORE_FILE}"
    kept = Kept(settings.events_per_user, settings.keep_days * 86400.0)
    return Parts(
        name=job.model,
        connect=lambda: AsyncClient(target, job.model, timeout=settings.timeout),
        catalogue=catalogue,
        newest=lambda: layout.latest_version(job.models / job.model),
        load=lambda: load_catalogue(job, spec),
        rules=rules,
        rules_source=source,
        store=asyncio.run(open_store(address, kept, settings.store_timeout)),
        log=log,
        served=ServedLog(job.state / SERVED_FOLDER, settings.log_bytes, settings.served_files),
        settings=make_settings(settings, scale, catalogue),
    )


def make_options(job: AppJob, host: str) -> Options:
    """Limits and tokens. Raises StartError."""
    settings = job.config.app
    parse_rate(settings.rate)
    tokens = None if job.token_file is None else read_tokens(job.token_file)
    return Options(
        rate=settings.rate,
        max_body_bytes=settings.max_body_bytes,
        hosts=(*settings.hosts, host.strip("[]")),
        write_tokens=tokens,
        read_tokens=tokens if settings.token_on_reads else None,
        poll=settings.poll,
        most_events=settings.most_events,
    )


def load_catalogue(job: AppJob, spec: DatasetSpec) -> Catalogue:
    """The items of the newest version, with what the item table says of them.

    Raises:
      StartError: there is no such model, or it was exported before exports told of their items.
      DataError: the item table cannot be read.
    """
    model = job.models / job.model
    version = layout.latest_version(model)
    if not version:
        raise StartError(f"{model}: no exported model there; export one (triptych export --to {model})")
    facts = layout.item_facts(model / str(version))
    if facts is None:
        raise StartError(f"{model / str(version)}: it does not tell of its items; export it again (triptych export)")
    return Catalogue(
        name=job.model,
        version=version,
        facts=facts,
        titles=layout.titles(model / str(version)),
        rows=read_rows(job.data, spec),
        root=job.data,
        media=media_features(spec),
        description=layout.description(model / str(version)),
    ).prepare()


def make_scale(settings: AppConfig, spec: DatasetSpec) -> Scale:
    """The range of the data set's event values: of the regression label of that column, else around a threshold."""
    column = spec.interactions.value_column
    labels = [label for label in spec.interactions.labels.values() if label.column == column]
    ranges = [label.range for label in labels if label.range]
    least = [label.at_least for label in labels if label.at_least is not None]
    low, high = ranges[0] if ranges else (least[0] - 1, least[0]) if least else (None, None)
    worth = {}
    if low is not None and high is not None:
        worth = {kind: low + share * (high - low) for kind, share in settings.worth.items()}
    return Scale(low, high, worth, settings.strength)


def make_columns(settings: AppConfig, spec: DatasetSpec, scale: Scale) -> Columns:
    """The columns of the log: those of the data set's interactions."""
    events = spec.interactions
    values = [events.value_column, *(label.column for label in events.labels.values())]
    values.append(events.positive.column if events.positive else None)
    return Columns(
        user=events.user,
        item=events.item,
        time=events.time or "",
        values=tuple(dict.fromkeys(name for name in values if name)),
        context=tuple(name for name in events.context if not events.from_time(name)),
        kinds=frozenset(settings.log_kinds),
        worth=scale.worth,
    )


def log_spec(spec: DatasetSpec) -> str:
    """`dataset.yaml` of the log's folder, so that `triptych build --append --data` takes the folder as it is."""
    content = spec.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    content["interactions"]["file"] = PATTERN
    return yaml.safe_dump(content, sort_keys=False)


def make_settings(settings: AppConfig, scale: Scale, catalogue: Catalogue) -> Settings:
    """Numbers of the engine."""
    return Settings(
        scale=scale,
        short_term=settings.short_term,
        taste_rate=settings.taste_rate,
        taste_weight=settings.taste_weight,
        unwanted_weight=settings.unwanted_weight,
        least_cosine=settings.least_cosine,
        pool=settings.pool,
        max_k=settings.max_k,
        max_excluded=settings.max_excluded,
        max_results=settings.max_results,
        picker_candidates=settings.picker_candidates,
        picker_demand=settings.picker_demand,
        rating_words=settings.rating_words,
        shown_events=settings.shown_events,
        shown_categories=settings.shown_categories,
        examples=settings.examples or _examples(catalogue),
    )


def _examples(catalogue: Catalogue) -> tuple[str, ...]:
    """Questions in the catalogue's own words: out of a text, and its largest categories."""
    largest = sorted(catalogue.shares, key=lambda name: (-catalogue.shares[name], name))
    texts = [catalogue.row(item).text for item in catalogue.ids[:50]]
    sentences = [text.rstrip(" .!?").rsplit(". ", 1)[-1].split() for text in texts]
    words = next((" ".join(one[:6]).rstrip(",;:").lower() for one in sentences if len(one) >= 4), "")
    said = [words, *(largest[:1]), *(f"no {name}" for name in largest[1:2])]
    return tuple(one for one in said if one)


@contextmanager
def _model_server(job: AppJob) -> Iterator[str]:
    """host:port of a server of the model; one that was started for it ends with the app."""
    if job.target is not None:
        yield job.target
        return
    usual = f"127.0.0.1:{job.config.serve.port}"
    if _serves(usual, job.model):
        yield usual
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    say(f"No server of {job.model} on {usual}: starting the embedded one on port {port}.")
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--models", str(job.models / job.model)]
    process = subprocess.Popen([*command, "--port", str(port), "--no-rest"], preexec_fn=_end_with_parent())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """On Linux: what makes a child end where its parent is killed, which cannot end it any more then."""
    if not sys.platform.startswith("linux"):
        return None
    libc, parent_death = ctypes.CDLL(None), 1  # PR_SET_PDEATHSIG
    return lambda: libc.prctl(parent_death, signal.SIGTERM)


def _serves(target: str, model: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        host, _, port = target.rpartition(":")
        if probe.connect_ex((host, int(port))):
            return False
    try:
        with Client(target, model, timeout=2.0) as client:
            return any(version.state == "AVAILABLE" for version in client.status())
    except ServingError:
        return False  # something else is there, or another model
