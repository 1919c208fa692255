"""`triptych evaluate`: full ranking of the test split by the model and the baselines, with slices; a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.evaluation.beyond_accuracy import BEYOND_CUTOFF, accuracy_diversity_curve, beyond_accuracy
from pipelines.evaluation.exposure import exposure, item_categories, modality_weights_by_group, popularity_groups
from pipelines.evaluation.missing_modalities import missing_content
from pipelines.evaluation.ranking_head import measure_labels, predict_labels
from pipelines.evaluation.systems import intervals, rank, rank_systems
from pipelines.evaluation.text_slices import text_slices, with_text
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.model.session import Session
from pipelines.reporting.formatting import MODEL, ORACLE
from pipelines.reporting.report import JSON_FILE, MARKDOWN_FILE, Report, summary_table, write_report
from pipelines.runs.progress import console, say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import COLD_ITEMS, COLD_USERS, sampled_requests, validation_requests
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, with_targets
from pipelines.scoring.sampling import Sample, draw_some
from tfrecs.reading.training_events import load_labelled_events
from tfrecs.schema import Manifest

NO_CONTENT = (
    "Items have no features: cold items and missing content are not measured, since nothing tells new items apart."
)

Metrics = dict[str, float]


@dataclass(frozen=True)
class EvaluateJob:
    """Arguments of `triptych evaluate`: the folder of a trained run."""

    run: Path


@dataclass(frozen=True)
class EvaluateResult:
    """The report, and the folder that it was written to."""

    report: Report
    folder: Path


def run(job: EvaluateJob) -> EvaluateResult:
    """Evaluate the best epoch of a run and write `reports/`.

    Raises:
      TriptychError: the run or its records do not exist, or the test split is empty.
    """
    folder = RunFolder(job.run)
    trained = load_trained(folder)
    report = evaluate(trained, commands={"evaluate": f"triptych evaluate --run {job.run}"}, curve=folder.read_metrics())
    write_report(folder.reports, report)
    console.print(summary_table(report), end="")
    for note in report.notes:
        say(note)
    say("Evaluated: " + ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items() if value >= 0.5))
    say(f"Report: {folder.reports / MARKDOWN_FILE} and {JSON_FILE}")
    return EvaluateResult(report, folder.reports)


def evaluate(trained: TrainedRun, *, commands: Mapping[str, str], curve: Sequence[Mapping[str, Any]]) -> Report:
    """Measure a trained model and the baselines on the requests of the test split, or a sample of them.

    Args:
      trained: the run, with its model.
      commands: name -> command line that produces the report again.
      curve: the lines of `metrics.jsonl`.
    """
    settings, schema, clock = trained.config.evaluate, trained.manifest.schema_, Clock()
    requests, sample = sampled_requests(trained)
    drawn = with_targets(requests.queries)
    in_sample = sample.main[drawn.rows]
    queries = drawn.take(in_sample)
    train_counts = trained.catalogue.counts(trained.manifest)
    item_embeddings, modality_weights = (value.numpy() for value in trained.model.item_embeddings())
    scorer = trained.scorer(requests)
    clock.note("opening")

    depth = max(settings.depth, BEYOND_CUTOFF * trained.config.export.pool)
    of_drawn = rank_systems(trained, scorer, drawn, depth)
    deep = of_drawn[MODEL].take(in_sample)  # as deep as the candidates that diversity chooses among
    of_drawn[MODEL] = of_drawn[MODEL].first(settings.depth)
    rankings = {name: ranking.take(in_sample) for name, ranking in of_drawn.items()}
    measured = {
        name: metrics.accuracy(ranking, queries)
        | beyond_accuracy(ranking, queries, features=item_embeddings, train_counts=train_counts)
        for name, ranking in rankings.items()
    }
    clock.note("ranking")
    between = intervals(rankings, measured, queries, trained.config.seed)
    clock.note("intervals")
    rankings.pop(ORACLE, None), of_drawn.pop(ORACLE, None)
    parts = _parts(drawn, sample, train_counts) | with_text(scorer, drawn, in_sample)
    if not schema.items:
        del parts[COLD_ITEMS]
    part_slices = {name: _slices(ranking, drawn, parts) for name, ranking in of_drawn.items()}
    some = draw_some(len(queries), settings.section_requests, trained.config.seed)
    section = queries.take(some)
    without, patterns = missing_content(trained, scorer, section, rankings[MODEL].take(some))
    clock.note("missing content")
    text_part, text_baselines = text_slices(trained, scorer, queries)
    towers = _towers_alone(trained, scorer, section, item_embeddings)
    clock.note("text, towers alone")
    main_scorer = replace(scorer, requests=requests.take(np.flatnonzero(sample.main)))
    labels = _ranking_head(trained, main_scorer, rankings[MODEL], train_counts)
    clock.note("ranking head")
    tradeoff = accuracy_diversity_curve(
        deep, queries, item_embeddings, levels=settings.diversities, batch=settings.batch
    )
    clock.note("diversity")
    groups = popularity_groups(train_counts)
    return Report(
        dataset=trained.manifest.name,
        protocol=_protocol(trained.manifest),
        model=measured.pop(MODEL),
        oracle=measured.pop(ORACLE, None),
        baselines=measured,
        intervals=between,
        slices=part_slices.pop(MODEL) | without | text_part | towers,
        baseline_slices=part_slices | text_baselines,
        ranking=labels,
        tradeoff=tradeoff,
        patterns=patterns,
        exposure={"groups": list(groups), "systems": exposure(rankings, queries, groups, BEYOND_CUTOFF)},
        modality_weights=modality_weights_by_group(
            modality_weights, schema.modalities, groups, item_categories(schema, trained.catalogue), settings.groups
        ),
        hybrid=() if trained.hybrid_weights is None else trained.hybrid_weights.steps,
        exploration=_exploration(trained),
        commands=commands,
        versions=trained.manifest.versions,
        sample={"requests": int(sample.main.sum()), "of": sample.total, "seed": trained.config.seed},
        notes=_notes(trained, sample, len(queries), len(section)),
        curve=curve,
        seconds=clock.seconds,
    )


class Clock:
    """Seconds of each part of the work.

    Attributes:
      seconds: name -> seconds, in the order of the work.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def note(self, name: str) -> None:
        """Name the work since the last call."""
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now


