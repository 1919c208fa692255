"""The files of an evaluation report: `report.json` for machines, `report.md` with plots for people."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.reporting import markdown, plots, plots_content, plots_learning
from pipelines.reporting.formatting import format_number, to_json, value_of
from pipelines.reporting.plots_style import save
from pipelines.reporting.report_data import Report, headline, systems

__all__ = ["JSON_FILE", "MARKDOWN_FILE", "PLOTS_FOLDER", "Report", "headline", "report_json", "summary_table"]
__all__ += ["write_report"]

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"
PLOTS_FOLDER = "plots"

_SUMMARY_METRICS = ("recall@20", "ndcg@10", "mrr", "coverage@20")


def write_report(folder: Path, report: Report) -> None:
    """Write `report.json`, `report.md` and `plots/*.png` into a folder, which is made where it is missing."""
    drawn = write_plots(folder / PLOTS_FOLDER, _figures(report))
    (folder / JSON_FILE).write_text(report_json(report), encoding="utf-8")
    (folder / MARKDOWN_FILE).write_text(markdown.report_markdown(report, drawn, PLOTS_FOLDER), encoding="utf-8")


def write_plots(folder: Path, figures: Mapping[str, Figure | None]) -> list[str]:
    """Write each figure as `<name>.png` and delete the plots of an earlier report.

    Returns:
      Names of the figures that are not None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()
    drawn = []
    for name, figure in figures.items():
        if figure is not None:
            save(figure, folder / f"{name}.png")
            drawn.append(name)
    return drawn


def _figures(report: Report) -> dict[str, Figure | None]:
    data, model, baselines, oracle = report.dataset, report.model, report.baselines, report.oracle
    exposure = report.exposure
    return {
        "accuracy": plots.accuracy_curves(data, model, baselines, oracle, report.intervals.get("systems", {})),
        "slices": plots.slice_bars(data, model, report.slices),
        "warm_cold": plots.part_bars(data, report.slices, report.baseline_slices),
        "missing_content": plots_content.pattern_bars(data, report.patterns),
        "modality_weights": plots_content.weight_bars(data, report.modality_weights),
        "beyond_accuracy": plots.beyond_accuracy_bars(data, model, baselines, oracle),
        "exposure": plots.exposure_curves(data, exposure["groups"], exposure["systems"]) if exposure else None,
        "reliability": plots_learning.reliability_diagram(data, report.ranking),
        "tradeoff": plots.tradeoff_curve(data, report.tradeoff),
        "exploration": plots_content.exploration_curve(data, report.exploration),
        "training": plots_learning.training_curves(data, report.curve),
    }


def report_json(report: Report) -> str:
    """Write the text of `report.json`; parts that were not measured are left out."""
    content: dict[str, Any] = {
        "dataset": report.dataset,
        "protocol": report.protocol,
        "model": report.model,
        "baselines": report.baselines,
        "slices": report.slices,
        "ranking": report.ranking,
    }
    optional: dict[str, Any] = {
        "notes": report.notes,
        "sample": report.sample,
        "intervals": report.intervals,
        "oracle": report.oracle,
        "accuracy_diversity": report.tradeoff,
        "baseline_slices": report.baseline_slices,
        "missing_content": report.patterns,
        "modality_weights": report.modality_weights,
        "exposure": report.exposure,
        "hybrid": report.hybrid,
        "exploration": report.exploration,
    }
    content |= {name: value for name, value in optional.items() if value}
    content |= {"commands": report.commands, "versions": report.versions}
    return to_json(content)


def summary_table(report: Report) -> str:
    """Write a table for the terminal: model, baselines and oracle by `recall@20 ndcg@10 mrr coverage@20`."""
    table = Table(title=headline(report), title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for metric in _SUMMARY_METRICS:
        table.add_column(metric, justify="right")
    for name, metrics in systems(report).items():
        table.add_row(name, *(format_number(value_of(metrics, metric)) for metric in _SUMMARY_METRICS))
    lines = StringIO()
    # Of fixed width, so that the text does not depend on the terminal.
    Console(file=lines, width=100, no_color=True, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines()).strip("\n") + "\n"
