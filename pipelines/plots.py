"""The pictures of a report: one function each, metrics in, a matplotlib Figure out.

The object API only (no pyplot), so that nothing global is touched and a server or a notebook can call it. Colours are
the Okabe-Ito palette (readable with every common colour blindness); each line also differs in marker and dash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["MODEL", "ORACLE", "beyond_accuracy_bars", "recall_curves", "save", "slice_bars", "tradeoff_curve"]
__all__ += ["training_curves"]

MODEL = "model"
ORACLE = "oracle"

Metrics = Mapping[str, float | int | None]

_MODEL_COLOUR = "#0072B2"
_ORACLE_COLOUR = "#000000"
_BASELINES = (
    ("#D55E00", "s", (0, (5, 1.5))),
    ("#009E73", "^", (0, (3, 1, 1, 1))),
    ("#CC79A7", "D", (0, (1, 1.2))),
    ("#E69F00", "v", (0, (7, 2, 1, 2))),
    ("#56B4E9", "P", (0, (4, 2))),
)
_DPI = 120


def _number(metrics: Metrics, name: str) -> float:
    value = metrics.get(name)
    return math.nan if value is None else float(value)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _clean(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis=grid, color="#DDDDDD", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG; equal figures give equal bytes under one matplotlib."""
    figure.savefig(path, metadata={"Software": None})


def recall_curves(
    dataset: str, model: Metrics, baselines: Mapping[str, Metrics], oracle: Metrics | None
) -> Figure | None:
    """Recall@k against k, one line a system; None where the model has no recall."""
    cutoffs = sorted(int(match[1]) for name in model if (match := re.fullmatch(r"recall@(\d+)", name)))
    if not cutoffs:
        return None
    figure = _figure(7.5, 4.8)
    axes = figure.add_subplot()

    def line(metrics: Metrics, **style: Any) -> None:
        axes.plot(cutoffs, [_number(metrics, f"recall@{k}") for k in cutoffs], **style)

    if oracle is not None:
        line(oracle, label="oracle (ceiling)", color=_ORACLE_COLOUR, linestyle="--", linewidth=1.5)
    line(model, label=MODEL, color=_MODEL_COLOUR, marker="o", linewidth=2.8, zorder=3)
    for index, (name, metrics) in enumerate(baselines.items()):
        colour, marker, dash = _BASELINES[index % len(_BASELINES)]
        line(metrics, label=name, color=colour, marker=marker, linestyle=dash, linewidth=1.6)
    axes.set(xlabel="k (length of the list)", ylabel="Recall@k", title=f"{dataset}: recall by length of the list")
    axes.set_xticks(cutoffs)
    axes.set_ylim(bottom=0)
    _clean(axes, "both")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], colours: Sequence[str], digits: int) -> None:
    """Horizontal bars from the top down, each with its number; an unknown value is written as such."""
    lengths = [0.0 if math.isnan(value) else value for value in values]
    bars = axes.barh(range(len(names)), lengths, color=list(colours), height=0.68)
    axes.bar_label(
        bars, ["n/a" if math.isnan(value) else f"{value:.{digits}f}" for value in values], padding=3, fontsize=9
    )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*lengths, 1e-9]) * 1.22)  # room for the numbers
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _clean(axes, "x")


def slice_bars(dataset: str, model: Metrics, slices: Mapping[str, Metrics]) -> Figure | None:
    """Recall@20 and NDCG@10 of the model on every slice, the whole test split as a dashed line; None without slices."""
    if not slices:
        return None
    names = ["all queries", *(name.replace("_", " ") for name in slices)]
    figure = _figure(9.0, 1.5 + 0.38 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, metric, title in ((left, "recall@20", "Recall@20"), (right, "ndcg@10", "NDCG@10")):
        values = [_number(model, metric), *(_number(metrics, metric) for metrics in slices.values())]
        _bars(axes, names, values, [_MODEL_COLOUR, *["#56B4E9"] * len(slices)], digits=3)
        axes.axvline(values[0], color="#444444", linestyle="--", linewidth=1.0)
        axes.set_xlabel(title)
    right.invert_yaxis()  # the axis is shared, so the second panel turned it back
    figure.suptitle(f"{dataset}: the model on parts of the test split")
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
    colours = [_MODEL_COLOUR, *["#999999"] * len(baselines), _ORACLE_COLOUR][: len(systems)]
    figure = _figure(10.0, 1.6 + 0.6 * len(systems))
    grid = figure.subplots(2, 2, sharey=True).ravel()
    for axes, (metric, title, unit, digits) in zip(grid, panels, strict=False):
        _bars(axes, list(systems), [_number(metrics, metric) for metrics in systems.values()], colours, digits)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(unit)
        if metric.startswith("popularity_bias"):
            axes.axvline(1.0, color="#444444", linestyle="--", linewidth=1.0)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"{dataset}: beyond accuracy")
    return figure


def tradeoff_curve(dataset: str, rows: Sequence[Metrics]) -> Figure | None:
    """Recall@20 (left) and NDCG@10 (right) against the diversity of the lists, a point a setting; None without rows."""
    if not rows:
        return None
    figure = _figure(9.6, 4.2)
    for axes, metric, title in zip(
        figure.subplots(1, 2), ("recall@20", "ndcg@10"), ("Recall@20", "NDCG@10"), strict=True
    ):
        places = [(_number(row, "diversity@20"), _number(row, metric)) for row in rows]
        axes.plot(*zip(*places, strict=True), color=_MODEL_COLOUR, marker="o", linewidth=2.0)
        for row, place in zip(rows, places, strict=True):
            if not any(math.isnan(value) for value in place):
                axes.annotate(
                    f"{_number(row, 'diversity'):g}", place, xytext=(5, 5), textcoords="offset points", fontsize=9
                )
        axes.set(xlabel="Diversity@20 (1 - mean cosine within a list)", ylabel=title)
        axes.set_ylim(bottom=0)
        _clean(axes, "both")
    figure.suptitle(f"{dataset}: what diversity costs (numbers: the input `diversity`)")
    return figure


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def training_curves(dataset: str, curve: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Losses (left) and validation recall (right) against the epoch; None where nothing was recorded.

    Args:
      curve: the lines of `metrics.jsonl`. Lines without `epoch` are passed over, as is a value that is missing, null
        or no number; every key that ends in `loss` is a loss, every key with `recall@` in it is a recall.
    """
    rows = [row for row in curve if _is_number(row.get("epoch"))]
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items() if _is_number(value)))
    panels = (
        ("loss", [key for key in keys if key.endswith("loss")]),
        ("recall on the validation split", [key for key in keys if "recall@" in key]),
    )
    drawn = [(label, names) for label, names in panels if names]
    if not drawn:
        return None
    figure = _figure(4.6 * len(drawn) + 0.4, 4.0)
    styles = ((_MODEL_COLOUR, "o", "-"), *_BASELINES)
    for axes, (label, names) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for index, name in enumerate(names):
            points = sorted((row["epoch"], row[name]) for row in rows if _is_number(row.get(name)))
            colour, marker, dash = styles[index % len(styles)]
            axes.plot(*zip(*points, strict=True), label=name, color=colour, marker=marker, linestyle=dash, markersize=4)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _clean(axes, "both")
        axes.legend(frameon=False)
    figure.suptitle(f"{dataset}: training")
    return figure
