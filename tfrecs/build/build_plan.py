"""Plan of a build: everything that the tables alone decide, before a media file is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfrecs.build.events import SplitEvents, arrange, example_columns
from tfrecs.build.feature_table import Entities, logged_items, media_path, read_entities
from tfrecs.build.interactions import clean_events, context_schemas, interaction_columns, label_schemas, mean_and_std
from tfrecs.build.windows import Window, plan_windows
from tfrecs.rejects import Rejects
from tfrecs.schema import Schema
from tfrecs.spec.models import DatasetSpec
from tfrecs.tables.table import read_table


@dataclass(frozen=True)
class BuildPlan:
    """Everything that is known before the first record is written.

    Attributes:
      spec: what is where in the data folder.
      items: in the order of their table.
      users: those that have features, None where the data set has none.
      events: clean, sorted and split.
      windows: split -> its user windows.
      schema: of the records.
      oracle: the true preferences of generated data, or None.
      rejects: rows and values of the tables that cannot be used; encoding adds to them.
    """

    spec: DatasetSpec
    items: Entities
    users: Entities | None
    events: SplitEvents
    windows: Mapping[str, Sequence[Window]]
    schema: Schema
    oracle: Path | None
    rejects: Rejects

    @property
    def entities(self) -> list[Entities]:
        """Items, and users where they have features."""
        return [part for part in (self.items, self.users) if part is not None]

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Example key -> array over all events."""
        return example_columns(self.events.frame, self.schema)


def plan_build(
    spec: DatasetSpec,
    data: Path,
    *,
    seed: int,
    window: int,
    overlap: int,
    kind_options: Mapping[str, Mapping[str, Any]],
) -> BuildPlan:
    """Read the tables and plan the records. Arguments and errors as of `tfrecs.build.builder.build`."""
    rejects = Rejects()
    oracle = media_path(data, spec.oracle) if spec.oracle else None
    items = read_entities(data, "item", spec.items, spec.items.title, kind_options, rejects) if spec.items else None
    users = read_entities(data, "user", spec.users, None, kind_options, rejects) if spec.users else None
    log = spec.interactions
    table = read_table(data, log.file, interaction_columns(spec), rejects, log.encoding, log.quoting)
    if items is None:
        items = logged_items(table, log.item)
    events = arrange(clean_events(table, spec, items.ids, rejects, users.ids if users else ()), spec, items.ids, seed)
    planned = plan_windows(events.users, events.frame["split"].to_numpy(), window=window, overlap=overlap)
    return BuildPlan(spec, items, users, events, planned, _schema(spec, items, users, events), oracle, rejects)


def _schema(spec: DatasetSpec, items: Entities, users: Entities | None, events: SplitEvents) -> Schema:
    source = spec.interactions
    mean, std = mean_and_std(events.train["value"].to_numpy())
    return Schema(
        items=items.schemas,
        users=users.schemas if users else (),
        labels=label_schemas(source),
        context=context_schemas(events.train, source),
        value_mean=mean,
        value_std=std,
        has_time=source.time is not None,
        ordered=source.time is not None or source.order is not None,
        has_queries=source.query is not None,
        has_weights=source.weight is not None,
        held_out_at_least=source.weight.held_out_at_least if source.weight else 0.0,
    )
