"""Pictures of a report about the recommendations: one function each, metrics in, a matplotlib Figure out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.reporting.plots_style import (
    BASELINES,
    LIGHT_COLOUR,
    MODEL,
    MODEL_COLOUR,
    ORACLE,
    ORACLE_COLOUR,
    QUIET_COLOUR,
    Metrics,
    bars,
    clean,
    new_figure,
    number,
)

__all__ = ["accuracy_curves", "beyond_accuracy_bars", "exposure_curves", "labelled_points", "part_bars", "slice_bars"]
__all__ += ["tradeoff_curve"]


def accuracy_curves(
    dataset: str, model: Metrics, baselines: Mapping[str, Metrics], oracle: Metrics | None
) -> Figure | None:
    """Recall@k (left) and NDCG@k (right) against k, one line a system; None where the model has no recall."""
    cutoffs = sorted(int(match[1]) for name in model if (match := re.fullmatch(r"recall@(\d+)", name)))
    if not cutoffs:
        return None
    figure = new_figure(10.5, 4.4)
    panels = figure.subplots(1, 2)
    for axes, metric, title in zip(panels, ("recall", "ndcg"), ("Recall@k", "NDCG@k"), strict=True):

        def line(metrics: Metrics, axes: Any = axes, metric: str = metric, **style: Any) -> None:
            axes.plot(cutoffs, [number(metrics, f"{metric}@{k}") for k in cutoffs], **style)

        if oracle is not None:
            line(oracle, label="oracle (ceiling)", color=ORACLE_COLOUR, linestyle="--", linewidth=1.5)
        line(model, label=MODEL, color=MODEL_COLOUR, marker="o", linewidth=2.8, zorder=3)
        for index, (name, metrics) in enumerate(baselines.items()):
            colour, marker, dash = BASELINES[index % len(BASELINES)]
            line(metrics, label=name, color=colour, marker=marker, linestyle=dash, linewidth=1.6)
        axes.set(xlabel="k (length of the list)", ylabel=title)
        axes.set_xticks(cutoffs)
        axes.set_ylim(bottom=0)
        clean(axes, "both")
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(f"{dataset}: accuracy by length of the list")
    return figure


def slice_bars(dataset: str, model: Metrics, slices: Mapping[str, Metrics]) -> Figure | None:
    """Recall@20 and NDCG@10 of the model on every slice, the whole test split as a dashed line; None without slices."""
    if not slices:
        return None
    names = ["all queries", *(name.replace("_", " ") for name in slices)]
    figure = new_figure(9.0, 1.5 + 0.38 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, metric, title in ((left, "recall@20", "Recall@20"), (right, "ndcg@10", "NDCG@10")):
        values = [number(model, metric), *(number(metrics, metric) for metrics in slices.values())]
        bars(axes, names, values, [MODEL_COLOUR, *[LIGHT_COLOUR] * len(slices)], digits=3)
        axes.axvline(values[0], color="#444444", linestyle="--", linewidth=1.0)
        axes.set_xlabel(title)
    figure.suptitle(f"{dataset}: the model on parts of the test split")
    return figure


def part_bars(
    dataset: str, slices: Mapping[str, Metrics], baselines: Mapping[str, Mapping[str, Metrics]]
) -> Figure | None:
    """Recall@20 of every system on warm items, cold items and cold users; None where no baseline was measured there.

    Args:
      slices: slice -> metrics of the model.
      baselines: baseline -> slice -> metrics.
    """
    parts = list(dict.fromkeys(part for of in baselines.values() for part in of if part in slices))
    if not parts:
        return None
    names = [MODEL, *baselines]
    figure = new_figure(1.6 + 3.0 * len(parts), 2.2 + 0.34 * len(names))
    for axes, part in zip(figure.subplots(1, len(parts), sharey=True, squeeze=False)[0], parts, strict=True):
        values = [
            number(slices[part], "recall@20"),
            *(number(of.get(part, {}), "recall@20") for of in baselines.values()),
        ]
        bars(axes, names, values, [MODEL_COLOUR, *[QUIET_COLOUR] * len(baselines)], digits=3)
        count = number(slices[part], "queries")
        axes.set_title(
            part.replace("_", " ") + (f" ({count:,.0f} queries)" if math.isfinite(count) else ""), fontsize=11
        )
        axes.set_xlabel("Recall@20")
    figure.suptitle(f"{dataset}: warm and cold")
    return figure


_BEYOND = (
    ("coverage@20", "Coverage@20", "share of the catalogue shown", 3),
    ("diversity@20", "Diversity@20", "1 - mean cosine within a list", 3),
    ("novelty@20", "Novelty@20", "bits of self-information", 2),
    ("popularity_bias@20", "Popularity bias@20", "shown / chosen, 1 = unbiased", 2),
)


def beyond_accuracy_bars(
    dataset: str, model: Metrics, baselines: Mapping[str, Metrics], oracle: Metrics | None
) -> Figure | None:
    """Coverage, diversity, novelty and popularity bias of every system, one panel each; None where there are none."""
    systems: dict[str, Metrics] = {MODEL: model, **baselines, **({} if oracle is None else {ORACLE: oracle})}
    panels = [panel for panel in _BEYOND if any(panel[0] in metrics for metrics in systems.values())]
    if not panels:
        return None
    colours = [MODEL_COLOUR, *[QUIET_COLOUR] * len(baselines), ORACLE_COLOUR][: len(systems)]
    figure = new_figure(10.0, 1.6 + 0.6 * len(systems))
    grid = figure.subplots(2, 2, sharey=True).ravel()
    for axes, (metric, title, unit, digits) in zip(grid, panels, strict=False):
        bars(axes, list(systems), [number(metrics, metric) for metrics in systems.values()], colours, digits)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(unit)
        if metric.startswith("popularity_bias"):
            axes.axvline(1.0, color="#444444", linestyle="--", linewidth=1.0)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"{dataset}: beyond accuracy")
    return figure


def exposure_curves(dataset: str, groups: Sequence[str], exposure: Mapping[str, Sequence[float]]) -> Figure | None:
    """Share of the places of all lists that each group of the catalogue gets, a line a system; None without any.

    Args:
      groups: names of the groups, least popular first.
      exposure: system -> share of each group; `chosen` is what people then took.
    """
    if not exposure:
        return None
    figure = new_figure(9.0, 4.4)
    axes = figure.add_subplot()
    places = range(len(groups))
    styles = iter(BASELINES * (1 + len(exposure) // len(BASELINES)))
    for name, shares in exposure.items():
        if name == "chosen":
            axes.bar(places, list(shares), color="#DDDDDD", width=0.8, label="chosen (test targets)", zorder=0)
            continue
        colour, marker, dash = (MODEL_COLOUR, "o", "-") if name == MODEL else next(styles)
        axes.plot(
            places, list(shares), label=name, color=colour, marker=marker, linestyle=dash,
            linewidth=2.8 if name == MODEL else 1.6, zorder=3 if name == MODEL else 2,
        )  # fmt: skip
    axes.set_xticks(places, groups, rotation=30, ha="right", fontsize=9)
    axes.set_ylabel("share of the first 20 places")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(bottom=0)
    clean(axes, "y")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(f"{dataset}: who is shown, by popularity in training")
    return figure


def labelled_points(places: Sequence[tuple[float, float]], apart: tuple[float, float]) -> list[int]:
    """Which points along a curve can have a label without two of them lying over each other.

    Args:
      places: (x, y) of each point; one with a NaN gets none.
      apart: the distance in x, or in y, from which on two labels are clear of each other.

    Returns:
      Indices: the first point, and each that is clear of the last labelled one before it.
    """
    chosen: list[int] = []
    for index, place in enumerate(places):
        if any(math.isnan(value) for value in place):
            continue
        last = places[chosen[-1]] if chosen else None
        if last is None or any(abs(a - b) >= least for a, b, least in zip(place, last, apart, strict=True)):
            chosen.append(index)
    return chosen


def tradeoff_curve(dataset: str, rows: Sequence[Metrics]) -> Figure | None:
    """Recall@20 (left) and NDCG@10 (right) against the diversity of the lists, a point a setting; None without rows."""
    if not rows:
        return None
    figure = new_figure(9.6, 4.2)
    for axes, metric, title in zip(
        figure.subplots(1, 2), ("recall@20", "ndcg@10"), ("Recall@20", "NDCG@10"), strict=True
    ):
        places = [(number(row, "diversity@20"), number(row, metric)) for row in rows]
        axes.plot(*zip(*places, strict=True), color=MODEL_COLOUR, marker="o", linewidth=2.0)
        known = [place for place in places if not any(math.isnan(value) for value in place)]
        width = max((x for x, _ in known), default=0.0) - min((x for x, _ in known), default=0.0)
        height = max((y for _, y in known), default=0.0)
        # Of a panel's width and height a label takes about a tenth and a sixteenth.
        for index in labelled_points(places, (0.1 * width, 0.065 * height)):
            text = f"{number(rows[index], 'diversity'):g}"
            axes.annotate(text, places[index], xytext=(5, 6), textcoords="offset points", fontsize=9)
        axes.set(xlabel="Diversity@20 (1 - mean cosine within a list)", ylabel=title)
        axes.set_ylim(0, 1.12 * height or None)
        axes.margins(x=0.12)
        clean(axes, "both")
    figure.suptitle(f"{dataset}: what diversity costs (numbers: the input `diversity`; the table has all)")
    return figure
