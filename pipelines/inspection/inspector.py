"""`triptych inspect`: prints what records or a SavedModel hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from pipelines.building.builder import summary
from pipelines.config import Config
from pipelines.runs.progress import console, say
from serving.wire import layout
from tfrecs.errors import DataError
from tfrecs.schema import MANIFEST_FILE, Manifest


@dataclass(frozen=True)
class InspectJob:
    """What to inspect.

    Attributes:
      what: folder of records, of a model or of one version of it.
      config: its section `inspect` is read.
      html: where to write the page, for records only; None: no page.
    """

    what: Path
    config: Config
    html: Path | None = None


def run(job: InspectJob) -> None:
    """Print what a folder of records, a model's folder or one version of it holds.

    Raises:
      DataError: the path is none of these.
    """
    if (job.what / MANIFEST_FILE).is_file():
        _records(job)
        return
    if job.html is not None:
        raise DataError(f"{job.what}: --html shows records, and these are none (no {MANIFEST_FILE})")
    version = job.what if (job.what / "saved_model.pb").is_file() else job.what / str(layout.latest_version(job.what))
    if not (version / "saved_model.pb").is_file():
        raise DataError(f"{job.what}: neither records (no {MANIFEST_FILE}) nor a SavedModel")
    _saved_model(version)


def _records(job: InspectJob) -> None:
    from pipelines.inspection.item_page import page
    from pipelines.inspection.record_warnings import (  # TensorFlow, not needed for a SavedModel
        find_warnings,
        read_sample,
    )

    manifest = Manifest.load(job.what)
    _counts(manifest, job.what)
    sample = read_sample(job.what, manifest, job.config.inspect.sample)
    warnings = find_warnings(job.what, manifest, sample, job.config.inspect)
    for line in warnings:
        say(f"warning: {line}")
    if not warnings:
        say("no warnings")
    if job.html is not None:
        rows = np.unique(np.linspace(0, len(sample.ids) - 1, job.config.inspect.shown).round().astype(int))
        shown = [sample.item(int(row)) for row in rows]
        job.html.parent.mkdir(parents=True, exist_ok=True)
        job.html.write_text(page(manifest, warnings, shown, manifest.train_counts), encoding="utf-8")
        say(f"{len(shown)} items with their features: {job.html}")


def _counts(manifest: Manifest, folder: Path) -> None:
    say(summary(manifest, folder))
    schema = manifest.schema_
    features = Table(box=None, header_style="dim")
    for header in ("feature", "kind", "of", "coverage", "parameters"):
        features.add_column(header)
    for owner, rows in (("item", schema.items), ("user", schema.users)):
        for row in rows:
            share = manifest.coverage.get(row.name) if owner == "item" else None
            shown = {
                key: value if not isinstance(value, list) else f"{len(value)} values"
                for key, value in row.params.items()
            }
            features.add_row(row.name, row.kind, owner, "" if share is None else f"{share:.1%}", json.dumps(shown))
    if features.row_count:
        console.print(features)
    splits = Table(box=None, header_style="dim")
    query_header = ["with query"] if schema.has_queries else []
    for header in ("split", "users", "events", *query_header, "examples", "shards"):
        splits.add_column(header, justify="left" if header == "split" else "right")
    for name, split in manifest.splits.items():
        queries = [f"{split.queries:,}"] if schema.has_queries else []
        counts = [f"{split.users:,}", f"{split.events:,}", *queries, f"{split.examples:,}", str(len(split.shards))]
        splits.add_row(name, *counts)
    console.print(splits)
    labels = ", ".join(f"{label.name} ({label.task})" for label in schema.labels) or "none"
    context = ", ".join(f"{row.name} ({row.source})" for row in schema.context) or "none"
    say(f"labels: {labels}; context: {context}; {manifest.cold_items:,} items without a training event")
    for entry in manifest.history:
        events = ", ".join(f"{name} {count:,}" for name, count in entry.events.items())
        when = f" {entry.at}" if entry.at else ""
        say(f"{entry.action}{when}: {entry.items:,} items, {entry.users:,} users, events {events}")


def _saved_model(version: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import dtypes

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((version / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0]
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) / 1e6
    say(f"{version}: {size:.1f} MB, tags {', '.join(graph.meta_info_def.tags)}")
    signatures = Table(box=None, header_style="dim")
    for header in ("signature", "inputs", "outputs"):
        signatures.add_column(header, overflow="fold")

    def shown(tensors: dict) -> str:
        parts = []
        for name, info in sorted(tensors.items()):
            shape = ", ".join("?" if size.size < 0 else str(size.size) for size in info.tensor_shape.dim)
            parts.append(f"{name} {dtypes.as_dtype(info.dtype).name} [{shape}]")
        return "\n".join(parts)

    for name, signature in sorted(graph.signature_def.items()):
        if not name.startswith("__"):
            signatures.add_row(name, shown(dict(signature.inputs)), shown(dict(signature.outputs)))
    console.print(signatures)
    description = version / layout.EXTRA_FOLDER / layout.DESCRIPTION_FILE
    if description.is_file():
        facts = json.loads(description.read_text(encoding="utf-8"))
        say(
            f"{facts['items']:,} items, scanned in {facts.get('index_dtype', 'float32')}; "
            f"modalities: {', '.join(facts['modalities']) or 'none'}; contract {facts.get('contract', 1)}"
        )
    measured = version / layout.EXTRA_FOLDER / layout.GATE_FILE
    if measured.is_file():
        gate = json.loads(measured.read_text(encoding="utf-8"))
        say(
            f"gate: {gate['requests']} requests as in Python, loaded in {gate['load_seconds']:.1f} s, "
            f"p50 {gate['p50_ms']:.1f} ms, p99 {gate['p99_ms']:.1f} ms"
        )
