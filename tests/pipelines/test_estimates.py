"""Counts of the work of a run, from which its time and memory are estimated."""

from __future__ import annotations

import pytest
from small_folder import ITEMS, make_folder

from pipelines.building.builder import read_plan
from pipelines.config import load_config
from pipelines.workflow.estimates import Machine, best_of, count_work, estimate, measure_machine
from tfrecs.build.build_plan import BuildPlan
from tfrecs.check.sample import sample_features, sample_items, sample_windows
from tfrecs.spec.dataset_yaml import load_spec

CONFIG = ("build.kinds={image: {size: 16}}", "build.vocabulary_size=100", "user.max_history=10", "user.stride=4")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> BuildPlan:
    data = make_folder(tmp_path_factory.mktemp("data") / "small")
    return read_plan(data, load_spec(data, None), load_config(None, CONFIG), None)


def test_steps_are_the_windows_of_all_users_over_the_batch(plan: BuildPlan) -> None:
    # 12 users of 20 events at the seconds u, 1000 + u, ...: the oldest 192 events are the first 16 of every user.
    # Windows of 10 events that start every 4: from 0, 4 and 8, so three for each of the 12 users.
    assert count_work(plan, load_config(None, [*CONFIG, "train.batch_size=9"])).steps == 4
    assert count_work(plan, load_config(None, [*CONFIG, "train.batch_size=36"])).steps == 1


def test_work_counts_items_events_and_the_items_that_are_taught(plan: BuildPlan) -> None:
    work = count_work(plan, load_config(None, [*CONFIG, "cooccurrence.min_events=8"]))
    assert (work.items, work.modalities) == (ITEMS, 4)
    assert work.events == {"train": 192, "valid": 24, "test": 24}
    assert work.taught == sum(plan.events.facts.train_events >= 8)


def test_machines_are_measured_in_positive_speeds() -> None:
    machine = measure_machine(16)
    assert isinstance(machine, Machine)
    assert min(machine.multiply_adds, machine.elements) > 1e6
    assert best_of(lambda: None) < 0.01


def test_more_epochs_and_more_history_take_longer_and_every_step_has_an_estimate(plan: BuildPlan) -> None:
    features = [sample for part in plan.entities for sample in sample_features(part, 10)]
    windows = sample_windows(plan, 10, 0.0)
    examples = sample_items(plan.items, 4)
    assert len(examples) == 4

    def train_seconds(*changes: str) -> float:
        steps = estimate(plan, features, windows, examples, 0.0, load_config(None, [*CONFIG, *changes]))
        assert list(steps) == ["build", "train", "evaluate", "export"]
        assert all(step.seconds > 0 and step.megabytes > 100 for step in steps.values())
        return steps["train"].seconds

    assert train_seconds("train.epochs=2000") > 2 * train_seconds("train.epochs=20")
