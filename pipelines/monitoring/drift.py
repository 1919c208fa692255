"""`triptych monitor`: has what happens drifted away from what the model was trained on? No TensorFlow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.table import Table

from pipelines.config import Config
from pipelines.config.running import MonitorConfig
from pipelines.runs.progress import console, say
from pipelines.webapp.wiring import EVENTS_FOLDER, SERVED_FOLDER
from serving.app.store import event_log as eventlog
from serving.app.store import served
from serving.wire import layout
from serving.wire.layout import ItemFacts
from tfrecs.errors import DataError
from tfrecs.spec.dataset_yaml import SPEC_FILE


@dataclass(frozen=True)
class MonitorJob:
    """`state`: the folder of `triptych app`; `models`, `model`: as there. Its section `monitor` is read."""

    state: Path
    models: Path
    model: str
    config: Config
    as_json: bool = False


@dataclass(frozen=True)
class Finding:
    """One measure of drift.

    Attributes:
      name: of the measure.
      value: what was found; None: too little to go by.
      bound: what it is held to, and from which side ("at least", "at most").
      counted: how many lists or events it stands on.
    """

    name: str
    value: float | None
    side: str
    bound: float
    counted: int

    @property
    def crossed(self) -> bool:
        if self.value is None:
            return False
        return self.value < self.bound if self.side == "at least" else self.value > self.bound


@dataclass(frozen=True)
class MonitorResult:
    findings: tuple[Finding, ...]

    @property
    def drifted(self) -> bool:
        return any(finding.crossed for finding in self.findings)


def run(job: MonitorJob) -> MonitorResult:
    """Measures the last days and prints what it found.

    Raises:
      DataError: there is no such model, it does not tell of its items, or nobody has used the app yet.
    """
    settings = job.config.monitor
    version = layout.latest_version(job.models / job.model)
    facts = layout.item_facts(job.models / job.model / str(version)) if version else None
    if facts is None:
        raise DataError(
            f"{job.models / job.model}: no export there that tells of its items; export it (triptych export)"
        )
    spec_file = job.state / EVENTS_FOLDER / SPEC_FILE
    if not spec_file.is_file():
        raise DataError(f"{job.state}: nothing of an app there; name the --state folder of triptych app")
    names = yaml.safe_load(spec_file.read_text(encoding="utf-8"))["interactions"]
    since = time.time() - settings.days * 86400
    shown = [row for row in read_lines(job.state / SERVED_FOLDER, served.PATTERN) if row.get("time", 0) >= since]
    events = read_lines(job.state / EVENTS_FOLDER, eventlog.PATTERN)
    time_column = names.get("time")
    if time_column:
        events = [row for row in events if (row.get(time_column) or 0) >= since]
    result = MonitorResult(measure(shown, events, names["item"], facts, settings))
    if job.as_json:
        rows = [{**vars(finding), "crossed": finding.crossed} for finding in result.findings]
        say(json.dumps({"drifted": result.drifted, "version": version, "findings": rows}))
    else:
        console.print(_table(result.findings))
    return result


def measure(
    shown: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    item_column: str,
    facts: ItemFacts,
    settings: MonitorConfig,
) -> tuple[Finding, ...]:
    """The measures, of lists that were shown and of events.

    Click-through is the share of lists that a click, like or rating came back from. Coverage is the share of the
    catalogue that was shown. The embedding shift is the squared distance between the mean embedding of the events' items
    and that of the training events, over the variance of the latter: 0 for the same taste, 1 for a mean that is as far
    away as a training event is on average. The modality shift is the total variation distance between the mean modality
    weights of the two, 0 to 1. Unknown items: of the events, the share that the model does not know.

    Args:
      shown: rows of the log of lists.
      events: rows of the log of events.
      item_column: the events' column of item ids.
      facts: of the export; its counts are those of the training manifest.
      settings: bounds, and below how many lists or events nothing is said.
    """
    position = {item: row for row, item in enumerate(facts.ids.tolist())}
    answered = {row.get("_list") for row in events if row.get("_event") in ("click", "like", "rating")} - {"", None}
    lists = [row for row in shown if row.get("items")]
    seen = {item for row in lists for item in row["items"] if item in position}
    known = [position[row[item_column]] for row in events if row.get(item_column) in position]
    enough_lists, enough_events = len(lists) >= settings.least_lists, len(known) >= settings.least_events
    click_through = sum(row["list"] in answered for row in lists) / len(lists) if enough_lists else None
    coverage = len(seen) / len(position) if enough_lists else None
    embedding = embedding_shift(facts, known) if enough_events else None
    modality = modality_shift(facts, known) if enough_events else None
    unknown = 1 - len(known) / len(events) if len(events) >= settings.least_events else None
    return (
        Finding("click-through", click_through, "at least", settings.least_click_through, len(lists)),
        Finding("coverage", coverage, "at least", settings.least_coverage, len(lists)),
        Finding("embedding shift", embedding, "at most", settings.most_embedding_shift, len(known)),
        Finding("modality shift", modality, "at most", settings.most_modality_shift, len(known)),
        Finding("unknown items", unknown, "at most", settings.most_unknown, len(events)),
    )


def embedding_shift(facts: ItemFacts, rows: Sequence[int]) -> float:
    """See `measure`. `rows`: the item of each event."""
    vectors, weight = facts.vectors.astype(np.float64), _training_weight(facts)
    mean = weight @ vectors
    spread = float(weight @ ((vectors - mean) ** 2).sum(axis=1))
    distance = float(((vectors[list(rows)].mean(axis=0) - mean) ** 2).sum())
    return distance / spread if spread > 0 else 0.0


def modality_shift(facts: ItemFacts, rows: Sequence[int]) -> float:
    """See `measure`. `rows`: the item of each event."""
    weights = facts.weights.astype(np.float64)
    return float(np.abs(weights[list(rows)].mean(axis=0) - _training_weight(facts) @ weights).sum() / 2)


def _training_weight(facts: ItemFacts) -> np.ndarray:
    """float [N], the share of each item in the training events; of a model without any, all alike."""
    counts = facts.counts.astype(np.float64)
    return counts / counts.sum() if counts.sum() else np.full(len(counts), 1 / len(counts))


def read_lines(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """The JSON objects in the files of a log; half a line of a killed process is none."""
    return [row for path in sorted(folder.glob(pattern)) for row in _objects(path.read_bytes().splitlines())]


def _objects(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # nothing but a killed process leaves one
        if isinstance(row, dict):
            yield row


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("measure", "found", "bound", "of", ""):
        table.add_column(header, justify="right" if header in ("found", "of") else "left")
    for one in findings:
        found = "too little yet" if one.value is None else f"{one.value:.4f}"
        verdict = "DRIFTED" if one.crossed else ""
        table.add_row(one.name, found, f"{one.side} {one.bound:g}", f"{one.counted:,}", verdict)
    return table
