"""`triptych app`: assemble and run the web service from configuration, data folder and export. No TensorFlow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from socket import socket

import uvicorn
import yaml
from starlette.types import ASGIApp
from threadpoolctl import threadpool_limits

from pipelines.config import Config
from pipelines.config.running import AppConfig
from pipelines.runs.progress import say
from pipelines.webapp.item_rows import media_features, read_rows
from pipelines.webapp.model_process import model_server
from serving.app.catalogue import AppCatalogue
from serving.app.http.service import create_app
from serving.app.ranking.profile import EventScale
from serving.app.ranking.requests import RankingSettings
from serving.app.ranking.rules import read_rules, resolve_rules
from serving.app.rate import parse_rate
from serving.app.state import AppComponents, AppOptions
from serving.app.store.base import Retention
from serving.app.store.event_log import PATTERN, EventLog, LogColumns
from serving.app.store.impression_log import ImpressionLog
from serving.app.store.open import open_store
from serving.client.aio import AsyncClient
from serving.server.process import listening_socket, until_signal
from serving.wire import layout
from serving.wire.errors import StartError
from serving.wire.tokens import read_tokens
from tfrecs.spec.dataset_yaml import SPEC_FILE, DatasetSpec, load_spec

EVENTS_FOLDER, IMPRESSIONS_FOLDER, STORE_FILE = "events", "served", "profiles.sqlite"


@dataclass(frozen=True)
class AppJob:
    """Arguments of `triptych app`.

    Attributes:
      config: the sections `app` and `serve` are used.
      model: name of the model, a folder in `models`.
      data: data folder with the item table and the media.
      models: folder with exported models.
      state: folder for profiles and logs.
      target: host:port of a model server; None uses the embedded server if it serves this model, or starts one.
      spec: a dataset.yaml outside the data folder.
      host, port: listening address; None takes the configuration's; port 0 takes a free port.
      rules: YAML file of business rules.
      token_file: file with one token per line.
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
    """Serve until SIGTERM or SIGINT. Raises TriptychError."""
    settings = job.config.app
    host = job.host or settings.host
    # The arrays are small: more BLAS threads would only take cores from the model server.
    with (
        listening_socket(host, settings.port if job.port is None else job.port, "--port") as listening,
        threadpool_limits(1, user_api="blas"),
        model_server(job.model, job.models, job.target, job.config.serve.port) as target,
    ):
        application = create_app(make_components(job, target), make_options(job, host))
        url = address(host, listening)
        say(f"Triptych is open: {url}/   (API: {url}/docs, profiles and events: {job.state}; Ctrl-C ends it)")
        serve_http(application, listening, job.config)


def serve_http(application: ASGIApp, listening: socket, config: Config) -> None:
    """Serve an application on a bound socket until SIGTERM or SIGINT."""
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,  # URLs contain user ids and queries
            server_header=False,
            proxy_headers=config.app.behind_proxy,
            timeout_graceful_shutdown=int(config.serve.grace) or 1,
        )
    )
    # uvicorn raises the signal again after it has stopped; the model server must be stopped before that.
    with until_signal(threading.Event()):
        server.run(sockets=[listening])


