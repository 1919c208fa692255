"""Plots of the training and of the calibration of predicted labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.formatting import is_number
from pipelines.reporting.plots_style import (
    MODEL_LINE,
    QUIET_COLOUR,
    REFERENCE_COLOUR,
    clean,
    line_style,
    new_figure,
    panel_grid,
)

__all__ = ["reliability_diagram", "training_curves"]

_VALID = "valid_"
_COLUMNS = 3


def training_curves(dataset: str, curve: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Plot each loss in training and validation, validation metrics and the learning rate against the epoch.

    Args:
      dataset: its name.
      curve: the lines of `metrics.jsonl`. Lines without `epoch` are skipped, and so are values that are no number.

    Returns:
      None where nothing was recorded.
    """
    rows = [row for row in curve if is_number(row.get("epoch"))]
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items() if is_number(value)))
    losses = list(dict.fromkeys(key.removeprefix(_VALID) for key in keys if key.endswith("loss")))
    panels: list[tuple[str, list[str]]] = [
        (name.replace("_", " "), [key for key in (name, _VALID + name) if key in keys]) for name in losses
    ]
    rankings = [key for key in keys if key.startswith(_VALID) and ("@" in key or key.endswith("mrr"))]
    labels = [key for key in keys if key.startswith(_VALID) and key.endswith(("_auc", "_rmse"))]
    panels += [
        ("ranking, validation", rankings),
        *((key.removeprefix(_VALID).replace("_", " "), [key]) for key in labels),
    ]
    panels += [("learning rate", [key for key in keys if key == "learning_rate"])]
    drawn = [(title, names) for title, names in panels if names]
    if not drawn:
        return None
    lines = -(-len(drawn) // _COLUMNS)
    columns = min(_COLUMNS, len(drawn))
    figure = new_figure(4.0 * columns + 0.3, 2.9 * lines + 0.4, f"{dataset}: training, by epoch")
    for axes, (title, names) in zip(panel_grid(figure, len(drawn), columns), drawn, strict=True):
        _curves(axes, rows, names)
        axes.set_title(title, fontsize=11)
    return figure


def _curves(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        points = sorted((row["epoch"], row[name]) for row in rows if is_number(row.get(name)))
        label = ("validation" if name.startswith(_VALID) else "training") if name.endswith("loss") else name
        style = {**(line_style(index - 1) if index else MODEL_LINE), "linewidth": 1.5, "markersize": 3}
        axes.plot(*zip(*points, strict=True), label=label.removeprefix(_VALID), **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    clean(axes, "both")
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=9)


def reliability_diagram(dataset: str, ranking: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Plot the share of ones against the mean probability of each bin, before and after calibration.

    Below it, the number of events in each bin.

    Args:
      dataset: its name.
      ranking: label -> metrics; those with `reliability` (name -> `count`, `predicted`, `observed`, a value a bin) are
        drawn, a column each.

    Returns:
      None where there are none.
    """
    labels = {name: metrics["reliability"] for name, metrics in ranking.items() if "reliability" in metrics}
    if not labels:
        return None
    figure = new_figure(5.2 * len(labels) + 0.3, 6.0, f"{dataset}: calibration of the ranking head")
    grid = figure.subplots(2, len(labels), squeeze=False, sharex=True, height_ratios=(3, 1.2))
    styles = {
        "uncalibrated": {"color": QUIET_COLOUR, "marker": "s", "linestyle": "--", "linewidth": 1.6},
        "calibrated": {**MODEL_LINE, "linewidth": 1.6},
    }
    for column, (label, curves) in enumerate(labels.items()):
        above, below = grid[:, column]
        above.plot([0, 1], [0, 1], color=REFERENCE_COLOUR, linewidth=1.0, linestyle=":")
        for name, bins in curves.items():
            error = ranking[label].get("ece") if name == "calibrated" else ranking[label].get(name, {}).get("ece")
            text = f"{name} (ECE {error:.3f})" if is_number(error) else name
            filled = np.flatnonzero(bins["count"])
            predicted, observed = (np.array(bins[key], float)[filled] for key in ("predicted", "observed"))
            above.plot(predicted, observed, label=text, **styles[name])
            edges = np.linspace(0, 1, len(bins["count"]) + 1)
            fill = name == "uncalibrated"
            below.stairs(bins["count"], edges, color=styles[name]["color"], fill=fill, alpha=0.5 if fill else 1.0)
        above.set(title=label, ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
        below.set(xlabel="predicted probability", ylabel="events")
        above.legend(frameon=False, loc="upper left")
        for axes in (above, below):
            clean(axes, "both")
    return figure
