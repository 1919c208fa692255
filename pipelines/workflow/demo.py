"""`triptych demo`: every step on a generated catalogue with text, pictures and sound."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from pipelines.config import Config
from pipelines.evaluation.evaluator import EvaluateResult
from pipelines.reporting.report import MARKDOWN_FILE
from pipelines.runs.progress import console, progress, say
from pipelines.serving import query
from pipelines.workflow import full_run
from serving.client.client import Client
from serving.client.queries import Embeddings
from serving.server.server import Server, ServerOptions
from serving.server.sources import folder_source
from tfrecs import demo as generator
from tfrecs.kinds.base import Feature
from tfrecs.modalities import row
from tfrecs.reading.features import feature_for
from tfrecs.reading.reader import UserHistory, load_catalogue, load_histories
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import load_spec

NAME = "demo"
_NEIGHBOURS = 128  # items of the catalogue that a new item is compared with


@dataclass(frozen=True)
class DemoJob:
    """Arguments of `triptych demo`.

    Attributes:
      work: data, records and the run go to `<work>/demo`.
      models: the export goes to `<models>/demo`.
      config: of every step; its section `demo` has the size of the catalogue.
    """

    work: Path
    models: Path
    config: Config


@dataclass(frozen=True)
class DemoResult:
    """The results of the steps, and the seconds that all of it took."""

    result: full_run.RunResult
    seconds: float


def run(job: DemoJob) -> DemoResult:
    """Generate a catalogue, run every step on it, serve and query the model, and print where everything is."""
    started = time.monotonic()
    data = job.work / NAME / "data"
    full_run.heading(0, "Generate a catalogue")
    if not (data / "dataset.yaml").is_file():
        size = job.config.demo
        with progress("generating pictures and sound", "items") as advance:
            generator.generate(
                data,
                seed=job.config.seed,
                items=size.items,
                users=size.users,
                interactions=size.interactions,
                progress=advance,
            )
    say(f"Catalogue in {data}: have a look at images/, audio/ and items.jsonl.")
    result = full_run.run(full_run.RunJob(data, NAME, job.config, job.work, job.models))
    full_run.heading(5, "Serve and query over gRPC")
    _query(job, data, result.records)
    full_run.heading(6, "Where everything is")
    _summary(job, result, data, result.evaluation)
    seconds = time.monotonic() - started
    say(f"\nDone in {seconds / 60:.1f} minutes.")
    return DemoResult(result, seconds)


def _query(job: DemoJob, data: Path, records: Path) -> None:
    """Query the served model for a known user, a new user, a text and a new item."""
    settings = job.config.serve
    server = Server(
        folder_source(job.models / NAME),
        ServerOptions(
            host=None,
            port=0,
            poll_seconds=0,
            threads=settings.threads,
            max_message_bytes=settings.max_message_bytes,
            grace=settings.grace,
        ),
        report=say,
    )
    with server, Client(f"127.0.0.1:{server.port}", NAME, timeout=settings.timeout) as client:
        say(f"Serving {NAME} on 127.0.0.1:{server.port}.")
        manifest = Manifest.load(records)
        catalogue = load_catalogue(records, manifest)
        titles = dict(zip(catalogue.ids.tolist(), catalogue.titles.tolist(), strict=True))
        modalities = manifest.schema_.modalities
        known = _most_active(load_histories(records, manifest, "test", catalogue.ids))
        past = np.flatnonzero(~known.target)
        now = int(known.times[past[-1]]) + 3600

        say(f"\nA known user ({known.user_id}), {len(past)} events; the last three:")
        for position in past[-3:]:
            say(f"    {titles[catalogue.ids[known.items[position]]]}  (rated {known.values[position]:.0f})")
        recommendations = client.recommend(
            history_ids=catalogue.ids[known.items[past]].tolist(),
            history_values=known.values[past].tolist(),
            history_times=known.times[past].tolist(),
            now=now,
            k=5,
        )
        console.print(query.table(recommendations, titles, modalities))

        clicks = known.items[past[known.values[past] >= 4]][-2:].tolist()
        say("\nA new user after two clicks: " + ", ".join(titles[catalogue.ids[item]] for item in clicks))
        recommendations = client.recommend(
            history_ids=catalogue.ids[clicks].tolist(), history_times=[now - 60, now - 30], now=now, k=5
        )
        console.print(query.table(recommendations, titles, modalities))

        items = _complete_items(data)
        words = " ".join(items[0]["description"].split()[:8])
        say(f"\nA text query without a history: “{words}”")
        for result in client.search(words, k=5):
            say(f"    {titles[result.id]}")
        _embed_new_item(job, client, manifest, data, items)


def _embed_new_item(job: DemoJob, client: Client, manifest: Manifest, data: Path, items: list[dict[str, str]]) -> None:
    """Embed an item that the model does not know, of another seed, and print its nearest items of the catalogue."""
    with tempfile.TemporaryDirectory() as temporary:
        # About the smallest catalogue that can be generated; only its first item is used.
        other = generator.generate(
            Path(temporary) / "new", seed=job.config.seed + 1, items=60, users=20, interactions=200
        )
        new = _complete_items(other)[0]
        say(f"\nA brand-new item, from its raw text, JPEG and WAV bytes: “{new['title']}”")
        say(f"    {new['description']}")
        embedded = _embed(client, manifest, other, [new])
    known = _embed(client, manifest, data, items[:_NEIGHBOURS])
    unit, vector = normalize(known.embedding), normalize(embedded.embedding)[0]
    names = manifest.schema_.modalities
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, embedded.modality_weights[0], strict=True))
    say(f"    -> {len(vector)} dimensions, carried by {shares}; nearest of {len(unit)} items of the catalogue:")
    cosines = unit @ vector
    for position in np.argsort(-cosines)[:3]:
        say(f"    {items[position]['title']}  (cosine {cosines[position]:.2f})")


def _complete_items(data: Path) -> list[dict[str, str]]:
    """Return the items that have all of their content, in file order."""
    rows = [json.loads(line) for line in (data / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if all(row.get(key) for key in ("description", "image", "audio"))]


def _embed(client: Client, manifest: Manifest, data: Path, items: list[dict[str, str]]) -> Embeddings:
    """Embed items from raw content: the columns of the data folder, media as the bytes of their files."""
    source = load_spec(data, None).items
    assert source is not None  # the generator writes an item table
    raw: dict[str, list[Any]] = {}
    for feature in manifest.schema_.items:
        spec = source.features[feature.name]
        columns = spec.columns or [spec.column]
        cells = [[item.get(str(column)) for column in columns] for item in items]
        raw[feature.name] = [_raw(data, feature_for(feature), several) for several in cells]
    return client.embed_items(**raw)


def _raw(data: Path, feature: Feature, cells: list[Any]) -> Any:
    if row(feature.kind).from_file:
        return (data / cells[0]).read_bytes() if cells[0] else None
    if feature.raw_spec.shape.rank == 2:
        return cells[0] if isinstance(cells[0], list) else [cells[0]]
    return " ".join(cell for cell in cells if cell)


def _most_active(histories: list[UserHistory]) -> UserHistory:
    """Return the user with the most events before the test split."""
    return max(histories, key=lambda history: int((~history.target).sum()))


def _summary(job: DemoJob, result: full_run.RunResult, data: Path, evaluation: EvaluateResult) -> None:
    say(f"  catalogue   {data}")
    say(f"  records     {result.records}")
    say(f"  run         {result.run}  (tensorboard --logdir {result.run / 'logs'})")
    say(f"  report      {evaluation.folder / MARKDOWN_FILE}")
    say(f"  model       {result.export.path}")
    say("Open it in a browser (search, like, see the list change):")
    say(f"  triptych app --model {NAME} --data {data} --models {job.models} --state {job.work / NAME / 'app'}")
    say("Or serve it and query it yourself:")
    say(f"  triptych serve --models {job.models}")
    say(f'  triptych query --models {job.models} --model {NAME} --history s001,s002 --text "something quiet"')
