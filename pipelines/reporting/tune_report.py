"""What a search over the configuration found, and what mattered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.markdown import markdown_table
from pipelines.reporting.plots_style import BASELINES, LIGHT_COLOUR, MODEL_COLOUR, QUIET_COLOUR, bars, clean, new_figure
from pipelines.reporting.report import JSON_FILE, MARKDOWN_FILE, PLOTS_FOLDER, plain, write_pictures
from pipelines.runs.run_folder import write_text

LEAST_TRIALS = 4
"""Finished trials below which importances are not even estimated."""

_COLUMNS = 4


@dataclass(frozen=True)
class Outcome:
    """One trial.

    Attributes:
      number: from 0 in the order of beginning.
      state: complete, pruned, fail, running or waiting.
      value: the best epoch's metric of a complete trial, else None.
      params: option -> value.
      curve: the lines of its `metrics.jsonl`.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    curve: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TuneReport:
    """What there is to tell of a search.

    Attributes:
      best: one of the trials.
      importances: option -> share, {} where there are too few trials to tell.
      metric: that the trials are compared by, a key of their curves.
      options: in the order of the space.
      command: that trains with the best configuration.
    """

    trials: Sequence[Outcome]
    best: Outcome
    importances: Mapping[str, float]
    metric: str
    options: Sequence[str]
    command: str


