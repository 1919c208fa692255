"""The whole way once for all tests: a small catalogue with texts, pictures and sound, built, trained, evaluated, exported.

See conftest.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.building import builder as build
from pipelines.config import Config, load_config
from pipelines.evaluation import evaluator as evaluate
from pipelines.exporting import exporter as export
from pipelines.training import trainer as train
from tfrecs.demo import generate

SMALL = (
    "build.vocabulary_size=600",
    "text.num_layers=1",
    "text.hidden_dim=32",
    "text.intermediate_dim=64",
    "text.max_tokens=32",
    "image.filters=[8,16]",
    "audio.filters=[8,16]",
    "user.hidden_dim=32",
    "user.num_layers=1",
    "user.max_history=20",
    "user.stride=10",
    "train.epochs=3",
    "train.batch_size=16",
    "train.fresh_items=8",
    # A loop of several steps is traced twice; test_training_step.py shows that it takes the same steps.
    "train.steps_per_call=1",
    "export.parity_requests=40",
)


@dataclass(frozen=True)
class Whole:
    data: Path
    records: Path
    run: Path
    models: Path
    config: Config
    evaluation: evaluate.EvaluateResult
    export: export.ExportResult
    trained: train.TrainResult


def take_whole_way(data: Path, root: Path, name: str, config: Config) -> Whole:
    """Builds, trains, evaluates and exports a data folder, into folders of `root`; `name` is that of the model."""
    records = build.run(build.BuildJob(data, root / "records", config)).out
    trained = train.run(train.TrainJob(records, root / "run", config))
    evaluation = evaluate.run(evaluate.EvaluateJob(root / "run"))
    exported = export.run(export.ExportJob(root / "run", root / "models" / name))
    return Whole(data, records, root / "run", root / "models", config, evaluation, exported, trained)


def make(root: Path) -> Whole:
    data = generate(root / "data", seed=4, items=80, users=60, interactions=2400)
    return take_whole_way(data, root, "demo", load_config(None, SMALL))
