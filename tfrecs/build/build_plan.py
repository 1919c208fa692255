"""Plan of a build: everything that the tables alone decide, before a media file is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfrecs.build.events import ToExamples
from tfrecs.build.feature_table import Entities, logged_items, media_path, read_entities
from tfrecs.build.interactions import label_schemas
from tfrecs.build.windows import Window, split_windows
from tfrecs.events.arranged import ArrangedEvents, arrange
from tfrecs.events.log import read_log
from tfrecs.events.spool import Scratch
from tfrecs.rejects import Rejects
from tfrecs.schema import SPLITS, Schema
from tfrecs.spec.models import DatasetSpec

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BuildPlan:
    """Everything that is known before the first record is written.

    Attributes:
      spec: what is where in the data folder.
      items: in the order of their table.
      users: those that have features, None where the data set has none.
      events: clean, sorted and split.
      schema: of the records.
      window, overlap: of the windows.
      oracle: the true preferences of generated data, or None.
      rejects: rows and values of the tables that cannot be used; encoding adds to them.
    """

    spec: DatasetSpec
    items: Entities
    users: Entities | None
    events: ArrangedEvents
    schema: Schema
    window: int
    overlap: int
    oracle: Path | None
    rejects: Rejects

    @property
    def entities(self) -> list[Entities]:
        """Items, and users where they have features."""
        return [part for part in (self.items, self.users) if part is not None]

    def examples(self, split: str) -> int:
        """Return the number of windows of a split."""
        return self.events.facts.splits[split].examples

    def windows(self, split: str) -> Iterator[tuple[Iterator[Window], Mapping[str, np.ndarray], None]]:
        """Yield the windows of a split, with the sorted events that they count in, users in the order of their ids."""
        for columns in self.events.buckets():
            planned = split_windows(
                columns["user"], columns["split"], SPLITS.index(split), window=self.window, overlap=self.overlap
            )
            yield planned, columns, None

    def to_examples(self) -> ToExamples:
        """Return what turns the columns of events into those of Examples."""
        return ToExamples(self.schema, self.events.item_ids, self.events.texts)


def plan_build(
    spec: DatasetSpec,
    data: Path,
    *,
    seed: int,
    window: int,
    overlap: int,
    kind_options: Mapping[str, Mapping[str, Any]],
    scratch: Scratch,
    report: Progress = lambda stage, done, total: None,
) -> BuildPlan:
    """Read the tables and plan the records. Arguments and errors as of `tfrecs.build.builder.build`."""
    rejects = Rejects()
    oracle = media_path(data, spec.oracle) if spec.oracle else None
    items = read_entities(data, "item", spec.items, spec.items.title, kind_options, rejects) if spec.items else None
    users = read_entities(data, "user", spec.users, None, kind_options, rejects) if spec.users else None

    if items is None:
        items = logged_items(data, spec.interactions, report=partial(report, "items of the log"))
    known_users = users.ids if users else ()
    log = read_log(data, spec, items.ids, known_users, rejects, scratch, report=partial(report, "read"))
    events = arrange(log, spec, scratch, seed=seed, window=window, overlap=overlap, report=report)
    return BuildPlan(spec, items, users, events, _schema(spec, items, users, events), window, overlap, oracle, rejects)


def _schema(spec: DatasetSpec, items: Entities, users: Entities | None, events: ArrangedEvents) -> Schema:
    source = spec.interactions
    mean, std = events.facts.values.scale()
    return Schema(
        items=items.schemas,
        users=users.schemas if users else (),
        labels=label_schemas(source),
        context=events.facts.context_schemas(events.texts),
        value_mean=mean,
        value_std=std,
        has_time=source.time is not None,
        ordered=source.time is not None or source.order is not None,
        has_queries=source.query is not None,
        has_weights=source.weight is not None,
        held_out_at_least=source.weight.held_out_at_least if source.weight else 0.0,
    )
