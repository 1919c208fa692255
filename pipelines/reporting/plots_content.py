"""Plots of the modalities, accuracy without some of them and their weights, and of new items against known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.reporting.formatting import value_of
from pipelines.reporting.plots_style import LIGHT_COLOUR, MODEL_COLOUR, PALETTE, clean, new_figure, panel_grid

__all__ = ["exploration_curve", "pattern_bars", "weight_bars"]


def pattern_bars(dataset: str, rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Plot Recall@20 for every pattern of missing content, with id embeddings and by content alone.

    Args:
      dataset: its name.
      rows: each with `content` (its name), `recall@20` and `content_only_recall@20`.

    Returns:
      None without rows.
    """
    if not rows:
        return None
    figure = new_figure(9.0, 2.0 + 0.42 * len(rows), f"{dataset}: accuracy by the content that items have")
    axes = figure.add_subplot()
    positions = np.arange(len(rows))
    styles = (
        ("recall@20", "with id embeddings", MODEL_COLOUR, -0.2),
        ("content_only_recall@20", "by content alone, as a new item", LIGHT_COLOUR, 0.2),
    )
    for name, label, colour, shift in styles:
        drawn = axes.barh(
            positions + shift, [value_of(row, name) for row in rows], height=0.38, color=colour, label=label
        )
        axes.bar_label(drawn, fmt="%.3f", padding=3, fontsize=8)
    axes.set_yticks(positions, [str(row["content"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.12 * max([1e-9, *(value_of(row, name) for row in rows for name, *_ in styles)]))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Recall@20")
    clean(axes, "x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


def weight_bars(dataset: str, rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Plot mean modality weights by group of items, stacked to 1, a panel for each kind of group.

    Args:
      dataset: its name.
      rows: each with `by` (the kind of group), `group`, `items` (how many) and `weights`, modality -> mean weight.

    Returns:
      None without rows.
    """
    if not rows:
        return None
    kinds = list(dict.fromkeys(str(row["by"]) for row in rows))
    parts = [[row for row in rows if row["by"] == kind] for kind in kinds]
    longest = max(map(len, parts))
    title = f"{dataset}: mean modality weights of the items"
    figure = new_figure(5.4 * len(parts) + 0.8, 2.4 + 0.34 * longest, title)
    panels = panel_grid(figure, len(parts), len(parts))
    for axes, kind, part in zip(panels, kinds, parts, strict=True):
        _stacked(axes, part)
        axes.set_title(kind, fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    return figure


def exploration_curve(dataset: str, exploration: Mapping[str, Any]) -> Figure | None:
    """Plot Recall@20 of new items against that of known ones, a point for each value of `hybrid.explore`.

    Args:
      dataset: its name.
      exploration: `rows` with `explore`, `known` and `new`, and which `explore` was `chosen`.

    Returns:
      None without rows.
    """
    if not exploration:
        return None
    rows = exploration["rows"]
    figure = new_figure(6.4, 4.2, f"{dataset}: new items against known ones (validation)")
    axes = figure.add_subplot()
    known, new = ([value_of(row, name) for row in rows] for name in ("known", "new"))
    axes.plot(known, new, color=MODEL_COLOUR, marker="o", markersize=4, linewidth=2.0)
    chosen = int(np.argmin([abs(row["explore"] - exploration["chosen"]) for row in rows]))
    axes.plot(known[chosen], new[chosen], "o", markersize=11, markerfacecolor="none", markeredgecolor="black")
    label = f"hybrid.explore = {exploration['chosen']:g}"
    axes.annotate(
        label, (known[chosen], new[chosen]), xytext=(-10, 0), textcoords="offset points", ha="right", va="center"
    )
    axes.set(xlabel="Recall@20 of known items", ylabel="Recall@20 of new items")
    axes.set_ylim(0, 1.12 * max(new) or None)
    axes.set_xlim(0, 1.05 * max(known) or None)
    clean(axes, "both")
    return figure


def _stacked(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    left = np.zeros(len(rows))
    for index, name in enumerate(rows[0]["weights"]):
        shares = np.array([value_of(row["weights"], name) for row in rows])
        colour = PALETTE[index % len(PALETTE)]
        drawn = axes.barh(range(len(rows)), shares, left=left, color=colour, height=0.72, label=name)
        # A number in a narrow bar would overlap its neighbours'.
        texts = [f"{share:.2f}" if share >= 0.09 else "" for share in shares]
        axes.bar_label(drawn, texts, label_type="center", fontsize=8, color="white" if index == 0 else "black")
        left += np.nan_to_num(shares)
    axes.set_yticks(range(len(rows)), [f"{row['group']} ({row['items']:,})" for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(axis="y", length=0)
    clean(axes, "x")
