"""What an evaluation says, written down: `report.json` for machines, `report.md` with pictures for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines import plots
from pipelines.plots import MODEL, ORACLE, Metrics

__all__ = ["JSON_FILE", "MARKDOWN_FILE", "PLOTS_FOLDER", "Report", "headline", "report_json", "report_markdown"]
__all__ += ["summary_table", "write_report"]

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"
PLOTS_FOLDER = "plots"

_TABLE_METRICS = ("recall@5", "recall@10", "recall@20", "recall@50", "ndcg@10", "ndcg@20", "map@10", "mrr")
_TABLE_BEYOND = ("coverage@20", "diversity@20", "novelty@20", "popularity_bias@20")
_SUMMARY_METRICS = ("recall@20", "ndcg@10", "mrr", "coverage@20")
_SLICE_METRICS = ("recall@20", "ndcg@10", "mrr")
_UNKNOWN = "n/a"


@dataclass(frozen=True)
class Report:
    """Attributes:
    dataset: its name.
    protocol: one sentence: how it was split, what was ranked, what was excluded.
    model: metric name -> value; NaN where undefined. Names as in `pipelines.metrics` and `pipelines.beyond_accuracy`.
    baselines: baseline -> the same metrics on the same queries.
    slices: part of the test split, or `without_<modality>` -> the model's metrics there; may hold `queries`, a count.
    ranking: label -> `auc` and `logloss`, or `rmse`.
    oracle: metrics of the true preferences, known for generated data only.
    commands: name -> command line that produces this again.
    versions: package -> version.
    tradeoff: rows of `pipelines.tradeoff.accuracy_diversity_curve`, in `report.json` as `accuracy_diversity`.
    curve: the lines of `metrics.jsonl`, for the training picture; not part of `report.json`.
    """

    dataset: str
    protocol: str
    model: Metrics
    baselines: Mapping[str, Metrics]
    slices: Mapping[str, Metrics] = field(default_factory=dict)
    ranking: Mapping[str, Metrics] = field(default_factory=dict)
    oracle: Metrics | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tradeoff: Sequence[Metrics] = ()
    curve: Sequence[Mapping[str, Any]] = ()


def write_report(folder: Path, report: Report) -> None:
    """Writes `report.json`, `report.md` and `plots/*.png` into the folder, which is made where absent."""
    pictures = folder / PLOTS_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure in _figures(report).items():
        path = pictures / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)  # of an earlier report: it would stand beside numbers it does not show
        else:
            plots.save(figure, path)
            drawn.append(name)
    (folder / JSON_FILE).write_text(report_json(report), encoding="utf-8")
    (folder / MARKDOWN_FILE).write_text(report_markdown(report, drawn), encoding="utf-8")


_CAPTIONS = {
    "recall_at_k": "Recall by length of the list",
    "slices": "The model on parts of the test split",
    "beyond_accuracy": "Coverage, diversity, novelty and popularity bias",
    "tradeoff": "Accuracy against diversity, by the input `diversity` of `recommend`",
    "training": "Loss and validation recall by epoch",
}


def _figures(report: Report) -> dict[str, Figure | None]:
    data, model, baselines, oracle = report.dataset, report.model, report.baselines, report.oracle
    return {
        "recall_at_k": plots.recall_curves(data, model, baselines, oracle),
        "slices": plots.slice_bars(data, model, report.slices),
        "beyond_accuracy": plots.beyond_accuracy_bars(data, model, baselines, oracle),
        "tradeoff": plots.tradeoff_curve(data, report.tradeoff),
        "training": plots.training_curves(data, report.curve),
    }


def report_json(report: Report) -> str:
    """The text of `report.json`: strict JSON, NaN and infinities as null, `oracle` only where it is known."""
    content: dict[str, Any] = {
        "dataset": report.dataset,
        "protocol": report.protocol,
        "model": report.model,
        "baselines": report.baselines,
        "slices": report.slices,
        "ranking": report.ranking,
    }
    if report.oracle is not None:
        content["oracle"] = report.oracle
    if report.tradeoff:
        content["accuracy_diversity"] = list(report.tradeoff)
    content |= {"commands": report.commands, "versions": report.versions}
    return json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Nested mappings, lists and numbers, numpy's included, as what JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _value(metrics: Metrics | None, name: str) -> float:
    value = None if metrics is None else metrics.get(name)
    return math.nan if value is None else float(value)


def _text(value: float, suffix: str = "") -> str:
    if not math.isfinite(value):
        return _UNKNOWN
    return f"{value:.4f}{suffix}" if abs(value) < 10 else f"{value:.2f}{suffix}"


def _ratio(value: float, reference: float) -> str:
    return f"{value / reference:.2f} x" if math.isfinite(value) and reference > 0 else _UNKNOWN


def _best_baseline(report: Report, metric: str) -> tuple[str, float] | None:
    known = {name: _value(metrics, metric) for name, metrics in report.baselines.items()}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    return max(known.items(), key=lambda pair: pair[1]) if known else None


def _systems(report: Report) -> dict[str, Metrics]:
    return {MODEL: report.model, **report.baselines, **({} if report.oracle is None else {ORACLE: report.oracle})}


def headline(report: Report) -> str:
    """One line: the model's Recall@20, against the best baseline and, where known, the oracle."""
    value = _value(report.model, "recall@20")
    parts = [f"{report.dataset}: Recall@20 {_text(value)}"]
    best = _best_baseline(report, "recall@20")
    if best is not None:
        parts.append(f"{_ratio(value, best[1])} the best baseline ({best[0]}, {_text(best[1])})")
    if report.oracle is not None:
        ceiling = _value(report.oracle, "recall@20")
        parts.append(f"{_ratio(value, ceiling)} the oracle ({_text(ceiling)})")
    return ", ".join(parts)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _comparison(report: Report) -> str:
    systems = _systems(report)
    header = ["metric", *systems, "model / best baseline", *(["model / oracle"] if report.oracle is not None else [])]
    rows = []
    for metric in (*_TABLE_METRICS, *_TABLE_BEYOND):
        if not any(metric in metrics for metrics in systems.values()):
            continue
        value, best = _value(report.model, metric), _best_baseline(report, metric)
        # Of the beyond-accuracy metrics more is not better (random has the best coverage), so no ratio is a verdict.
        judged = metric in _TABLE_METRICS
        row = [metric, *(_text(_value(metrics, metric)) for metrics in systems.values())]
        row.append(_ratio(value, best[1]) if judged and best is not None else "")
        if report.oracle is not None:
            row.append(_ratio(value, _value(report.oracle, metric)) if judged else "")
        rows.append(row)
    return _markdown_table(header, rows)


