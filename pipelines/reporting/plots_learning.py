"""Pictures of a report about learning: the curves of the training, and how far probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.plots_style import BASELINES, MODEL_COLOUR, QUIET_COLOUR, clean, is_number, new_figure

__all__ = ["reliability_diagram", "training_curves"]

_VALID = "valid_"
_COLUMNS = 3


def training_curves(dataset: str, curve: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Each loss in training and on the validation split, validation metrics, learning rate, against the epoch.

    Args:
      curve: the lines of `metrics.jsonl`. Lines without `epoch` are passed over, as is a value that is missing, null
        or no number.

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
    figure = new_figure(4.0 * columns + 0.3, 2.9 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (title, names) in zip(grid, drawn, strict=False):
        _curves(axes, rows, names)
        axes.set_title(title, fontsize=11)
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    figure.suptitle(f"{dataset}: training, by epoch")
    return figure


def _curves(axes: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    styles = ((MODEL_COLOUR, "o", "-"), *BASELINES)
    for index, name in enumerate(names):
        points = sorted((row["epoch"], row[name]) for row in rows if is_number(row.get(name)))
        colour, marker, dash = styles[index % len(styles)]
        label = ("validation" if name.startswith(_VALID) else "training") if name.endswith("loss") else name
        axes.plot(
            *zip(*points, strict=True), label=label.removeprefix(_VALID), color=colour, marker=marker, linestyle=dash,
            markersize=3,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    clean(axes, "both")
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=9)


def reliability_diagram(dataset: str, ranking: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Share of ones against mean probability of each bin, before and after calibration, with the events in each bin.

    Args:
      ranking: label -> metrics; those with `reliability` (name -> `count`, `predicted`, `observed`, a value a bin) are
        drawn, a column each.

    Returns:
      None where there are none.
    """
    labels = {name: metrics["reliability"] for name, metrics in ranking.items() if "reliability" in metrics}
    if not labels:
        return None
    figure = new_figure(5.2 * len(labels) + 0.3, 6.0)
    grid = figure.subplots(2, len(labels), squeeze=False, sharex=True, height_ratios=(3, 1.2))
    styles = {"uncalibrated": (QUIET_COLOUR, "s", "--"), "calibrated": (MODEL_COLOUR, "o", "-")}
    for column, (label, curves) in enumerate(labels.items()):
        above, below = grid[:, column]
        above.plot([0, 1], [0, 1], color="#444444", linewidth=1.0, linestyle=":")
        for name, bins in curves.items():
            colour, marker, dash = styles[name]
            error = ranking[label].get("ece") if name == "calibrated" else ranking[label].get(name, {}).get("ece")
            text = f"{name} (ECE {error:.3f})" if is_number(error) else name
            some = [index for index, count in enumerate(bins["count"]) if count]
            above.plot(
                [bins["predicted"][index] for index in some], [bins["observed"][index] for index in some],
                color=colour, marker=marker, linestyle=dash, label=text, linewidth=1.6,
            )  # fmt: skip
            edges = np.linspace(0, 1, len(bins["count"]) + 1)
            below.stairs(bins["count"], edges, color=colour, fill=name == "uncalibrated", alpha=0.5 if name == "uncalibrated" else 1.0)  # fmt: skip
        above.set(title=label, ylabel="share that was", xlim=(0, 1), ylim=(0, 1))
        below.set(xlabel="probability that was said", ylabel="events")
        above.legend(frameon=False, loc="upper left")
        for axes in (above, below):
            clean(axes, "both")
    figure.suptitle(f"{dataset}: calibration of the ranking head")
    return figure
