"""`triptych evaluate`: full ranking of the test split by the model and the baselines, with slices; a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import EvaluateConfig
from pipelines.evaluation.baselines import fit_baselines
from pipelines.evaluation.beyond_accuracy import BEYOND_CUTOFF, accuracy_diversity_curve, beyond_accuracy
from pipelines.evaluation.exposure import exposure, item_categories, modality_weights_by_group, popularity_groups
from pipelines.evaluation.missing_modalities import missing_patterns
from pipelines.evaluation.ranking_head import measure_labels, predict_labels
from pipelines.evaluation.text_slices import text_slices, with_text
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.item_item.neighbours import interaction_matrix
from pipelines.model.session import Session
from pipelines.reporting.formatting import MODEL, ORACLE
from pipelines.reporting.report import JSON_FILE, MARKDOWN_FILE, Report, summary_table, write_report
from pipelines.runs.progress import console, progress, say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.held_out import held_out_requests, validation_requests
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Scorer, with_targets
from tfrecs.demo.world import oracle_scores
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
    say(f"Report: {folder.reports / MARKDOWN_FILE} and {JSON_FILE}")
    return EvaluateResult(report, folder.reports)


def evaluate(trained: TrainedRun, *, commands: Mapping[str, str], curve: Sequence[Mapping[str, Any]]) -> Report:
    """Measure a trained model and the baselines on the requests of the test split.

    Args:
      trained: the run, with its model.
      commands: name -> command line that produces the report again.
      curve: the lines of `metrics.jsonl`.
    """
    settings, schema = trained.config.evaluate, trained.manifest.schema_
    requests = held_out_requests(trained)
    queries = with_targets(requests.queries)
    train_counts = trained.catalogue.counts(trained.manifest)
    item_embeddings, modality_weights = (value.numpy() for value in trained.model.item_embeddings())
    scorer = trained.scorer(requests)

    rankings = _rank_systems(trained, scorer, queries)
    measured = {
        name: metrics.accuracy(ranking, queries)
        | beyond_accuracy(ranking, queries, features=item_embeddings, train_counts=train_counts)
        for name, ranking in rankings.items()
    }
    rankings.pop(ORACLE, None)
    parts = _parts(queries, train_counts, set(trained.events.user_ids.tolist())) | with_text(scorer, queries)
    if not schema.items:
        del parts["cold_items"]
    part_slices = {name: _slices(ranking, queries, parts) for name, ranking in rankings.items()}
    text_part, text_baselines = text_slices(trained, scorer, queries)
    groups = popularity_groups(train_counts)
    return Report(
        dataset=trained.manifest.name,
        protocol=_protocol(trained.manifest),
        model=measured.pop(MODEL),
        oracle=measured.pop(ORACLE, None),
        baselines=measured,
        slices=part_slices.pop(MODEL)
        | _without_modalities(trained, scorer, queries)
        | text_part
        | _towers_alone(trained, scorer, queries),
        baseline_slices=part_slices | text_baselines,
        ranking=_ranking_head(trained, scorer, train_counts),
        tradeoff=accuracy_diversity_curve(
            scorer,
            queries,
            item_embeddings,
            levels=settings.diversities,
            pool=trained.config.export.pool,
            batch=settings.batch,
        ),
        patterns=missing_patterns(trained, scorer, queries),
        exposure={"groups": list(groups), "systems": exposure(rankings, queries, groups, BEYOND_CUTOFF)},
        modality_weights=modality_weights_by_group(
            modality_weights, schema.modalities, groups, item_categories(schema, trained.catalogue), settings.groups
        ),
        hybrid=() if trained.hybrid_weights is None else trained.hybrid_weights.steps,
        commands=commands,
        versions=trained.manifest.versions,
        notes=() if schema.items else (NO_CONTENT,),
        curve=curve,
    )


def _protocol(manifest: Manifest) -> str:
    """The protocol of the records, and how many held-out events are no targets because they are explicit negatives."""
    negatives = manifest.splits["test"].negatives
    note = f"; {negatives:,} explicit negatives of the test split are history, no targets" if negatives else ""
    return manifest.protocol + note


def _rank_systems(session: Session, scorer: ModelScorer, queries: Queries) -> dict[str, Ranking]:
    """Rank the queries with the model, the baselines and, for generated data, the true preferences."""
    settings, num_items = session.config.evaluate, len(session.catalogue)
    events = session.events
    count = len(events.user_ids)
    train = interaction_matrix(events.users, events.items, events.weights, num_users=count, num_items=num_items)
    scorers: dict[str, Scorer] = {MODEL: scorer}
    scorers |= fit_baselines(
        train,
        seed=session.config.seed,
        shrinkage=settings.shrinkage,
        neighbours=settings.neighbours,
        last=settings.last,
    )
    if session.manifest.oracle is not None:
        scorers[ORACLE] = _oracle(session.records / session.manifest.oracle, session.catalogue.ids)
    rankings = {}
    with progress("ranking the test split", "systems") as advance:
        for done, (name, score) in enumerate(scorers.items()):
            advance(done, len(scorers))
            rankings[name] = _rank(score, queries, num_items, settings)
    return rankings


def _rank(scorer: Scorer, queries: Queries, num_items: int, settings: EvaluateConfig) -> Ranking:
    return metrics.rank(scorer, queries, num_items=num_items, depth=settings.depth, batch=settings.batch)


def _oracle(path: Path, item_ids: np.ndarray) -> Scorer:
    """Return a scorer by the true preferences, which only the generator of a data set knows."""
    position = {item: index for index, item in enumerate(item_ids)}

    def score(queries: Queries) -> np.ndarray:
        ids, utility = oracle_scores(path, list(queries.user_ids), queries.times)
        scores = np.full([len(queries), len(position)], -np.inf, np.float32)
        scores[:, [position[item] for item in ids]] = utility
        return scores

    return score


def _parts(queries: Queries, train_counts: np.ndarray, training_users: set[str]) -> dict[str, np.ndarray]:
    """Return parts of the queries, bool [Q]: by whether the targets, or the user, have a training event."""
    return {
        "cold_items": np.array([bool((train_counts[targets] == 0).all()) for targets in queries.targets]),
        "warm_items": np.array([bool((train_counts[targets] > 0).all()) for targets in queries.targets]),
        "cold_users": np.array([user not in training_users for user in queries.user_ids]),
    }


def _accuracy(ranking: Ranking, queries: Queries) -> Metrics:
    return metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}


def _slices(ranking: Ranking, queries: Queries, parts: Mapping[str, np.ndarray]) -> dict[str, Metrics]:
    """Return the metrics of a system on each part of the queries."""
    return {name: _accuracy(ranking.take(mask), queries.take(mask)) for name, mask in parts.items()}


def _without_modalities(trained: TrainedRun, scorer: ModelScorer, queries: Queries) -> dict[str, Metrics]:
    """Measure the model where no item has a given modality, for each modality."""
    slices = {}
    for column, name in enumerate(trained.manifest.schema_.modalities):
        presence = trained.items.presence.copy()
        presence[:, column] = False
        without = scorer.with_items(*trained.with_content(presence))
        ranking = _rank(without, queries, len(trained.catalogue), trained.config.evaluate)
        slices[f"without_{name}"] = _accuracy(ranking, queries)
    return slices


def _towers_alone(session: Session, scorer: ModelScorer, queries: Queries) -> dict[str, Metrics]:
    """Measure the towers without the rest of the hybrid score; nothing where the run has none."""
    if scorer.hybrid is None:
        return {}
    towers = scorer.with_items(session.model.item_embeddings()[0])
    return {"towers_alone": _accuracy(_rank(towers, queries, len(session.catalogue), session.config.evaluate), queries)}


def _ranking_head(session: Session, scorer: ModelScorer, train_counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """Measure the predicted labels of every held-out event; nothing where the data set has no labels."""
    if session.model.ranking_head is None:
        return {}
    settings = session.config.evaluate
    validation = replace(scorer, requests=validation_requests(session))
    training = load_labelled_events(session.records, session.manifest, session.catalogue.ids)
    return measure_labels(
        scorer, predict_labels(validation, settings), predict_labels(scorer, settings), training, train_counts, settings
    )
