"""`triptych build --check`: reads spec and tables, encodes a sample of the content, and says what a run would come to."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pipelines.building.builder import read_plan, read_spec, summary
from pipelines.config import Config
from pipelines.runs.progress import console, say
from pipelines.workflow.estimates import Estimate, estimate
from tfrecs.build.build_plan import BuildPlan
from tfrecs.build.builder import check_out, plan_manifest
from tfrecs.check.problems import Problem, find_problems, sample_problems
from tfrecs.check.sample import FeatureSample, WindowSample, sample_features, sample_items, sample_windows
from tfrecs.errors import DataError
from tfrecs.reading import record_checks
from tfrecs.schema import SPLITS, Manifest
from tfrecs.spec.dataset_yaml import load_spec

ENCODED = 8  # items that the encoders are timed on
ERROR_OF_ESTIMATES = (
    "Times and memory: from speeds measured now on this machine and counts of the work, all epochs of train.epochs; right "
    "to a factor of three or so."
)


@dataclass(frozen=True)
class CheckJob:
    """What to check.

    Attributes:
      data: the data folder.
      config: of every step.
      spec: a dataset.yaml elsewhere; None: the one in `data`, or what its files suggest.
      out: where the records are to go; None: not known yet.
      as_json: print one line of JSON instead of a page.
    """

    data: Path
    config: Config
    spec: Path | None = None
    out: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class CheckResult:
    """What a build would make.

    Attributes:
      plan: of the build, which need not be made again.
      manifest: that the records would have, without shards; its coverage is an estimate from the sample.
      features: the sample of each feature of items, then of users.
      windows: of all user windows.
      estimates: step -> expected time and memory; {} where there are errors.
      errors: problems that stop a build.
      warnings: one line each.
    """

    plan: BuildPlan
    manifest: Manifest
    features: tuple[FeatureSample, ...]
    windows: WindowSample
    estimates: dict[str, Estimate]
    errors: tuple[Problem, ...]
    warnings: tuple[str, ...]

    @property
    def record_bytes(self) -> float:
        """Size of the records, estimated from the sample."""
        items = sum(sample.bytes * sample.with_value for sample in self.features[: len(self.plan.items.features)])
        return items + self.windows.bytes


def run(job: CheckJob) -> CheckResult:
    """Check a data folder and print a page of what will happen; nothing is written.

    Raises:
      DataError: a problem that stops a build; each is on the page.
      TriptychError: spec or tables cannot be read.
    """
    started = time.monotonic()
    if job.out is not None:
        check_out(job.out)
    if not job.as_json:
        say(f"Checking {job.data}: reading its tables ...")
    result = check(job)
    if job.as_json:
        say(json.dumps(to_json(result), ensure_ascii=False))
    else:
        _page(result, job, time.monotonic() - started)
    if result.errors:
        count = len(result.errors)
        raise DataError(f"{job.data}: {count} error{'s' * (count > 1)}, which would stop the build; see above")
    return result


def check(job: CheckJob) -> CheckResult:
    """Check a data folder without printing anything but an inferred spec. Raises as `run` does for spec and tables."""
    settings = job.config.build
    # JSON holds the spec, an inferred one too; printed it would stand in its way.
    spec = load_spec(job.data, job.spec) if job.as_json else read_spec(job.data, job.spec)
    started = time.monotonic()
    plan = read_plan(job.data, spec, job.config, job.out, quiet=job.as_json)
    read_seconds = time.monotonic() - started
    of_items = sample_features(plan.items, settings.check_sample)
    of_users = sample_features(plan.users, settings.check_sample) if plan.users else []
    user_bytes = sum(sample.bytes * sample.with_value / max(sample.total, 1) for sample in of_users)
    present = {sample.name: round(sample.coverage * sample.total) for sample in of_items}
    manifest = plan_manifest(plan, job.config.seed, present)
    samples = (*of_items, *of_users)
    windows = sample_windows(plan, settings.check_sample, user_bytes)
    problems = [*find_problems(plan, settings.max_bad), *sample_problems(samples, plan, settings.max_bad)]
    errors = tuple(problem for problem in problems if problem.fatal)
    estimates: dict[str, Estimate] = {}
    if not errors:
        examples = sample_items(plan.items, ENCODED)
        estimates = estimate(plan, samples, windows, examples, read_seconds, job.config)
    warnings = [str(problem) for problem in problems if not problem.fatal] + _oddities(plan, manifest, job.config)
    result = CheckResult(plan, manifest, samples, windows, estimates, errors, tuple(warnings))
    return replace(result, warnings=(*warnings, *_shortages(result, job.out)))


def _shortages(result: CheckResult, out: Path | None) -> list[str]:
    """What this machine has too little of, as far as the estimates say."""
    lines = []
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    for step, estimated in result.estimates.items():
        if estimated.megabytes / 1e3 > memory:
            lines.append(
                f"memory: {step} takes about {estimated.megabytes / 1e3:.1f} GB, this machine has {memory:.1f} GB; take a "
                "larger one, or fewer or smaller items"
            )
    # The folder of the records need not exist yet.
    folder = next(path for path in (Path(os.path.abspath(out or ".")) / "_").parents if path.exists())
    free = shutil.disk_usage(folder).free
    if result.record_bytes > free:
        lines.append(
            f"disk: the records take about {result.record_bytes / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free; name "
            "another --out, or make room"
        )
    return lines


def _oddities(plan: BuildPlan, manifest: Manifest, config: Config) -> list[str]:
    """What `triptych inspect` would warn of in the records, as far as the tables show it."""
    events, facts = plan.events, plan.events.facts
    lines = [line for line in record_checks.from_manifest(manifest) if not line.startswith("split ")]
    counts = facts.events_of_user
    busy = {events.user_ids[user]: int(counts[user]) for user in np.flatnonzero(counts > config.inspect.heavy)}
    lines += record_checks.heavy_users(busy, config.inspect.heavy, facts.events)
    unknown = [record_checks.unknown_item(reject.reason, reject.detail) for reject in plan.rejects]
    named = [item for item in unknown if item is not None]
    seen = [events.item_ids[item] for item in np.flatnonzero(facts.all_events)]
    lines += record_checks.ids_off_by_one(plan.items.ids, seen, named)
    if plan.schema.has_time:
        oddities = record_checks.TimeOddities(int(time.time()))
        for columns in events.buckets():
            oddities.add(columns["time"])
        lines += oddities.warnings()
    return lines


def label_facts(plan: BuildPlan) -> dict[str, dict[str, Any]]:
    """Return label -> its task, and split -> the number of known values and their mean (the share of a binary label)."""
    facts: dict[str, dict[str, Any]] = {}
    for label in plan.schema.labels:
        facts[label.name] = {"task": label.task}
        for split in SPLITS:
            values = plan.events.facts.splits[split].labels[label.name]
            facts[label.name][split] = {"events": values.count, "mean": values.mean if values.count else None}
    return facts


def to_json(result: CheckResult) -> dict[str, Any]:
    """Return the content of the page as plain JSON values."""
    manifest = result.manifest
    return {
        "name": manifest.name,
        "spec": result.plan.spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        "items": manifest.items,
        "users": manifest.users,
        "interactions": manifest.interactions,
        "items_without_training_event": manifest.cold_items,
        "users_with_one_event": _users_with_one_event(result.plan),
        "rejected": manifest.rejected,
        "notes": list(manifest.notes),
        "protocol": manifest.protocol,
        "splits": {
            name: {"events": split.events, "users": split.users, "examples": split.examples}
            for name, split in manifest.splits.items()
        },
        "features": [
            {
                "name": sample.name,
                "kind": sample.kind,
                "of": owner,
                "coverage": round(sample.coverage, 4),
                "checked": sample.checked,
                "broken": sample.broken,
                "used_in_part": sample.in_part,
            }
            for owner, sample in _owned(result)
        ],
        "labels": label_facts(result.plan),
        "estimates": {name: asdict(step) for name, step in result.estimates.items()},
        "record_megabytes": round(result.record_bytes / 1e6, 2),
        "errors": [str(problem) for problem in result.errors],
        "warnings": list(result.warnings),
    }


def _users_with_one_event(plan: BuildPlan) -> int:
    return int((plan.events.facts.events_of_user == 1).sum())


def _owned(result: CheckResult) -> list[tuple[str, FeatureSample]]:
    items = len(result.plan.items.features)
    return [("user" if at >= items else "item", sample) for at, sample in enumerate(result.features)]


def _page(result: CheckResult, job: CheckJob, seconds: float) -> None:
    manifest, plan = result.manifest, result.plan
    say(f"Check of {job.data} in {seconds:.1f} s; nothing is written.")
    say(summary(manifest, None))
    say(
        f"{_users_with_one_event(plan):,} users with one event, {manifest.cold_items:,} items without a training event; "
        f"records of about {result.record_bytes / 1e6:,.1f} MB."
    )
    if result.features:
        rows = [
            [
                sample.name,
                sample.kind,
                owner,
                f"{sample.coverage:.1%}",
                f"{sample.checked:,} of {sample.with_value:,}",
                str(sample.broken),
            ]
            for owner, sample in _owned(result)
        ]
        _print_table(("feature", "kind", "of", "coverage", "checked", "broken"), rows)
    splits = [
        [
            name,
            f"{split.users:,}",
            f"{split.events:,}",
            *(_label_cell(facts, name) for facts in label_facts(plan).values()),
        ]
        for name, split in manifest.splits.items()
    ]
    _print_table(("split", "users", "events", *(label.name for label in plan.schema.labels)), splits)
    if result.estimates:
        rows = [[name, _duration(e.seconds), f"{e.megabytes / 1e3:.1f} GB"] for name, e in result.estimates.items()]
        _print_table(("step", "about", "memory"), rows)
        say(ERROR_OF_ESTIMATES)
    for problem in result.errors:
        say(f"error: {problem}")
    for line in result.warnings:
        say(f"warning: {line}")
    if not result.errors and not result.warnings:
        say("no errors, no warnings")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _label_cell(facts: dict[str, Any], split: str) -> str:
    mean = facts[split]["mean"]
    if mean is None:
        return "none"
    return f"{mean:.1%} yes" if facts["task"] == "binary" else f"mean {mean:.2f}"


def _print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, header_style="dim")
    for header in headers:
        table.add_column(header)
    for row in rows:
        table.add_row(*row)
    console.print(table)
