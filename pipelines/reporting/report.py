"""What an evaluation says, written down: `report.json` for machines, `report.md` with pictures for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.reporting import markdown as report_markdown
from pipelines.reporting import plots, plots_content, plots_learning
from pipelines.reporting.plots_style import save
from pipelines.reporting.report_data import Report, headline, systems, text, value_of

__all__ = ["JSON_FILE", "MARKDOWN_FILE", "PLOTS_FOLDER", "Report", "headline", "report_json", "summary_table"]
__all__ += ["write_report"]

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"
PLOTS_FOLDER = "plots"

_SUMMARY_METRICS = ("recall@20", "ndcg@10", "mrr", "coverage@20")


def write_report(folder: Path, report: Report) -> None:
    """Writes `report.json`, `report.md` and `plots/*.png` into the folder, which is made where absent."""
    drawn = write_pictures(folder / PLOTS_FOLDER, _figures(report))
    (folder / JSON_FILE).write_text(report_json(report), encoding="utf-8")
    markdown = report_markdown.report_markdown(report, drawn, PLOTS_FOLDER)
    (folder / MARKDOWN_FILE).write_text(markdown, encoding="utf-8")


def write_pictures(folder: Path, figures: Mapping[str, Figure | None]) -> list[str]:
    """Writes name -> figure as `<name>.png`, nothing for None; pictures of an earlier report go. Names of what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()  # it would stand beside numbers it does not show
    drawn = []
    for name, figure in figures.items():
        if figure is not None:
            save(figure, folder / f"{name}.png")
            drawn.append(name)
    return drawn


def _figures(report: Report) -> dict[str, Figure | None]:
    data, model, baselines, oracle = report.dataset, report.model, report.baselines, report.oracle
    shown = report.exposure
    return {
        "accuracy": plots.accuracy_curves(data, model, baselines, oracle),
        "slices": plots.slice_bars(data, model, report.slices),
        "warm_cold": plots.part_bars(data, report.slices, report.baseline_slices),
        "missing_content": plots_content.pattern_bars(data, report.patterns),
        "modality_weights": plots_content.weight_bars(data, report.modality_weights),
        "beyond_accuracy": plots.beyond_accuracy_bars(data, model, baselines, oracle),
        "exposure": plots.exposure_curves(data, shown["groups"], shown["systems"]) if shown else None,
        "reliability": plots_learning.reliability_diagram(data, report.ranking),
        "tradeoff": plots.tradeoff_curve(data, report.tradeoff),
        "training": plots_learning.training_curves(data, report.curve),
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
    optional: dict[str, Any] = {
        "oracle": report.oracle,
        "accuracy_diversity": report.tradeoff,
        "baseline_slices": report.baseline_slices,
        "missing_content": report.patterns,
        "modality_weights": report.modality_weights,
        "exposure": report.exposure,
        "hybrid": report.hybrid,
    }
    content |= {name: value for name, value in optional.items() if value}
    content |= {"commands": report.commands, "versions": report.versions}
    return json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Nested mappings, sequences and numbers, numpy's included, as what JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def summary_table(report: Report) -> str:
    """Plain text for the terminal: model, baselines and oracle by `recall@20 ndcg@10 mrr coverage@20`."""
    table = Table(title=headline(report), title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for metric in _SUMMARY_METRICS:
        table.add_column(metric, justify="right")
    for name, metrics in systems(report).items():
        table.add_row(name, *(text(value_of(metrics, metric)) for metric in _SUMMARY_METRICS))
    lines = StringIO()
    # A file of fixed width: the same text whatever terminal it is made in, colour and wrapping left to the caller.
    Console(file=lines, width=100, no_color=True, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines()).strip("\n") + "\n"
