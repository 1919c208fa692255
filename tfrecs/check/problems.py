"""Mistakes that the tables alone show, before a media file is opened: what stops a build, and what is worth a warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfrecs.build.build_plan import BuildPlan
from tfrecs.check.sample import FeatureSample
from tfrecs.errors import DataError, TooManyRejectsError
from tfrecs.events.facts import Moments
from tfrecs.rejects import MIN_WHOLE, Rejects
from tfrecs.schema import SPLITS, LabelSchema
from tfrecs.spec.models import ColumnSplit

_MOSTLY = 0.5  # share of users or items from which on a property of each is one of the data set


@dataclass(frozen=True)
class Problem:
    """A mistake in a data set.

    Attributes:
      what: what is wrong.
      remedy: what to do about it.
      fatal: whether nothing can be trained or measured with it; other problems are warnings.
      error: too many rejects, where that is the problem.
    """

    what: str
    remedy: str
    fatal: bool = True
    error: TooManyRejectsError | None = None

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def refuse(problems: Sequence[Problem]) -> None:
    """Raise a DataError with the first fatal problem, if there is one, and the number of others."""
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        more = f" ({len(fatal) - 1} more: triptych build --check)" if len(fatal) > 1 else ""
        message, error = f"{fatal[0]}{more}", fatal[0].error
        raise TooManyRejectsError(message, error.listing) if error else DataError(message)


def find_problems(plan: BuildPlan, max_bad: float) -> list[Problem]:
    """Find the problems of a planned build, fatal ones first.

    Args:
      plan: of the build.
      max_bad: share of rows and values, in [0, 1], above which rejects end the build.
    """
    problems = [*_splits(plan), *_labels(plan), *_rejects(plan, max_bad), *_users(plan), *_items(plan)]
    return sorted(problems, key=lambda problem: not problem.fatal)


def sample_problems(samples: Sequence[FeatureSample], plan: BuildPlan, max_bad: float) -> list[Problem]:
    """Find the problems that a sample of the values shows, fatal ones first. Arguments as of `find_problems`."""
    problems = []
    rows = sum(plan.rejects.seen_counts().values()) + sum(sample.with_value for sample in samples)
    expected = sum(sample.with_value * sample.broken / max(sample.checked, 1) for sample in samples)
    too_many = expected + sum(plan.rejects.counts().values()) > max_bad * rows
    for sample in samples:
        what = f"{sample.name}: {sample.broken:,} of {sample.checked:,} sampled values cannot be encoded, first {sample.fault}"
        if sample.broken >= max(sample.checked, MIN_WHOLE):
            problems.append(Problem(what, "mend the files, or the feature's column and kind in the spec"))
        elif sample.broken:
            end = "; if the others are alike, the build ends with too many rejects" if too_many else ""
            problems.append(Problem(what + end, "mend the files, or raise --max-bad", fatal=False))
        if sample.in_part:
            what = f"{sample.name}: {sample.in_part:,} of {sample.checked:,} sampled values can be used in part only"
            problems.append(Problem(what, "rejected.jsonl of the build says in what respect", fatal=False))
    return sorted(problems, key=lambda problem: not problem.fatal)


def _splits(plan: BuildPlan) -> Iterator[Problem]:
    file, split = plan.spec.interactions.file, plan.spec.effective_split
    for name in SPLITS:
        facts = plan.events.facts.splits[name]
        use = {"train": "trained", "valid": "chosen while training", "test": "measured or exported"}[name]
        if not facts.events:
            remedy = "change `split` in the spec, for instance to {by: leave_last}"
            if isinstance(split, ColumnSplit):
                remedy = f"no value of its column {split.column} says {name}; add some, or change `split` in the spec"
            yield Problem(f"{file}: the {name} split is empty, so nothing can be {use}", remedy)
        elif not facts.targets:
            rule, remedy = _rule(plan, name)
            yield Problem(
                f"{file}: no event of the {name} split is a positive ({rule}), so nothing can be {use}", remedy
            )


def _rule(plan: BuildPlan, split: str) -> tuple[str, str]:
    """Return what makes an event of a split a positive, and what to change about it."""
    positive, least = plan.spec.interactions.positive, plan.schema.held_out_at_least
    if positive is not None:
        return f"{positive.column} >= {positive.at_least:g}", "lower `positive.at_least` in the spec"
    if least and split != SPLITS[0]:
        return f"a weight >= {least:g}", "lower `weight.held_out_at_least` in the spec"
    return "a weight above 0", "raise the weights in `interactions.weight`, or change `split` in the spec"


def _labels(plan: BuildPlan) -> Iterator[Problem]:
    for label in plan.schema.labels:
        for name in SPLITS:
            facts = plan.events.facts.splits[name]
            problem = _one_valued(plan, label, name, facts.labels[label.name]) if facts.events else None
            if problem is not None:
                yield problem
                break  # Of one class in training, it is so in the others for the same reason.


def _one_valued(plan: BuildPlan, label: LabelSchema, split: str, values: Moments) -> Problem | None:
    if values.low < values.high:
        return None
    source = plan.spec.interactions.labels[label.name]
    where = f"{plan.spec.interactions.file}: label {label.name}: "
    if not values.count:
        what = f"{where}no event of the {split} split has a value in column {source.column}"
    elif label.task == "binary":
        sign = ">=" if values.low else "<"
        what = (
            f"{where}all {values.count:,} events of the {split} split have {source.column} {sign} {source.at_least:g}"
        )
    else:
        what = f"{where}all {values.count:,} events of the {split} split have {source.column} {values.low:g}"
    if split == "train":
        return Problem(f"{what}, so nothing can be learned from it", "change the label, or leave it out of the spec")
    return Problem(what, "its metrics say nothing there; change the label or the split", fatal=False)


def _rejects(plan: BuildPlan, max_bad: float) -> Iterator[Problem]:
    """Too many rejects, even if every value that is still to be encoded were good."""
    expected = Rejects()
    expected.extend(plan.rejects.seen_counts(), plan.rejects)
    expected.explanations = plan.rejects.explanations
    for entities in plan.entities:
        for name, values in entities.values.items():
            left = (str(file) for file, value in zip(entities.table.files, values, strict=True) if value is not None)
            for file, count in Counter(left).items():
                expected.seen(f"{file} {name}", count)
    try:
        expected.enforce(max_bad)
    except TooManyRejectsError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Problem(what, remedy, error=error)


def _users(plan: BuildPlan) -> Iterator[Problem]:
    facts = plan.events.facts
    counts = facts.events_of_user
    once = int((counts == 1).sum())
    if once > _MOSTLY * facts.users:
        yield Problem(
            f"{plan.spec.interactions.file}: {once:,} of {facts.users:,} users have one event",
            "a history cannot predict anything for them; is `interactions.user` the user, and not the session or order?",
            fatal=False,
        )
    present = [plan.events.user_ids[user] for user in np.flatnonzero(counts)] if plan.users is not None else []
    if plan.users is not None and not set(plan.users.ids) & set(present):
        yield Problem(
            f"{plan.users.table.name}: no user of the log is in it (it has {plan.users.ids[0]!r}, the log "
            f"{present[0]!r})",
            "name the columns of the same ids in the spec, or leave `users` out",
            fatal=False,
        )
    train, *held_out = facts.user_events > 0
    for name, users in zip(SPLITS[1:], held_out, strict=True):
        unseen = int((users & ~train).sum())
        if unseen > _MOSTLY * max(users.sum(), 1):
            yield Problem(
                f"{plan.spec.interactions.file}: {unseen:,} of {users.sum():,} users of the {name} split have no "
                "training event",
                "the model knows nothing of them before; a split {by: leave_last} measures known users",
                fatal=False,
            )


def _items(plan: BuildPlan) -> Iterator[Problem]:
    total, trained = len(plan.items.ids), int((plan.events.facts.train_events > 0).sum())
    if total - trained > _MOSTLY * total:
        yield Problem(
            f"{plan.items.table.name}: {total - trained:,} of {total:,} items have no training event",
            "they are ranked by content alone; is that the whole log?",
            fatal=False,
        )