def write_tune_report(folder: Path, report: TuneReport) -> None:
    """Writes `report.json`, `report.md` and `plots/*.png`."""
    figures = {
        "history": history_figure(report.trials, report.metric),
        "importances": importance_figure(report.importances),
        "options": option_figure(report.trials, report.options, report.metric),
    }
    drawn = write_pictures(folder / PLOTS_FOLDER, figures)
    content = {
        "metric": report.metric,
        "best": _without_curve(report.best),
        "importances": report.importances,
        "trials": [_without_curve(trial) for trial in report.trials],
    }
    write_text(folder / JSON_FILE, json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(folder / MARKDOWN_FILE, tune_markdown(report, drawn))


def _without_curve(trial: Outcome) -> dict[str, Any]:
    return {key: value for key, value in asdict(trial).items() if key != "curve"}


def tune_markdown(report: TuneReport, drawn: Sequence[str]) -> str:
    """The text of `report.md`. `drawn`: names of the pictures that are there."""
    trials, best, metric, options = report.trials, report.best, report.metric, report.options

    def picture(name: str, caption: str) -> list[str]:
        return [f"![{caption}]({PLOTS_FOLDER}/{name}.png)"] if name in drawn else []

    states = [trial.state for trial in trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    first = trials[0].value
    against = f", the first trial {first:.4f}" if first is not None and best.number else ""
    blocks = [
        f"# {metric} {best.value:.4f} in trial {best.number + 1}{against}",
        f"{len(trials)} trials ({counted}), all on the validation split; the test split was not read. The first trial is "
        f"the configuration as it was, where that lies in the space. "
        f"Being the best of several on one split, the value is too good by what chance adds; "
        f"`evaluate` tells the rest.",
        f"```sh\n{report.command}\n```",
        "## Best options",
        markdown_table(["option", "value"], [[name, short(best.params.get(name))] for name in options]),
        "## What mattered",
    ]
    complete = states.count("complete")
    if report.importances:
        shares = sorted(report.importances.items(), key=lambda pair: -pair[1])
        blocks += [
            f"Shares of what separates the better from the other {complete} finished trials (PED-ANOVA, Watanabe et al., "
            f"2023, arXiv:2304.10255); with few trials, a rough guess.",
            markdown_table(["option", "importance"], [[name, f"{share:.2f}"] for name, share in shares]),
            *picture("importances", "Importance of the options"),
        ]
    else:
        blocks += [f"{complete} finished trials are too few to tell; it takes {LEAST_TRIALS}, and better dozens."]
    blocks += [*picture("options", "Value of the metric by option"), *picture("history", "Trials in their order")]
    header = ["trial", "state", metric, "epochs", *options]
    rows = [
        [
            str(trial.number + 1),
            trial.state,
            "" if trial.value is None else f"{trial.value:.4f}",
            str(len(trial.curve)),
            *(short(trial.params.get(name)) for name in options),
        ]
        for trial in trials
    ]
    blocks += ["## Trials", markdown_table(header, rows)]
    return "\n\n".join(blocks) + "\n"


def short(value: Any) -> str:
    """An option's value as a reader wants it: floats to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def history_figure(trials: Sequence[Outcome], metric: str) -> Figure | None:
    """Left the value of every finished trial and the best so far, right the validation curves; None without trials."""
    curves = [(trial, [(row["epoch"], row[metric]) for row in trial.curve if metric in row]) for trial in trials]
    if not any(points for _, points in curves):
        return None
    figure = new_figure(10.0, 4.0)
    left, right = figure.subplots(1, 2)
    complete = [(trial.number + 1, trial.value) for trial in trials if trial.value is not None]
    if complete:
        left.scatter(*zip(*complete, strict=True), color=LIGHT_COLOUR, zorder=3, label="finished")
        best = [max(value for _, value in complete[: index + 1]) for index in range(len(complete))]
        left.step([number for number, _ in complete], best, where="post", color=MODEL_COLOUR, label="best so far")
    stopped = [(trial.number + 1, max(value for _, value in points)) for trial, points in curves if points and trial.state == "pruned"]  # fmt: skip
    if stopped:
        left.scatter(*zip(*stopped, strict=True), color=QUIET_COLOUR, marker="x", label="pruned (best until then)")
    left.set(xlabel="trial", ylabel=metric)
    left.legend(frameon=False, fontsize=9)
    for trial, points in curves:
        if points:
            colour = QUIET_COLOUR if trial.state != "complete" else LIGHT_COLOUR
            right.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, alpha=0.8)
    top = max(
        (trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0.0, default=None
    )
    if top is not None:
        points = [(row["epoch"], row[metric]) for row in top.curve if metric in row]
        right.plot(*zip(*points, strict=True), color=MODEL_COLOUR, linewidth=2.4, label=f"trial {top.number + 1}")
        right.legend(frameon=False, fontsize=9)
    right.set(xlabel="epoch", ylabel=metric)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        clean(axes, "both")
    return figure


def importance_figure(importances: Mapping[str, float]) -> Figure | None:
    """Bars, the most important option first; None without any."""
    if not importances:
        return None
    ordered = sorted(importances.items(), key=lambda pair: -pair[1])
    figure = new_figure(7.5, 2.0 + 0.34 * len(ordered))
    axes = figure.add_subplot()
    bars(axes, [name for name, _ in ordered], [share for _, share in ordered], [MODEL_COLOUR] * len(ordered), digits=2)
    axes.set_xlabel("importance (share)")
    return figure


def option_figure(trials: Sequence[Outcome], options: Sequence[str], metric: str) -> Figure | None:
    """The metric of finished trials against each option's value, a panel each; None without a finished trial."""
    complete = [trial for trial in trials if trial.value is not None]
    if not complete:
        return None
    columns = min(_COLUMNS, len(options))
    lines = math.ceil(len(options) / columns)
    figure = new_figure(2.9 * columns + 0.4, 2.5 * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(grid, options, strict=False):
        known = [(trial.params[name], trial.value) for trial in complete if name in trial.params]
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value, _ in known)
        # In the order of the values, where matplotlib would take that of the trials.
        names = sorted({str(value) for value, _ in known})
        places = [value if numeric else names.index(str(value)) for value, _ in known]
        axes.scatter(places, [value for _, value in known], color=BASELINES[0][0], s=18)
        if not numeric:
            axes.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif min(places) > 0 and max(places) >= 10 * min(places):
            axes.set_xscale("log")
        elif all(isinstance(place, int) for place in places):
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(name, fontsize=9)
        clean(axes, "both")
    for axes in grid[len(options) :]:
        axes.set_visible(False)
    figure.supylabel(metric, fontsize=10)
    return figure