def _protocol(manifest: Manifest) -> str:
    """The protocol of the records, and how many held-out events are no targets because they are explicit negatives."""
    negatives = manifest.splits["test"].negatives
    note = f"; {negatives:,} explicit negatives of the test split are history, no targets" if negatives else ""
    return manifest.protocol + note


def _notes(trained: TrainedRun, sample: Sample, ranked: int, again: int) -> tuple[str, ...]:
    """What was not measured, or not on all requests."""
    settings, notes = trained.config.evaluate, []
    count = int(sample.main.sum())
    if count < sample.total:
        notes.append(
            f"{count:,} of {sample.total:,} requests, sampled with seed {trained.config.seed} (evaluate.max_requests), the "
            f"same for all systems and slices; {COLD_ITEMS} and {COLD_USERS} are filled up to {settings.slice_requests:,} "
            "requests where there are so many (evaluate.slice_requests)."
        )
    if again < ranked:
        notes.append(
            f"Without a modality, by the towers alone and by text: {again:,} of these requests at most "
            "(evaluate.section_requests)."
        )
    return (*notes, *([] if trained.manifest.schema_.items else [NO_CONTENT]))


def _parts(queries: Queries, sample: Sample, train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return parts of the queries, bool [Q]: by whether the targets, or the user, have a training event."""
    warm = np.array([bool((train_counts[targets] > 0).all()) for targets in queries.targets], bool)
    return {
        COLD_ITEMS: sample.slices[COLD_ITEMS][queries.rows],
        "warm_items": warm & sample.main[queries.rows],
        COLD_USERS: sample.slices[COLD_USERS][queries.rows],
    }


def _accuracy(ranking: Ranking, queries: Queries) -> Metrics:
    return metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}


def _slices(ranking: Ranking, queries: Queries, parts: Mapping[str, np.ndarray]) -> dict[str, Metrics]:
    """Return the metrics of a system on each part of the queries."""
    return {name: _accuracy(ranking.take(mask), queries.take(mask)) for name, mask in parts.items()}


def _exploration(trained: TrainedRun) -> dict[str, Any]:
    """What showing new items more often gains and costs on the validation split; nothing where it was not learned."""
    weights = trained.hybrid_weights
    if weights is None or not weights.exploration:
        return {}
    return {"chosen": trained.config.hybrid.explore, "rows": list(weights.exploration)}


def _towers_alone(
    session: Session, scorer: ModelScorer, queries: Queries, item_embeddings: np.ndarray
) -> dict[str, Metrics]:
    """Measure the towers without the rest of the hybrid score; nothing where the run has none."""
    if scorer.hybrid is None:
        return {}
    towers = scorer.with_items(tf.constant(item_embeddings))
    ranking = rank(
        towers, queries, len(session.catalogue), session.config.evaluate, label="ranking by the towers alone"
    )
    return {"towers_alone": _accuracy(ranking, queries)}


def _ranking_head(
    session: Session, scorer: ModelScorer, ranking: Ranking, train_counts: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Measure the predicted labels of every held-out event; nothing where the data set has no labels.

    `ranking` has the lists of the scorer's requests with a target.
    """
    if session.model.ranking_head is None:
        return {}
    settings = session.config.evaluate
    validation = predict_labels(replace(scorer, requests=validation_requests(session)), settings)
    test = predict_labels(scorer, settings, ranking)
    training = load_labelled_events(session.records, session.manifest, session.catalogue.ids)
    return measure_labels(scorer, validation, test, training, train_counts, settings)
