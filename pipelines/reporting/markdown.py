"""The text of `report.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reporting.formatting import Metrics, format_number, format_ratio, markdown_table, value_of
from pipelines.reporting.report_data import Report, best_baseline, headline, interval_of, systems

CAPTIONS = {
    "accuracy": "Recall and NDCG by length of the list",
    "warm_cold": "Recall on warm items, cold items and cold users",
    "slices": "The model on parts of the test split",
    "missing_content": "Recall for every pattern of missing content",
    "modality_weights": "Mean modality weights by popularity and by category",
    "beyond_accuracy": "Coverage, diversity, novelty and popularity bias",
    "exposure": "Share of the first positions by popularity in training",
    "reliability": "Observed share against predicted probability, and the number of events",
    "exploration": "Recall of new items against that of known ones, as new items are shown more often",
    "tradeoff": "Accuracy against diversity, by the input `diversity` of `recommend`",
    "training": "Losses, validation metrics and learning rate by epoch",
}

_TABLE_METRICS = ("recall@5", "recall@10", "recall@20", "recall@50", "ndcg@10", "ndcg@20", "map@10", "mrr")
_TABLE_BEYOND = ("coverage@20", "diversity@20", "novelty@20", "popularity_bias@20")
_SLICE_METRICS = ("recall@20", "ndcg@10", "mrr")
_LABEL_METRICS = ("auc", "logloss", "brier", "ece", "rmse")
_PATTERN_METRICS = ("recall@20", "ndcg@10", "content_only_recall@20", "content_only_ndcg@10")
_ORDERS = {"retrieval": "retrieval", "blend": "retrieval + weight x label", "label_alone": "label alone"}


def report_markdown(report: Report, drawn: Sequence[str], folder: str) -> str:
    """Write the text of `report.md`.

    Args:
      report: what was measured.
      drawn: names of the plots that exist.
      folder: where they are, beside `report.md`.
    """

    def images(*names: str) -> list[str]:
        return [f"![{CAPTIONS[name]}]({folder}/{name}.png)" for name in names if name in drawn]

    blocks = [f"# {headline(report)}", report.protocol, *report.notes]
    blocks += ["## Against the baselines", _comparison(report), *images("accuracy", "beyond_accuracy", "exposure")]
    if report.slices:
        blocks += ["## Slices", _slice_table(report), *images("slices", "warm_cold")]
    if report.patterns:
        blocks += ["## Missing content", _pattern_table(report), *images("missing_content")]
    if report.modality_weights:
        blocks += ["## Modality weights", _weight_table(report), *images("modality_weights")]
    if report.ranking:
        blocks += ["## Ranking head", _ranking_table(report), *images("reliability"), *_reranking_table(report)]
    if report.hybrid:
        blocks += ["## Parts of the hybrid score", _hybrid_table(report)]
    if report.exploration:
        blocks += ["## New items against known ones", _exploration_table(report), *images("exploration")]
    if report.tradeoff:
        blocks += ["## Accuracy against diversity", _tradeoff_table(report), *images("tradeoff")]
    if "training" in drawn:
        blocks += ["## Training", *images("training")]
    if report.commands:
        commands = "\n".join(f"# {name}\n{command}" for name, command in report.commands.items())
        blocks += ["## Again", f"```sh\n{commands}\n```"]
    if report.versions:
        blocks += ["Made with " + ", ".join(f"{name} {version}" for name, version in report.versions.items()) + "."]
    return "\n\n".join(blocks) + "\n"


def _comparison(report: Report) -> str:
    compared, differences = systems(report), report.intervals.get("difference", {})
    header = ["metric", *compared, "model / best baseline"]
    header += ["model - best baseline"] if differences else []
    header += ["model / oracle"] if report.oracle is not None else []
    rows = []
    for metric in (*_TABLE_METRICS, *_TABLE_BEYOND):
        if not any(metric in metrics for metrics in compared.values()):
            continue
        value, best = value_of(report.model, metric), best_baseline(report, metric)
        # More is not always better beyond accuracy (random has the best coverage), so there a ratio would say nothing.
        judged = metric in _TABLE_METRICS
        row = [metric]
        for name, metrics in compared.items():
            row.append(_with_interval(value_of(metrics, metric), interval_of(report, name, metric)))
        row.append(format_ratio(value, best[1]) if judged and best is not None else "")
        if differences:
            between = differences.get(metric)
            row.append(_with_interval(between["value"], (between["low"], between["high"])) if between else "")
        if report.oracle is not None:
            row.append(format_ratio(value, value_of(report.oracle, metric)) if judged else "")
        rows.append(row)
    note = "In brackets the 95 % bootstrap interval over users.\n\n" if differences else ""
    return note + markdown_table(header, rows)


def _with_interval(value: float, bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return format_number(value)
    return f"{format_number(value)} [{format_number(bounds[0])}, {format_number(bounds[1])}]"


def _slice_table(report: Report) -> str:
    baselines = report.baseline_slices
    header = ["slice", "queries", *_SLICE_METRICS, "recall@20 against all queries"]
    header += [f"recall@20 of {name}" for name in baselines]
    rows = []
    for name, metrics in {"all queries": report.model, **report.slices}.items():
        count = value_of(metrics, "queries")
        values = [format_number(value_of(metrics, metric)) for metric in _SLICE_METRICS]
        share = format_ratio(value_of(metrics, "recall@20"), value_of(report.model, "recall@20"))
        row = [name, f"{count:.0f}" if math.isfinite(count) else "", *values, share]
        for baseline, slices in baselines.items():
            measured = slices.get(name, report.baselines.get(baseline) if name == "all queries" else None)
            row.append("" if measured is None else format_number(value_of(measured, "recall@20")))
        rows.append(row)
    note = "Baselines take no text: in `with_query` only the model knows the text query.\n\n"
    return (note if "with_query" in report.slices else "") + markdown_table(header, rows)


def _pattern_table(report: Report) -> str:
    modalities = report.patterns[0]["modalities"]
    subsets = sum(len(row["modalities"]) < len(modalities) for row in report.patterns) + 1
    note = f"{report.patterns[0]['queries']:,} queries. "
    if subsets < 2 ** len(modalities):
        note += f"{subsets} of the {2 ** len(modalities):,} subsets of the modalities (`evaluate.patterns`, `evaluate.pattern_items`). "
    note += "Content only: without id embeddings, as if every item were new."
    complete = value_of(report.patterns[0], "recall@20")
    rows = [
        [
            row["content"],
            *(format_number(value_of(row, metric)) for metric in _PATTERN_METRICS),
            format_ratio(value_of(row, "recall@20"), complete),
        ]
        for row in report.patterns
    ]
    header = ["items have", *(name.replace("_", " ") for name in _PATTERN_METRICS), "recall@20 against everything"]
    return note + "\n\n" + markdown_table(header, rows)


def _weight_table(report: Report) -> str:
    modalities = list(report.modality_weights[0]["weights"])
    rows = [
        [row["group"], f"{row['items']:,}", *(format_number(value_of(row["weights"], name)) for name in modalities)]
        for row in report.modality_weights
    ]
    return markdown_table(["items with content", "number", *modalities], rows)


def _hybrid_table(report: Report) -> str:
    metrics = [name for name in report.hybrid[0] if name not in ("parts", "stage", "weights", "cold_weights", "loss")]
    rows, before = [], 0
    for step in report.hybrid:
        added = step["parts"][before:] or [step.get("stage", "weights of new items")]
        weights = [f"{name} {weight:.3g}" for name, weight in step.get("cold_weights", step["weights"]).items()]
        row = [
            " and ".join(added),
            format_number(step["loss"]),
            *(format_number(value_of(step, name)) for name in metrics),
        ]
        rows.append([*row, ", ".join(weights)])
        before = len(step["parts"])
    note = "On the validation split, which chose the weights; a part of weight 0 is left out.\n\n"
    return note + markdown_table(["added", "cross-entropy", *metrics, "weights"], rows)


def _exploration_table(report: Report) -> str:
    chosen = report.exploration["chosen"]
    rows = [
        [
            f"{row['explore']:g}",
            *(format_number(row[name]) for name in ("known", "new")),
            "yes" * (row["explore"] == chosen),
        ]
        for row in report.exploration["rows"]
    ]
    note = (
        "Recall@20 on the validation split; where it has few requests for new items, a share of the known ones "
        "(`hybrid.simulated`) stands in for them. At 0 all are scored as likelihood has it. The exported value is marked, "
        "where it is one of these.\n\n"
    )
    return note + markdown_table(["`hybrid.explore`", "known items", "new items", "chosen"], rows)


def _ranking_table(report: Report) -> str:
    """Write a line for the head and for each of its baselines, with a cell only where a metric applies."""
    rows: list[tuple[str, str, Mapping[str, Any]]] = []
    for label, metrics in report.ranking.items():
        lines: dict[str, Mapping[str, Any]] = {"model": metrics}
        if "uncalibrated" in metrics:
            lines["model before calibration"] = metrics["uncalibrated"]
        lines |= {f"{name} baseline": values for name, values in metrics.get("baselines", {}).items()}
        rows += [(label, name, values) for name, values in lines.items()]
    names = [name for name in _LABEL_METRICS if any(name in values for *_, values in rows)]
    cells = [
        [label, system, *(format_number(value_of(values, name)) if name in values else "" for name in names)]
        for label, system, values in rows
    ]
    return markdown_table(["label", "", *names], cells)


def _reranking_table(report: Report) -> list[str]:
    rows = []
    for label, metrics in report.ranking.items():
        reranking: Metrics = metrics.get("reranking", {})
        for order, title in _ORDERS.items() if reranking else ():
            weight = f"{value_of(reranking, 'weight'):g}" if order == "blend" else ""
            values = [format_number(value_of(reranking, f"test_{order}_{metric}")) for metric in ("ndcg@10", "ndcg@20")]
            rows.append([label, title, weight, *values])
    if not rows:
        return []
    note = "Retrieved items re-ranked by the head; validation chooses the weight, 0 where it gains nothing."
    return [note, markdown_table(["label", "order by", "weight", "ndcg@10", "ndcg@20"], rows)]


def _tradeoff_table(report: Report) -> str:
    names = list(report.tradeoff[0])
    return markdown_table(
        names,
        [
            [f"{row['diversity']:g}", *(format_number(value_of(row, name)) for name in names[1:])]
            for row in report.tradeoff
        ],
    )
