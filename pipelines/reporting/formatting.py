"""Numbers of a report as text, as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

MODEL, ORACLE = "model", "oracle"  # names of systems beside the baselines
UNKNOWN = "n/a"

Metrics = Mapping[str, float | int | None]


def value_of(metrics: Metrics | None, name: str) -> float:
    """Return a metric; NaN where it is missing or null."""
    value = None if metrics is None else metrics.get(name)
    return math.nan if value is None else float(value)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def format_number(value: float) -> str:
    """Write a metric with four decimals, with two from 10 on."""
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_ratio(value: float, reference: float) -> str:
    """Write how many times the reference a value is."""
    return f"{value / reference:.2f} x" if math.isfinite(value) and reference > 0 else UNKNOWN


def format_option(value: Any) -> str:
    """Write the value of a configuration option, floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table, the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def to_json(content: Mapping[str, Any]) -> str:
    """Write strict JSON, NaN and infinities as null."""
    return json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
