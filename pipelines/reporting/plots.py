"""Plots of the recommendations: one function each, from metrics to a matplotlib figure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.reporting.formatting import MODEL, ORACLE, Metrics, value_of
from pipelines.reporting.plots_style import (
    GRID_COLOUR,
    LIGHT_COLOUR,
    MODEL_COLOUR,
    MODEL_LINE,
    ORACLE_COLOUR,
    QUIET_COLOUR,
    bars,
    clean,
    legend_beside,
    line_style,
    new_figure,
    panel_grid,
    reference_line,
)

__all__ = ["accuracy_curves", "beyond_accuracy_bars", "exposure_curves", "labelled_points", "part_bars", "slice_bars"]
__all__ += ["tradeoff_curve"]


def accuracy_curves(
    dataset: str,
    model: Metrics,
    baselines: Mapping[str, Metrics],
    oracle: Metrics | None,
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
) -> Figure | None:
    """Plot Recall@k (left) and NDCG@k (right) against k, a line for each system, in a band where there are intervals.

    Args:
      dataset: its name.
      model, baselines, oracle: metrics.
      intervals: system -> metric -> bounds.

    Returns:
      None where the model has no recall.
    """
    cutoffs = sorted(int(match[1]) for name in model if (match := re.fullmatch(r"recall@(\d+)", name)))
    if not cutoffs:
        return None
    figure = new_figure(10.5, 4.4, f"{dataset}: accuracy by length of the list")
    panels = panel_grid(figure, 2, 2)
    for axes, metric, title in zip(panels, ("recall", "ndcg"), ("Recall@k", "NDCG@k"), strict=True):

        def line(name: str, metrics: Metrics, axes: Any = axes, metric: str = metric, **style: Any) -> None:
            (drawn,) = axes.plot(cutoffs, [value_of(metrics, f"{metric}@{k}") for k in cutoffs], **style)
            bounds = [intervals.get(name, {}).get(f"{metric}@{k}", (math.nan, math.nan)) for k in cutoffs]
            if name in intervals:
                axes.fill_between(cutoffs, *zip(*bounds, strict=True), color=drawn.get_color(), alpha=0.12, linewidth=0)

        if oracle is not None:
            line(ORACLE, oracle, label="oracle (ceiling)", color=ORACLE_COLOUR, linestyle="--", linewidth=1.5)
        line(MODEL, model, label=MODEL, **MODEL_LINE)
        for index, (name, metrics) in enumerate(baselines.items()):
            line(name, metrics, label=name, **line_style(index))
        axes.set(xlabel="k (length of the list)", ylabel=title)
        axes.set_xticks(cutoffs)
        axes.set_ylim(bottom=0)
        clean(axes, "both")
    legend_beside(panels[1])
    return figure


def slice_bars(dataset: str, model: Metrics, slices: Mapping[str, Metrics]) -> Figure | None:
    """Plot Recall@20 and NDCG@10 of the model on each slice, all queries as a dashed line; None without slices."""
    if not slices:
        return None
    names = ["all queries", *(name.replace("_", " ") for name in slices)]
    figure = new_figure(9.0, 1.5 + 0.38 * len(names), f"{dataset}: the model on parts of the test split")
    left, right = panel_grid(figure, 2, 2, sharey=True)
    for axes, metric, title in ((left, "recall@20", "Recall@20"), (right, "ndcg@10", "NDCG@10")):
        values = [value_of(model, metric), *(value_of(metrics, metric) for metrics in slices.values())]
        bars(axes, names, values, [MODEL_COLOUR, *[LIGHT_COLOUR] * len(slices)], digits=3)
        reference_line(axes, values[0])
        axes.set_xlabel(title)
    return figure


def part_bars(
    dataset: str, slices: Mapping[str, Metrics], baselines: Mapping[str, Mapping[str, Metrics]]
) -> Figure | None:
    """Plot Recall@20 of every system on warm items, cold items and cold users.

    Args:
      dataset: its name.
      slices: slice -> metrics of the model.
      baselines: baseline -> slice -> metrics.

    Returns:
      None where no baseline was measured on a slice.
    """
    parts = list(dict.fromkeys(part for of in baselines.values() for part in of if part in slices))
    if not parts:
        return None
    names = [MODEL, *baselines]
    figure = new_figure(1.6 + 3.0 * len(parts), 2.2 + 0.34 * len(names), f"{dataset}: warm and cold")
    for axes, part in zip(panel_grid(figure, len(parts), len(parts), sharey=True), parts, strict=True):
        values = [
            value_of(slices[part], "recall@20"),
            *(value_of(of.get(part, {}), "recall@20") for of in baselines.values()),
        ]
        bars(axes, names, values, [MODEL_COLOUR, *[QUIET_COLOUR] * len(baselines)], digits=3)
        count = value_of(slices[part], "queries")
        axes.set_title(
            part.replace("_", " ") + (f" ({count:,.0f} queries)" if math.isfinite(count) else ""), fontsize=11
        )
        axes.set_xlabel("Recall@20")
    return figure


_BEYOND = (
    ("coverage@20", "Coverage@20", "share of the catalogue recommended", 3),
    ("diversity@20", "Diversity@20", "1 - mean cosine within a list", 3),
    ("novelty@20", "Novelty@20", "bits of self-information", 2),
    ("popularity_bias@20", "Popularity bias@20", "recommended / chosen, 1 = unbiased", 2),
)


def beyond_accuracy_bars(
    dataset: str, model: Metrics, baselines: Mapping[str, Metrics], oracle: Metrics | None
) -> Figure | None:
    """Plot coverage, diversity, novelty and popularity bias of every system, a panel each; None without any."""
    systems: dict[str, Metrics] = {MODEL: model, **baselines, **({} if oracle is None else {ORACLE: oracle})}
    panels = [panel for panel in _BEYOND if any(panel[0] in metrics for metrics in systems.values())]
    if not panels:
        return None
    colours = [MODEL_COLOUR, *[QUIET_COLOUR] * len(baselines), ORACLE_COLOUR][: len(systems)]
    figure = new_figure(10.0, 1.6 + 0.6 * len(systems), f"{dataset}: beyond accuracy")
    grid = panel_grid(figure, len(panels), 2, sharey=True)
    for axes, (metric, title, unit, digits) in zip(grid, panels, strict=True):
        bars(axes, list(systems), [value_of(metrics, metric) for metrics in systems.values()], colours, digits)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(unit)
        if metric.startswith("popularity_bias"):
            reference_line(axes, 1.0)
    return figure


def exposure_curves(dataset: str, groups: Sequence[str], exposure: Mapping[str, Sequence[float]]) -> Figure | None:
    """Plot the share of the first positions that each group of items gets, a line for each system.

    Args:
      dataset: its name.
      groups: names of the groups, least popular first.
      exposure: system -> share of each group; `chosen` has the groups' shares of the targets.

    Returns:
      None without any system.
    """
    if not exposure:
        return None
    figure = new_figure(9.0, 4.4, f"{dataset}: exposure by popularity in training")
    axes = figure.add_subplot()
    positions = range(len(groups))
    styles = map(line_style, itertools.count())
    for name, shares in exposure.items():
        if name == "chosen":
            axes.bar(positions, list(shares), color=GRID_COLOUR, width=0.8, label="chosen (test targets)", zorder=0)
        else:
            axes.plot(positions, list(shares), label=name, **(MODEL_LINE if name == MODEL else next(styles)))
    axes.set_xticks(positions, groups, rotation=30, ha="right", fontsize=9)
    axes.set_ylabel("share of the first 20 positions")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(bottom=0)
    clean(axes, "y")
    legend_beside(axes)
    return figure


def labelled_points(points: Sequence[tuple[float, float]], apart: tuple[float, float]) -> list[int]:
    """Choose the points of a curve that get a label, so that no two labels overlap.

    Args:
      points: (x, y); one with a NaN gets none.
      apart: the distance in x, or in y, from which on two labels do not overlap.

    Returns:
      Indices: the first point, and each that is far enough from the last labelled one before it.
    """
    chosen: list[int] = []
    for index, point in enumerate(points):
        if any(math.isnan(value) for value in point):
            continue
        last = points[chosen[-1]] if chosen else None
        if last is None or any(abs(a - b) >= least for a, b, least in zip(point, last, apart, strict=True)):
            chosen.append(index)
    return chosen


def tradeoff_curve(dataset: str, rows: Sequence[Metrics]) -> Figure | None:
    """Plot Recall@20 (left) and NDCG@10 (right) against diversity, a point for each level; None without rows."""
    if not rows:
        return None
    title = f"{dataset}: accuracy against diversity (numbers: the input `diversity`; the table has all)"
    figure = new_figure(9.6, 4.2, title)
    for axes, metric, title in zip(
        panel_grid(figure, 2, 2), ("recall@20", "ndcg@10"), ("Recall@20", "NDCG@10"), strict=True
    ):
        points = [(value_of(row, "diversity@20"), value_of(row, metric)) for row in rows]
        axes.plot(*zip(*points, strict=True), color=MODEL_COLOUR, marker="o", linewidth=2.0)
        known = [point for point in points if not any(math.isnan(value) for value in point)]
        width = max((x for x, _ in known), default=0.0) - min((x for x, _ in known), default=0.0)
        height = max((y for _, y in known), default=0.0)
        # A label takes about a tenth of a panel's width and a sixteenth of its height.
        for index in labelled_points(points, (0.1 * width, 0.065 * height)):
            text = f"{value_of(rows[index], 'diversity'):g}"
            axes.annotate(text, points[index], xytext=(5, 6), textcoords="offset points", fontsize=9)
        axes.set(xlabel="Diversity@20 (1 - mean cosine within a list)", ylabel=title)
        axes.set_ylim(0, 1.12 * height or None)
        axes.margins(x=0.12)
        clean(axes, "both")
    return figure
