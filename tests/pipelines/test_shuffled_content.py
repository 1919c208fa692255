"""Content earns its place: the same model on shuffled content finds new items no better than chance does."""

from __future__ import annotations

from pathlib import Path

import pytest
from grouped_folder import grouped

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.evaluation.evaluator import evaluate
from pipelines.evaluation.missing_modalities import ALL, SHUFFLED
from pipelines.hybrid.trained_run import load_trained
from pipelines.reporting.report_data import Report
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train

pytestmark = pytest.mark.slow

SETTINGS = (
    "user.hidden_dim=32",
    "user.num_layers=1",
    "user.max_history=20",
    "user.stride=20",
    "train.epochs=8",
    "train.learning_rate=0.01",
    "train.encoders=finetune",
    "train.fresh_items=64",
    "train.encoder_scale=1",
    "item.id_dropout=0.5",
    "hybrid.enabled=false",  # what was counted of the events is the same whatever the content
)


def reported(root: Path, *, shuffled: bool) -> Report:
    config = load_config(None, SETTINGS)
    data = grouped(root / "data", shuffled=shuffled)
    records = build.run(build.BuildJob(data, root / "records", config)).out
    train.run(train.TrainJob(records, root / "run", config))
    return evaluate(load_trained(RunFolder(root / "run")), commands={}, curve=[])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Report]:
    root = tmp_path_factory.mktemp("shuffled")
    return reported(root / "real", shuffled=False), reported(root / "other", shuffled=True)


@pytest.mark.matrix
def test_trained_on_shuffled_rows_cold_items_are_not_found(reports: tuple[Report, Report]) -> None:
    real, other = (report.slices["cold_items"]["recall@20"] for report in reports)
    chance = reports[0].baseline_slices["random"]["cold_items"]["recall@20"]
    assert reports[0].slices["cold_items"]["queries"] > 30
    assert real > 2 * other
    assert real > 2 * chance


@pytest.mark.matrix
def test_shuffled_after_training_the_content_says_nothing(reports: tuple[Report, Report]) -> None:
    rows = {row["content"]: row for row in reports[0].patterns}
    assert rows[ALL]["content_only_recall@20"] > 2 * rows[SHUFFLED]["content_only_recall@20"]
    # With other rows since training there is nothing to lose.
    rows = {row["content"]: row for row in reports[1].patterns}
    assert rows[ALL]["content_only_recall@20"] < 2 * rows[SHUFFLED]["content_only_recall@20"]
