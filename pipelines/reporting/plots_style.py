"""What all plots of a report share: colours, line styles, figures, bars.

Only the object API of matplotlib (no pyplot), so that nothing global changes and a server or a notebook can call it.
Colours are the Okabe-Ito palette (readable with every common colour blindness); lines also differ in marker and dash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.formatting import UNKNOWN

MODEL_COLOUR = "#0072B2"
LIGHT_COLOUR = "#56B4E9"
ORACLE_COLOUR = "#000000"
QUIET_COLOUR = "#999999"
REFERENCE_COLOUR = "#444444"
GRID_COLOUR = "#DDDDDD"
BASELINES = (
    ("#D55E00", "s", (0, (5, 1.5))),
    ("#009E73", "^", (0, (3, 1, 1, 1))),
    ("#CC79A7", "D", (0, (1, 1.2))),
    ("#E69F00", "v", (0, (7, 2, 1, 2))),
    ("#56B4E9", "P", (0, (4, 2))),
)
PALETTE = (MODEL_COLOUR, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", QUIET_COLOUR)
_DPI = 120


def line_style(index: int) -> dict[str, Any]:
    """Return colour, marker and dash of a baseline's line."""
    colour, marker, dash = BASELINES[index % len(BASELINES)]
    return {"color": colour, "marker": marker, "linestyle": dash, "linewidth": 1.6}


MODEL_LINE: dict[str, Any] = {
    "color": MODEL_COLOUR, "marker": "o", "linestyle": "-", "linewidth": 2.8, "zorder": 3
}  # fmt: skip


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make an empty figure; width and height in inches."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure


def panel_grid(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """Add `count` panels, row by row; places of the last row that are left over stay empty."""
    panels = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for unused in panels[count:]:
        unused.set_visible(False)
    return list(panels[:count])


def clean(axes: Axes, grid: str) -> None:
    """Leave away the upper and right border and draw the grid of an axis: x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis=grid, color=GRID_COLOUR, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def reference_line(axes: Axes, x: float) -> None:
    """Draw a dashed vertical line that bars are compared with."""
    axes.axvline(x, color=REFERENCE_COLOUR, linestyle="--", linewidth=1.0)


def legend_beside(axes: Axes) -> None:
    """Put the legend to the right of a panel."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; equal figures give equal bytes with the same matplotlib."""
    figure.savefig(path, metadata={"Software": None})


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], colours: Sequence[str], digits: int) -> None:
    """Draw horizontal bars from the top down, each with its number; NaN is a bar of length 0 and `n/a`."""
    lengths = [0.0 if math.isnan(value) else value for value in values]
    drawn = axes.barh(range(len(names)), lengths, color=list(colours), height=0.68)
    texts = [UNKNOWN if math.isnan(value) else f"{value:.{digits}f}" for value in values]
    # On white, so that a reference line does not run through a number.
    background = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    axes.bar_label(drawn, texts, padding=3, fontsize=9, bbox=background)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # not by inverting, which panels that share the axis would undo
    axes.set_xlim(0, max([*lengths, 1e-9]) * 1.22)  # room for the numbers
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    clean(axes, "x")
