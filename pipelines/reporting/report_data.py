"""What a report holds, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.reporting.plots_style import MODEL, ORACLE, Metrics

UNKNOWN = "n/a"


@dataclass(frozen=True)
class Report:
    """Attributes:
    dataset: its name.
    protocol: one sentence: how it was split, what was ranked, what was excluded.
    model: metric name -> value; NaN where undefined. Names as in `pipelines.scoring.metrics` and `pipelines.evaluation.beyond_accuracy`.
    baselines: baseline -> the same metrics on the same queries.
    slices: part of the test split, or `without_<modality>` -> the model's metrics there; may hold `queries`, a count.
    ranking: label -> metrics of the ranking head, as of `pipelines.evaluation.label_metrics.measure`.
    oracle: metrics of the true preferences, known for generated data only.
    commands: name -> command line that produces this again.
    versions: package -> version.
    tradeoff: rows of `pipelines.evaluation.diversity_curve.accuracy_diversity_curve`, in `report.json` as `accuracy_diversity`.
    baseline_slices: baseline -> slice -> metrics, for the slices that are parts of the test split.
    patterns: rows of `pipelines.evaluation.missing_modalities.missing_patterns`, in `report.json` as `missing_content`.
    exposure: `groups` (names) and `systems`, system -> share of the first places that each group gets.
    modality_weights: rows of `pipelines.evaluation.exposure.weight_groups`.
    hybrid: `pipelines.item_item.weights.Blend.steps`, what each part of the hybrid score adds on the validation split.
    curve: the lines of `metrics.jsonl`, for the training picture; not part of `report.json`.
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
    curve: Sequence[Mapping[str, Any]] = ()


def value_of(metrics: Metrics | None, name: str) -> float:
    """NaN where it is missing or null."""
    value = None if metrics is None else metrics.get(name)
    return math.nan if value is None else float(value)


def text(value: float, suffix: str = "") -> str:
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:.4f}{suffix}" if abs(value) < 10 else f"{value:.2f}{suffix}"


def ratio(value: float, reference: float) -> str:
    return f"{value / reference:.2f} x" if math.isfinite(value) and reference > 0 else UNKNOWN


def best_baseline(report: Report, metric: str) -> tuple[str, float] | None:
    known = {name: value_of(metrics, metric) for name, metrics in report.baselines.items()}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    return max(known.items(), key=lambda pair: pair[1]) if known else None


def systems(report: Report) -> dict[str, Metrics]:
    return {MODEL: report.model, **report.baselines, **({} if report.oracle is None else {ORACLE: report.oracle})}


def headline(report: Report) -> str:
    """One line: the model's Recall@20, against the best baseline and, where known, the oracle."""
    value = value_of(report.model, "recall@20")
    parts = [f"{report.dataset}: Recall@20 {text(value)}"]
    best = best_baseline(report, "recall@20")
    if best is not None:
        parts.append(f"{ratio(value, best[1])} the best baseline ({best[0]}, {text(best[1])})")
    if report.oracle is not None:
        ceiling = value_of(report.oracle, "recall@20")
        parts.append(f"{ratio(value, ceiling)} the oracle ({text(ceiling)})")
    return ", ".join(parts)
