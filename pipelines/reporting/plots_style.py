"""What all pictures of a report share: colours, figures, bars.

The object API of matplotlib only (no pyplot), so that nothing global is touched and a server or a notebook can call
it. Colours are the Okabe-Ito palette (readable with every common colour blindness); each line also differs in marker
and dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MODEL = "model"
ORACLE = "oracle"

Metrics = Mapping[str, float | int | None]

MODEL_COLOUR = "#0072B2"
LIGHT_COLOUR = "#56B4E9"
ORACLE_COLOUR = "#000000"
QUIET_COLOUR = "#999999"
BASELINES = (
    ("#D55E00", "s", (0, (5, 1.5))),
    ("#009E73", "^", (0, (3, 1, 1, 1))),
    ("#CC79A7", "D", (0, (1, 1.2))),
    ("#E69F00", "v", (0, (7, 2, 1, 2))),
    ("#56B4E9", "P", (0, (4, 2))),
)
PALETTE = (MODEL_COLOUR, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", QUIET_COLOUR)
_DPI = 120


def number(metrics: Metrics, name: str) -> float:
    """A value of a report; NaN where it is missing or null."""
    value = metrics.get(name)
    return math.nan if value is None else float(value)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def new_figure(width: float, height: float) -> Figure:
    """Size in inches."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def clean(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis=grid, color="#DDDDDD", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG; equal figures give equal bytes under one matplotlib."""
    figure.savefig(path, metadata={"Software": None})


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], colours: Sequence[str], digits: int) -> None:
    """Horizontal bars from the top down, each with its number; an unknown value is written as such."""
    lengths = [0.0 if math.isnan(value) else value for value in values]
    drawn = axes.barh(range(len(names)), lengths, color=list(colours), height=0.68)
    texts = ["n/a" if math.isnan(value) else f"{value:.{digits}f}" for value in values]
    # On white, so that a line of reference does not run through a number.
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    axes.bar_label(drawn, texts, padding=3, fontsize=9, bbox=ground)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # and not by inverting, which panels that share the axis would undo
    axes.set_xlim(0, max([*lengths, 1e-9]) * 1.22)  # room for the numbers
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    clean(axes, "x")
