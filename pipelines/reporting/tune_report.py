"""The report of a search over the configuration: trials, the best one, and which options mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.formatting import format_option, markdown_table, to_json
from pipelines.reporting.plots_style import (
    BASELINES,
    LIGHT_COLOUR,
    MODEL_COLOUR,
    QUIET_COLOUR,
    bars,
    clean,
    new_figure,
    panel_grid,
)
from pipelines.reporting.report import JSON_FILE, MARKDOWN_FILE, PLOTS_FOLDER, write_plots
from pipelines.runs.run_folder import write_text

MIN_TRIALS = 4
"""Finished trials below which importances are not estimated."""

_COLUMNS = 4


@dataclass(frozen=True)
class TrialResult:
    """A trial of a search.

    Attributes:
      number: from 0, in the order in which trials were started.
      state: complete, pruned, fail, running or waiting.
      value: the metric of a complete trial's best epoch; None for others.
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
    """What a search has found.

    Attributes:
      trials: in the order in which they were started.
      best: one of the trials.
      importances: option -> share; {} where there are too few trials.
      metric: by which trials are compared, a key of their curves.
      options: in the order of the search space.
      command: that trains with the best configuration.
    """

    trials: Sequence[TrialResult]
    best: TrialResult
    importances: Mapping[str, float]
    metric: str
    options: Sequence[str]
    command: str


def write_tune_report(folder: Path, report: TuneReport) -> None:
    """Write `report.json`, `report.md` and `plots/*.png` into a folder."""
    figures = {
        "history": history_figure(report.trials, report.metric),
        "importances": importance_figure(report.importances),
        "options": option_figure(report.trials, report.options, report.metric),
    }
    drawn = write_plots(folder / PLOTS_FOLDER, figures)
    content = {
        "metric": report.metric,
        "best": _without_curve(report.best),
        "importances": report.importances,
        "trials": [_without_curve(trial) for trial in report.trials],
    }
    write_text(folder / JSON_FILE, to_json(content))
    write_text(folder / MARKDOWN_FILE, tune_markdown(report, drawn))


def _without_curve(trial: TrialResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(trial).items() if key != "curve"}


def tune_markdown(report: TuneReport, drawn: Sequence[str]) -> str:
    """Write the text of `report.md`; `drawn` has the names of the plots that exist."""
    trials, best, metric, options = report.trials, report.best, report.metric, report.options

    def image(name: str, caption: str) -> list[str]:
        return [f"![{caption}]({PLOTS_FOLDER}/{name}.png)"] if name in drawn else []

    states = [trial.state for trial in trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    first = trials[0].value
    against = f", the first trial {first:.4f}" if first is not None and best.number else ""
    blocks = [
        f"# {metric} {best.value:.4f} in trial {best.number + 1}{against}",
        f"{len(trials)} trials ({counted}), all on the validation split; the test split was not read. The first trial is "
        f"the given configuration, where it lies in the space. The best of several values on one split is optimistic; "
        f"`triptych evaluate` measures on the test split.",
        f"```sh\n{report.command}\n```",
        "## Best options",
        markdown_table(["option", "value"], [[name, format_option(best.params.get(name))] for name in options]),
        "## Importance of the options",
    ]
    complete = states.count("complete")
    if report.importances:
        shares = sorted(report.importances.items(), key=lambda pair: -pair[1])
        blocks += [
            f"How much each option separates the better of {complete} finished trials from the others, as a share "
            f"(PED-ANOVA, Watanabe et al., 2023, arXiv:2304.10255); a rough guess with few trials.",
            markdown_table(["option", "importance"], [[name, f"{share:.2f}"] for name, share in shares]),
            *image("importances", "Importance of the options"),
        ]
    else:
        blocks += [f"{complete} finished trials are too few to tell; it takes {MIN_TRIALS}, better dozens."]
    blocks += [*image("options", "Value of the metric by option"), *image("history", "Trials in their order")]
    header = ["trial", "state", metric, "epochs", *options]
    rows = [
        [
            str(trial.number + 1),
            trial.state,
            "" if trial.value is None else f"{trial.value:.4f}",
            str(len(trial.curve)),
            *(format_option(trial.params.get(name)) for name in options),
        ]
        for trial in trials
    ]
    blocks += ["## Trials", markdown_table(header, rows)]
    return "\n\n".join(blocks) + "\n"


def history_figure(trials: Sequence[TrialResult], metric: str) -> Figure | None:
    """Plot the values of finished trials (left) and the validation curves (right); None without a curve."""
    curves = [(trial, [(row["epoch"], row[metric]) for row in trial.curve if metric in row]) for trial in trials]
    if not any(points for _, points in curves):
        return None
    figure = new_figure(10.0, 4.0, "trials")
    left, right = panel_grid(figure, 2, 2)
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
    """Plot the importances, the largest first; None without any."""
    if not importances:
        return None
    ordered = sorted(importances.items(), key=lambda pair: -pair[1])
    figure = new_figure(7.5, 2.0 + 0.34 * len(ordered), "importance of the options")
    axes = figure.add_subplot()
    bars(axes, [name for name, _ in ordered], [share for _, share in ordered], [MODEL_COLOUR] * len(ordered), digits=2)
    axes.set_xlabel("importance (share)")
    return figure


def option_figure(trials: Sequence[TrialResult], options: Sequence[str], metric: str) -> Figure | None:
    """Plot the metric of finished trials against the value of each option; None without a finished trial."""
    complete = [trial for trial in trials if trial.value is not None]
    if not complete:
        return None
    columns = min(_COLUMNS, len(options))
    lines = math.ceil(len(options) / columns)
    figure = new_figure(2.9 * columns + 0.4, 2.5 * lines + 0.3, f"{metric} by option")
    for axes, name in zip(panel_grid(figure, len(options), columns, sharey=True), options, strict=True):
        known = [(trial.params[name], trial.value) for trial in complete if name in trial.params]
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value, _ in known)
        # Categories in the order of the values; matplotlib would take that of the trials.
        names = sorted({str(value) for value, _ in known})
        positions = [value if numeric else names.index(str(value)) for value, _ in known]
        axes.scatter(positions, [value for _, value in known if value is not None], color=BASELINES[0][0], s=18)
        if not numeric:
            axes.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif min(positions) > 0 and max(positions) >= 10 * min(positions):
            axes.set_xscale("log")
        elif all(isinstance(position, int) for position in positions):
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(name, fontsize=9)
        clean(axes, "both")
    figure.supylabel(metric, fontsize=10)
    return figure