def address(host: str, listening: socket) -> str:
    """Return the address of a bound socket, without a slash at the end."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


def make_components(job: AppJob, target: str) -> AppComponents:
    """Create the components of the app for a model server at `target` (host:port). Raises TriptychError."""
    settings = job.config.app
    spec = load_spec(job.data, job.spec)
    catalogue = load_catalogue(job, spec)
    rules = () if job.rules is None else read_rules(job.rules)
    source = str(job.rules)
    resolve_rules(rules, catalogue.position, catalogue.categories, catalogue.numbers, source)  # fail before starting
    folder = job.state / EVENTS_FOLDER
    scale = make_scale(settings, spec)
    columns = make_columns(settings, spec, scale)
    for note in log_notes(settings, spec, columns):
        say(note)
    event_log = EventLog(folder, columns, settings.log_bytes)
    (folder / SPEC_FILE).write_text(log_spec(spec), encoding="utf-8")
    address = settings.store or f"sqlite:{job.state / STORE_FILE}"
    retention = Retention(settings.events_per_user, settings.keep_days * 86400.0)
    return AppComponents(
        name=job.model,
        connect=lambda: AsyncClient(target, job.model, timeout=settings.timeout),
        catalogue=catalogue,
        latest_version=lambda: layout.latest_version(job.models / job.model),
        load_catalogue=lambda: load_catalogue(job, spec),
        rules=rules,
        rules_source=source,
        store=asyncio.run(open_store(address, retention, settings.store_timeout)),
        event_log=event_log,
        impression_log=ImpressionLog(job.state / IMPRESSIONS_FOLDER, settings.log_bytes, settings.served_files),
        settings=make_settings(settings, scale, catalogue),
    )


def make_options(job: AppJob, host: str) -> AppOptions:
    """Create the limits and tokens of the app. Raises StartError."""
    settings = job.config.app
    parse_rate(settings.rate, "app.rate")
    tokens = None if job.token_file is None else read_tokens(job.token_file)
    return AppOptions(
        rate=settings.rate,
        max_body_bytes=settings.max_body_bytes,
        hosts=(*settings.hosts, host.strip("[]")),
        frames=settings.frames,
        write_tokens=tokens,
        read_tokens=tokens if settings.token_on_reads else None,
        poll=settings.poll,
        max_events=settings.most_events,
    )


def load_catalogue(job: AppJob, spec: DatasetSpec) -> AppCatalogue:
    """Load the items of the newest version and their rows of the item table.

    Raises:
      StartError: there is no such model, or its export lacks the item facts.
      DataError: the item table cannot be read.
    """
    model = job.models / job.model
    version = layout.latest_version(model)
    if not version:
        raise StartError(f"{model}: no exported model there; export one (triptych export --to {model})")
    facts = layout.item_facts(model / str(version))
    if facts is None:
        raise StartError(f"{model / str(version)}: the export has no item facts; export it again (triptych export)")
    titles = layout.titles(model / str(version))
    return AppCatalogue(
        name=job.model,
        version=version,
        facts=facts,
        titles=titles,
        rows=read_rows(job.data, spec, titles),
        root=job.data,
        media=media_features(spec),
        description=layout.description(model / str(version)),
    ).prepare()


def make_scale(settings: AppConfig, spec: DatasetSpec) -> EventScale:
    """Create the scale of event values.

    The range, that of a rating, is that of the regression label on the value column, or one unit below the threshold of a
    binary label up to the threshold; with weights, whose column holds no rating, that of any label on a column of numbers.
    Event values lie in that range; with weights they are those of the event types that have the name of a kind, or of a
    column of weights the strengths.
    """
    events = spec.interactions
    labels = [label for label in events.labels.values() if label.values is None]
    if events.weight is None:
        labels = [label for label in labels if label.column == events.value_column]
    ranges = [label.range for label in labels if label.range]
    thresholds = [label.at_least for label in labels if label.at_least is not None]
    low, high = ranges[0] if ranges else (thresholds[0] - 1, thresholds[0]) if thresholds else (None, None)
    if events.weight is not None:
        weights = settings.strength if events.weight.values is None else events.weight.values
        own = {kind: weights[kind] for kind in settings.strength if kind in weights and kind != "rating"}
        return EventScale(low, high, own, settings.strength, weighted=True)
    return EventScale(low, high, _worth(settings, low, high), settings.strength)


def _worth(settings: AppConfig, low: float | None, high: float | None) -> dict[str, float]:
    if low is None or high is None:
        return {}
    return {kind: low + fraction * (high - low) for kind, fraction in settings.worth.items()}


def make_columns(settings: AppConfig, spec: DatasetSpec, scale: EventScale) -> LogColumns:
    """Name the columns of the event log: those of the data set's interactions.

    With weights only kinds that have one are logged, since a build would reject an event without.
    """
    events = spec.interactions
    values = [None if events.weight else events.value_column]
    values += [label.column for label in events.labels.values() if label.values is None]
    values.append(events.positive.column if events.positive else None)
    kinds = set(settings.log_kinds)
    by_kind: dict[str, Mapping[str, str | float]] = {
        label.column: {kind: kind for kind in kinds if kind in label.values}
        for label in events.labels.values()
        if label.values is not None
    }
    if events.weight is not None:
        kinds &= set(scale.event_values)
        named = events.weight.values is not None
        by_kind[events.weight.column] = {kind: kind if named else scale.event_values[kind] for kind in kinds}
    return LogColumns(
        user=events.user,
        item=events.item,
        time=events.time or "",
        values=tuple(dict.fromkeys(name for name in values if name)),
        context=tuple(name for name in events.context if not events.from_time(name)),
        kinds=frozenset(kinds),
        event_values=_worth(settings, scale.low, scale.high),
        by_kind=by_kind,
    )


def log_notes(settings: AppConfig, spec: DatasetSpec, columns: LogColumns) -> list[str]:
    """Say what a build will not learn, or not as it is meant, from the event log; one line each."""
    events, notes = spec.interactions, []
    missing = [kind for kind in settings.log_kinds if kind not in columns.kinds]
    if missing:
        notes.append(
            f"Not logged for later training: {', '.join(missing)}; interactions.weight of {SPEC_FILE} gives them no weight."
        )
    if "dislike" in columns.kinds and events.weight is None and events.positive is None:
        notes.append(
            f"A build reads a logged dislike as a positive, as {SPEC_FILE} has neither `weight` nor `positive`; add one."
        )
    return notes


def log_spec(spec: DatasetSpec) -> str:
    """Return the `dataset.yaml` of the log folder, which makes it a data folder for `triptych build --append`."""
    content = spec.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    content["interactions"]["file"] = PATTERN
    for notation in ("time_unit", "time_format", "time_zone"):  # the log has unix seconds
        content["interactions"].pop(notation, None)
    return yaml.safe_dump(content, sort_keys=False)


def make_settings(settings: AppConfig, scale: EventScale, catalogue: AppCatalogue) -> RankingSettings:
    """Create the settings of the ranking engine; all but two have the name of their key in the section `app`."""
    same_name = {field.name for field in fields(RankingSettings)} - {"scale", "examples"}
    return RankingSettings(
        scale=scale,
        examples=settings.examples or _examples(catalogue),
        **{name: getattr(settings, name) for name in same_name},
    )


def _examples(catalogue: AppCatalogue) -> tuple[str, ...]:
    """Make example queries from the catalogue: words of a text, the largest category, and an excluded one."""
    frequency = catalogue.category_frequency
    largest = sorted(frequency, key=lambda name: (-frequency[name], name))
    texts = [catalogue.row(item).text for item in catalogue.ids[:50]]
    last_sentences = [text.rstrip(" .!?").rsplit(". ", 1)[-1].split() for text in texts]
    phrase = next((" ".join(words[:6]).rstrip(",;:").lower() for words in last_sentences if len(words) >= 4), "")
    examples = [phrase, *(largest[:1]), *(f"no {name}" for name in largest[1:2])]
    return tuple(example for example in examples if example)