def _slice_table(report: Report) -> str:
    header = ["slice", "queries", *_SLICE_METRICS, "recall@20 against all queries"]
    rows = []
    for name, metrics in {"all queries": report.model, **report.slices}.items():
        count = _value(metrics, "queries")
        values = [_text(_value(metrics, metric)) for metric in _SLICE_METRICS]
        ratio = _ratio(_value(metrics, "recall@20"), _value(report.model, "recall@20"))
        rows.append([name, f"{count:.0f}" if math.isfinite(count) else "", *values, ratio])
    return _markdown_table(header, rows)


def _ranking_table(report: Report) -> str:
    names = list(dict.fromkeys(name for metrics in report.ranking.values() for name in metrics))
    rows = [
        [label, *(_text(_value(metrics, name)) if name in metrics else "" for name in names)]
        for label, metrics in report.ranking.items()
    ]
    return _markdown_table(["label", *names], rows)


def _tradeoff_table(report: Report) -> str:
    names = list(report.tradeoff[0])
    return _markdown_table(
        names, [[f"{row['diversity']:g}", *(_text(_value(row, name)) for name in names[1:])] for row in report.tradeoff]
    )


def report_markdown(report: Report, drawn: Sequence[str]) -> str:
    """The text of `report.md`. `drawn`: names of the pictures that stand in `plots/`."""

    def pictures(*names: str) -> list[str]:
        return [f"![{_CAPTIONS[name]}]({PLOTS_FOLDER}/{name}.png)" for name in names if name in drawn]

    blocks = [f"# {headline(report)}", report.protocol]
    blocks += ["## Against the baselines", _comparison(report), *pictures("recall_at_k", "beyond_accuracy")]
    if report.slices:
        blocks += ["## Slices", _slice_table(report), *pictures("slices")]
    if report.ranking:
        blocks += ["## Ranking head", _ranking_table(report)]
    if report.tradeoff:
        blocks += ["## Accuracy against diversity", _tradeoff_table(report), *pictures("tradeoff")]
    if "training" in drawn:
        blocks += ["## Training", *pictures("training")]
    if report.commands:
        commands = "\n".join(f"# {name}\n{command}" for name, command in report.commands.items())
        blocks += ["## Again", f"```sh\n{commands}\n```"]
    if report.versions:
        blocks += ["Made with " + ", ".join(f"{name} {version}" for name, version in report.versions.items()) + "."]
    return "\n\n".join(blocks) + "\n"


def summary_table(report: Report) -> str:
    """Plain text for the terminal: model, baselines and oracle by `recall@20 ndcg@10 mrr coverage@20`."""
    table = Table(title=headline(report), title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for metric in _SUMMARY_METRICS:
        table.add_column(metric, justify="right")
    for name, metrics in _systems(report).items():
        table.add_row(name, *(_text(_value(metrics, metric)) for metric in _SUMMARY_METRICS))
    text = StringIO()
    # A file of fixed width: the same text whatever terminal it is made in, colour and wrapping left to the caller.
    Console(file=text, width=100, no_color=True, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n") + "\n"
