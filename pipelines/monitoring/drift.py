"""`triptych monitor`: compare recent recommendations and events with the data that the model was trained on.

It imports no TensorFlow.
"""

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
from pipelines.webapp.wiring import EVENTS_FOLDER, IMPRESSIONS_FOLDER
from serving.app.store import event_log, impression_log
from serving.wire import layout
from serving.wire.layout import ItemFacts
from tfrecs.errors import DataError
from tfrecs.spec.dataset_yaml import SPEC_FILE


@dataclass(frozen=True)
class MonitorJob:
    """Arguments of `triptych monitor`.

    Attributes:
      state: the folder of `triptych app`.
      models: the folder with exported models.
      model: its name there.
      config: its section `monitor` is read.
      as_json: print one line of JSON instead of a table.
    """

    state: Path
    models: Path
    model: str
    config: Config
    as_json: bool = False


@dataclass(frozen=True)
class DriftMeasure:
    """A measure of drift.

    Attributes:
      name: of the measure.
      value: its value; None where there is too little data.
      side: of the bound on which the value should be, "at least" or "at most".
      bound: from the configuration.
      counted: how many lists or events it was computed from.
    """

    name: str
    value: float | None
    side: str
    bound: float
    counted: int

    @property
    def crossed(self) -> bool:
        """Whether the value is beyond its bound."""
        if self.value is None:
            return False
        return self.value < self.bound if self.side == "at least" else self.value > self.bound


@dataclass(frozen=True)
class MonitorResult:
    """The measures of one run of the command."""

    measures: tuple[DriftMeasure, ...]

    @property
    def drifted(self) -> bool:
        """Whether any measure is beyond its bound."""
        return any(measure.crossed for measure in self.measures)


def run(job: MonitorJob) -> MonitorResult:
    """Measure the drift of the last days and print it.

    Raises:
      DataError: there is no such model, it was exported without its items, or nobody has used the app yet.
    """
    settings = job.config.monitor
    version = layout.latest_version(job.models / job.model)
    facts = layout.item_facts(job.models / job.model / str(version)) if version else None
    if facts is None:
        raise DataError(f"{job.models / job.model}: no export with its items there; export it (triptych export)")
    spec_file = job.state / EVENTS_FOLDER / SPEC_FILE
    if not spec_file.is_file():
        raise DataError(f"{job.state}: nothing of an app there; name the --state folder of triptych app")
    names = yaml.safe_load(spec_file.read_text(encoding="utf-8"))["interactions"]
    since = time.time() - settings.days * 86400
    impressions = read_lines(job.state / IMPRESSIONS_FOLDER, impression_log.PATTERN)
    impressions = [row for row in impressions if row.get("time", 0) >= since]
    events = read_lines(job.state / EVENTS_FOLDER, event_log.PATTERN)
    time_column = names.get("time")
    if time_column:
        events = [row for row in events if (row.get(time_column) or 0) >= since]
    result = MonitorResult(measure_drift(impressions, events, names["item"], facts, settings))
    if job.as_json:
        rows = [{**vars(measure), "crossed": measure.crossed} for measure in result.measures]
        say(json.dumps({"drifted": result.drifted, "version": version, "findings": rows}))
    else:
        console.print(_table(result.measures))
    return result


def measure_drift(
    impressions: Sequence[dict[str, Any]],
    events: Sequence[dict[str, Any]],
    item_column: str,
    facts: ItemFacts,
    settings: MonitorConfig,
) -> tuple[DriftMeasure, ...]:
    """Compute every measure from logged lists and events.

    - click-through: share of lists with a click, like or rating;
    - coverage: share of the catalogue that was recommended;
    - embedding shift: see `embedding_shift`;
    - modality shift: see `modality_shift`;
    - unknown items: share of events with an item that the model does not know.

    Args:
      impressions: rows of the log of recommendation lists.
      events: rows of the log of events.
      item_column: the events' column of item ids.
      facts: the export's items; their counts are those of the training manifest.
      settings: bounds, and how many lists or events a measure needs.
    """
    position = {item: row for row, item in enumerate(facts.ids.tolist())}
    answered = {row.get("_list") for row in events if row.get("_event") in ("click", "like", "rating")} - {"", None}
    lists = [row for row in impressions if row.get("items")]
    recommended = {item for row in lists for item in row["items"] if item in position}
    known = [position[row[item_column]] for row in events if row.get(item_column) in position]
    enough_lists, enough_events = len(lists) >= settings.least_lists, len(known) >= settings.least_events
    click_through = sum(row["list"] in answered for row in lists) / len(lists) if enough_lists else None
    coverage = len(recommended) / len(position) if enough_lists else None
    embedding = embedding_shift(facts, known) if enough_events else None
    modality = modality_shift(facts, known) if enough_events else None
    unknown = 1 - len(known) / len(events) if len(events) >= settings.least_events else None
    return (
        DriftMeasure("click-through", click_through, "at least", settings.least_click_through, len(lists)),
        DriftMeasure("coverage", coverage, "at least", settings.least_coverage, len(lists)),
        DriftMeasure("embedding shift", embedding, "at most", settings.most_embedding_shift, len(known)),
        DriftMeasure("modality shift", modality, "at most", settings.most_modality_shift, len(known)),
        DriftMeasure("unknown items", unknown, "at most", settings.most_unknown, len(events)),
    )


def embedding_shift(facts: ItemFacts, rows: Sequence[int]) -> float:
    """Return how far the events' mean embedding is from that of the training events.

    Args:
      facts: the export's items.
      rows: the item of each event.

    Returns:
      The squared distance over the variance of the training events: 0 for the same mean, 1 for a mean that is as far
      away as a training event is on average.
    """
    vectors, weight = facts.vectors.astype(np.float64), _training_weight(facts)
    mean = weight @ vectors
    spread = float(weight @ ((vectors - mean) ** 2).sum(axis=1))
    distance = float(((vectors[list(rows)].mean(axis=0) - mean) ** 2).sum())
    return distance / spread if spread > 0 else 0.0


def modality_shift(facts: ItemFacts, rows: Sequence[int]) -> float:
    """Return the total variation distance between mean modality weights of the events and of the training events.

    Args:
      facts: the export's items.
      rows: the item of each event.

    Returns:
      0 for the same weights, 1 at most.
    """
    weights = facts.weights.astype(np.float64)
    return float(np.abs(weights[list(rows)].mean(axis=0) - _training_weight(facts) @ weights).sum() / 2)


def _training_weight(facts: ItemFacts) -> np.ndarray:
    """Return the share of each item in the training events, float [N]; uniform where there are none."""
    counts = facts.counts.astype(np.float64)
    return counts / counts.sum() if counts.sum() else np.full(len(counts), 1 / len(counts))


def read_lines(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Read the JSON objects in the files of a log; an incomplete line is skipped."""
    return [row for path in sorted(folder.glob(pattern)) for row in _objects(path.read_bytes().splitlines())]


def _objects(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed
        if isinstance(row, dict):
            yield row


def _table(measures: Sequence[DriftMeasure]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("measure", "value", "bound", "of", ""):
        table.add_column(header, justify="right" if header in ("value", "of") else "left")
    for measure in measures:
        value = "too little yet" if measure.value is None else f"{measure.value:.4f}"
        verdict = "DRIFTED" if measure.crossed else ""
        table.add_row(measure.name, value, f"{measure.side} {measure.bound:g}", f"{measure.counted:,}", verdict)
    return table
