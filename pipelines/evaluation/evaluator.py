"""`triptych evaluate`: full ranking of the test split by the model and the baselines, with slices; a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import EvaluateConfig
from pipelines.evaluation import label_metrics as ranking_head
from pipelines.evaluation.baselines import fit_baselines, interaction_matrix
from pipelines.evaluation.beyond_accuracy import BEYOND_CUTOFF, beyond_accuracy
from pipelines.evaluation.diversity_curve import accuracy_diversity_curve
from pipelines.evaluation.exposure import exposure, item_categories, popularity_groups, weight_groups
from pipelines.evaluation.missing_modalities import missing_patterns
from pipelines.evaluation.text_slices import text_slices, with_text
from pipelines.hybrid.scorer import WithContent, trained_scorer, with_content
from pipelines.model.session import Session, load_trained, validation_requests
from pipelines.reporting.plots_style import MODEL, ORACLE
from pipelines.reporting.report import JSON_FILE, MARKDOWN_FILE, Report, summary_table, write_report
from pipelines.runs.progress import console, progress, say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring import metrics
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.model_scorer import ModelScorer
from pipelines.scoring.requests import Queries, Requests, Scorer, make_requests, with_targets
from tfrecs.demo.world import oracle_scores
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_histories, load_labelled_events


@dataclass(frozen=True)
class EvaluateJob:
    run: Path


@dataclass(frozen=True)
class EvaluateResult:
    report: Report
    folder: Path


def run(job: EvaluateJob) -> EvaluateResult:
    """Evaluates the best epoch of a run and writes `reports/`.

    Raises:
      TriptychError: the run or its records are not there.
    """
    folder = RunFolder(job.run)
    session = load_trained(folder)
    report = evaluate(session, commands={"evaluate": f"triptych evaluate --run {job.run}"}, curve=folder.read_metrics())
    write_report(folder.reports, report)
    console.print(summary_table(report), end="", markup=False)
    say(f"Report: {folder.reports / MARKDOWN_FILE} and {JSON_FILE}")
    return EvaluateResult(report, folder.reports)


def held_out_requests(session: Session) -> Requests:
    """The requests of the test split. Raises DataError where there is none."""
    histories = load_histories(session.records, session.manifest, "test", session.catalogue.ids)
    requests = make_requests(histories, session.manifest.schema_)
    if not len(requests):
        raise DataError(f"{session.records}: the test split is empty; change `split` in dataset.yaml and build again")
    return requests


def evaluate(session: Session, *, commands: Mapping[str, str], curve: list[dict[str, Any]]) -> Report:
    """Measures a model and the baselines on the same requests."""
    settings = session.config.evaluate
    requests = held_out_requests(session)
    queries = with_targets(requests.queries)
    count = len(session.catalogue)
    events = session.events
    names, rows = np.unique(events.users, return_inverse=True)
    train = interaction_matrix(rows, events.items, num_users=len(names), num_items=count)
    counts = session.catalogue.counts(session.manifest)
    table, weights = (value.numpy() for value in session.model.item_embeddings())
    variant = with_content(session)
    scorer = trained_scorer(session, requests, variant)
    scorers: dict[str, Scorer] = {MODEL: scorer}
    scorers |= fit_baselines(
        train,
        seed=session.config.seed,
        shrinkage=settings.shrinkage,
        neighbours=settings.neighbours,
        last=settings.last,
    )
    oracle = _oracle(session)
    if oracle is not None:
        scorers[ORACLE] = oracle
    rankings, measured = {}, {}
    with progress("ranking the test split", "systems") as advance:
        for done, (name, score) in enumerate(scorers.items()):
            advance(done, len(scorers))
            ranking = _rank(score, queries, count, settings)
            rankings[name] = ranking
            measured[name] = metrics.accuracy(ranking, queries) | beyond_accuracy(
                ranking, queries, features=table, train_counts=counts
            )
    parts = _parts(queries, counts, set(names.tolist())) | with_text(scorer, queries)
    slices, baseline_slices = _slices(queries, rankings, parts)
    slices |= _without_modalities(session, scorer, queries, variant)
    asked, asked_baselines = text_slices(session, scorer, queries)
    slices |= asked
    baseline_slices |= asked_baselines
    if scorer.hybrid is not None:
        alone = _rank(ModelScorer(session.model, requests), queries, count, settings)
        slices["towers_alone"] = metrics.accuracy(alone, queries) | {"queries": float(len(queries))}
    groups = popularity_groups(counts)
    return Report(
        dataset=session.manifest.name,
        protocol=session.manifest.protocol,
        model=measured.pop(MODEL),
        oracle=measured.pop(ORACLE, None),
        baselines=measured,
        slices=slices,
        ranking=_ranking_head(session, scorer, counts),
        commands=commands,
        tradeoff=accuracy_diversity_curve(
            scorer,
            queries,
            table,
            levels=settings.diversities,
            pool=session.config.export.pool,
            batch=settings.batch,
        ),
        baseline_slices=baseline_slices,
        patterns=missing_patterns(
            scorer,
            queries,
            variant,
            limit=settings.patterns,
            max_queries=settings.pattern_queries,
            seed=session.config.seed,
            depth=settings.depth,
            batch=settings.batch,
        ),
        exposure={
            "groups": list(groups),
            "systems": exposure(
                {name: rankings[name] for name in rankings if name != ORACLE}, queries, groups, BEYOND_CUTOFF
            ),
        },
        modality_weights=weight_groups(
            weights,
            session.manifest.schema_.modalities,
            groups,
            item_categories(session.manifest.schema_, session.catalogue),
            settings.groups,
        ),
        hybrid=() if session.blend is None else session.blend.steps,
        versions=session.manifest.versions,
        curve=curve,
    )


def _rank(scorer: Scorer, queries: Queries, count: int, settings: EvaluateConfig) -> Ranking:
    return metrics.rank(scorer, queries, num_items=count, depth=settings.depth, batch=settings.batch)


def _oracle(session: Session) -> Scorer | None:
    """Ranks by the true preferences, which only the generator of a data set can know."""
    if session.manifest.oracle is None:
        return None
    path = session.records / session.manifest.oracle
    position = {item: index for index, item in enumerate(session.catalogue.ids)}

    def score(queries: Queries) -> np.ndarray:
        ids, utility = oracle_scores(path, list(queries.user_ids), queries.times)
        scores = np.full([len(queries), len(position)], -np.inf, np.float32)
        scores[:, [position[item] for item in ids]] = utility
        return scores

    return score


def _parts(queries: Queries, counts: np.ndarray, training_users: set[str]) -> dict[str, np.ndarray]:
    """Parts of the test split, bool [Q]: by whether the targets, or the user, were seen in training."""
    return {
        "cold_items": np.array([bool((counts[targets] == 0).all()) for targets in queries.targets]),
        "warm_items": np.array([bool((counts[targets] > 0).all()) for targets in queries.targets]),
        "cold_users": np.array([user not in training_users for user in queries.user_ids]),
    }


def _slices(
    queries: Queries, rankings: Mapping[str, Ranking], parts: Mapping[str, np.ndarray]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """Part -> metrics of the model; the same for each of the baselines."""
    found = {
        system: {
            name: metrics.accuracy(ranking.take(mask), queries.take(mask)) | {"queries": float(mask.sum())}
            for name, mask in parts.items()
        }
        for system, ranking in rankings.items()
        if system != ORACLE
    }
    return found.pop(MODEL), found


def _without_modalities(
    session: Session, trained: ModelScorer, queries: Queries, variant: WithContent
) -> dict[str, dict[str, float]]:
    """The same requests where no item has a given modality: what each contributes to the trained model."""
    slices = {}
    for column, name in enumerate(session.manifest.schema_.modalities):
        presence = session.items.presence.copy()
        presence[:, column] = False
        words = None if trained.words is None else trained.words.with_content(presence, None)
        scorer = ModelScorer(session.model, trained.requests, *variant(presence, None), words)
        ranking = _rank(scorer, queries, len(session.catalogue), session.config.evaluate)
        slices[f"without_{name}"] = metrics.accuracy(ranking, queries) | {"queries": float(len(queries))}
    return slices


def _ranking_head(session: Session, scorer: ModelScorer, counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """The labels of every held-out event; see `pipelines.evaluation.label_metrics.measure`."""
    if session.model.ranking_head is None:
        return {}
    settings = session.config.evaluate
    validation = ModelScorer(session.model, validation_requests(session), scorer.table, scorer.hybrid, scorer.words)
    training = load_labelled_events(session.records, session.manifest, session.catalogue.ids)
    return ranking_head.measure(
        scorer, ranking_head.ask(validation, settings), ranking_head.ask(scorer, settings), training, counts, settings
    )
