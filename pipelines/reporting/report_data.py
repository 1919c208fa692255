"""The content of an evaluation report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.reporting.formatting import MODEL, ORACLE, Metrics, format_number, format_ratio, value_of


@dataclass(frozen=True)
class Report:
    """What `triptych evaluate` measures.

    Attributes:
      dataset: its name.
      protocol: one sentence: how it was split, what was ranked, what was excluded.
      model: metric -> value, NaN where undefined; names as in `pipelines.scoring.metrics` and
        `pipelines.evaluation.beyond_accuracy`.
      baselines: baseline -> the same metrics on the same queries.
      intervals: of `pipelines.evaluation.systems.intervals`; empty where nothing was ranked.
      slices: part of the test split, or `without_<modality>` -> the model's metrics there, with `queries`, their number.
      ranking: label -> metrics of the ranking head, from `pipelines.evaluation.ranking_head.measure_labels`.
      oracle: metrics of the true preferences, which only generated data has.
      commands: name -> command line that produces the report again.
      versions: package -> version.
      tradeoff: rows of `pipelines.evaluation.beyond_accuracy.accuracy_diversity_curve`, `accuracy_diversity` in JSON.
      baseline_slices: baseline -> slice -> metrics, for the slices that are parts of the test split.
      patterns: rows of `pipelines.evaluation.missing_modalities.missing_content`, `missing_content` in JSON.
      exposure: `groups` (names) and `systems`, system -> share of the first positions of each group.
      modality_weights: rows of `pipelines.evaluation.exposure.modality_weights_by_group`.
      hybrid: `pipelines.hybrid.weights.HybridWeights.steps`, what each part of the hybrid score adds on the validation split.
      exploration: `rows` of `pipelines.hybrid.cold_weights.exploration_curve`, and which `explore` was `chosen`.
      sample: `requests` that were drawn `of` those of the test split, and the `seed`.
      notes: sentences on what was not measured or not on all requests, and why.
      seconds: part of the evaluation -> how long it took; not in the files, so that equal runs have equal reports.
      curve: the lines of `metrics.jsonl`, for the training plot; not in `report.json`.
    """

    dataset: str
    protocol: str
    model: Metrics
    baselines: Mapping[str, Metrics]
    slices: Mapping[str, Metrics] = field(default_factory=dict)
    ranking: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    oracle: Metrics | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tradeoff: Sequence[Metrics] = ()
    baseline_slices: Mapping[str, Mapping[str, Metrics]] = field(default_factory=dict)
    patterns: Sequence[Mapping[str, Any]] = ()
    exposure: Mapping[str, Any] = field(default_factory=dict)
    modality_weights: Sequence[Mapping[str, Any]] = ()
    hybrid: Sequence[Mapping[str, Any]] = ()
    exploration: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()


def best_baseline(report: Report, metric: str) -> tuple[str, float] | None:
    """Return the name and value of the baseline with the largest value of a metric; None where none has one."""
    known = {name: value_of(metrics, metric) for name, metrics in report.baselines.items()}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    return max(known.items(), key=lambda pair: pair[1]) if known else None


def interval_of(report: Report, system: str, metric: str) -> tuple[float, float] | None:
    """Return the bounds of the 95 % interval of a system's metric; None where it has none."""
    bounds = report.intervals.get("systems", {}).get(system, {}).get(metric)
    return None if bounds is None else (bounds[0], bounds[1])


def systems(report: Report) -> dict[str, Metrics]:
    """Return the metrics of the model, the baselines and the oracle, where there is one."""
    return {MODEL: report.model, **report.baselines, **({} if report.oracle is None else {ORACLE: report.oracle})}


def headline(report: Report) -> str:
    """Write one line with the model's Recall@20 beside that of the best baseline and, where known, the oracle."""
    value = value_of(report.model, "recall@20")
    parts = [f"{report.dataset}: Recall@20 {format_number(value)}"]
    best = best_baseline(report, "recall@20")
    if best is not None:
        parts.append(f"{format_ratio(value, best[1])} the best baseline ({best[0]}, {format_number(best[1])})")
    if report.oracle is not None:
        ceiling = value_of(report.oracle, "recall@20")
        parts.append(f"{format_ratio(value, ceiling)} the oracle ({format_number(ceiling)})")
    return ", ".join(parts)
