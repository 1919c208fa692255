"""What is counted of the events while they pass by: all that manifest, schema and checks say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrecs.build.splits import TRAIN
from tfrecs.build.windows import count_windows
from tfrecs.events.spool import Columns, row_count, taken
from tfrecs.schema import SPLITS, ContextSchema
from tfrecs.spec.models import InteractionsSpec

_TIME_VOCABULARY = {"hour": tuple(map(str, range(24))), "weekday": tuple(map(str, range(7)))}


@dataclass
class Moments:
    """Number, sum, variance and bounds of the values that are not NaN, part by part."""

    count: int = 0
    total: float = 0.0
    variance: float = 0.0
    low: float = np.inf
    high: float = -np.inf

    @property
    def mean(self) -> float:
        """The mean; 0 without values."""
        return self.total / max(self.count, 1)

    def add(self, values: np.ndarray) -> None:
        """Take more values."""
        known = values[~np.isnan(values)]
        if not len(known):
            return
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        count, variance, apart = len(known), float(known.var()), float(known.mean()) - self.mean
        before, both = self.count, self.count + len(known)
        self.count, self.total = both, self.total + float(known.sum())
        if before:  # Chan, Golub and LeVeque, 1979.
            variance = (before * self.variance + count * variance + apart**2 * before * count / both) / both
        self.variance = variance

    def scale(self) -> tuple[float, float]:
        """Return mean and standard deviation; (0, 1) if there are no values, and 1 for a constant."""
        std = float(np.sqrt(self.variance))
        return self.mean, std if std > 0 else 1.0


@dataclass
class SplitFacts:
    """Counts of one split; times are those of its events.

    Attributes:
      events, users, examples: numbers of events, users with any, and windows.
      queries: events with a text query.
      negatives: events with a weight below 0.
      targets: events that are positives, and in a held-out split of weighted events weigh enough to be measured.
      first_time, last_time: unix seconds, None without events or times.
      labels: label -> its known values.
    """

    events: int = 0
    users: int = 0
    examples: int = 0
    queries: int = 0
    negatives: int = 0
    targets: int = 0
    first_time: int | None = None
    last_time: int | None = None
    labels: dict[str, Moments] = field(default_factory=dict)


class EventFacts:
    """Counts of all events, taken bucket by bucket.

    Args:
      source: of the events.
      users, items: number of users and items.
      categories: context column -> number of its texts, where it has categories.
      window, overlap: of the windows.

    Attributes:
      splits: split name -> its counts.
      user_events: int64 [3, users], events of each user by split.
      train_events, train_positives, all_events: int64 [items].
      values: of the training events.
      context: column -> numbers, or counts of categories, of the training events.
    """

    def __init__(
        self,
        source: InteractionsSpec,
        users: int,
        items: int,
        categories: Mapping[str, int],
        *,
        window: int,
        overlap: int,
    ):
        self._source, self._window, self._overlap = source, window, overlap
        self.splits = {name: SplitFacts(labels={label: Moments() for label in source.labels}) for name in SPLITS}
        self.user_events = np.zeros((len(SPLITS), users), np.int64)
        self.train_events, self.train_positives, self.all_events = (np.zeros(items, np.int64) for _ in range(3))
        self.values = Moments()
        self.context: dict[str, Moments | np.ndarray] = {
            name: np.zeros(categories[name], np.int64) if name in categories else Moments()
            for name in source.context
            if not source.from_time(name)
        }

    def add(self, columns: Columns) -> None:
        """Take the sorted events of some users, with their splits."""
        self.all_events += np.bincount(columns["item"], minlength=len(self.all_events))
        first, last = int(columns["user"][0]), int(columns["user"][-1])
        for code, name in enumerate(SPLITS):
            part, facts = taken(columns, columns["split"] == code), self.splits[name]
            counts = np.bincount(part["user"] - first, minlength=last - first + 1)
            self.user_events[code, first : last + 1] += counts
            facts.users += int((counts > 0).sum())
            facts.examples += count_windows(
                columns["user"], columns["split"], code, window=self._window, overlap=self._overlap
            )
            self._add_split(facts, part, code)
            if code == TRAIN:
                self._add_train(part)

    def _add_split(self, facts: SplitFacts, part: Columns, code: int) -> None:
        weight, count = self._source.weight, row_count(part)
        facts.events += count
        if "query" in part:
            facts.queries += int((part["query"] != "").sum())
        targets = part.get("positive", np.ones(count, bool))
        if weight is not None:
            facts.negatives += int((part["value"] < 0).sum())
            if code != TRAIN:
                targets = targets & (part["value"] >= weight.held_out_at_least)
        facts.targets += int(targets.sum())
        if "time" in part and count:
            low, high = int(part["time"].min()), int(part["time"].max())
            facts.first_time = low if facts.first_time is None else min(facts.first_time, low)
            facts.last_time = high if facts.last_time is None else max(facts.last_time, high)
        for label, moments in facts.labels.items():
            moments.add(part[f"labels/{label}"])

    def _add_train(self, part: Columns) -> None:
        items, size = part["item"], len(self.train_events)
        self.train_events += np.bincount(items, minlength=size)
        self.train_positives += np.bincount(items[part["positive"]] if "positive" in part else items, minlength=size)
        self.values.add(part.get("value", np.ones(len(items))))
        for name, counts in self.context.items():
            values = part[f"context/{name}"]
            if isinstance(counts, Moments):
                counts.add(values)
            else:
                counts += np.bincount(values[values >= 0], minlength=len(counts))

    @property
    def events(self) -> int:
        """Number of all events."""
        return sum(split.events for split in self.splits.values())

    @property
    def events_of_user(self) -> np.ndarray:
        """Number of events of each user, int64 [users]; 0 for one whose events are all of cold items."""
        total: np.ndarray = self.user_events.sum(axis=0)
        return total

    @property
    def users(self) -> int:
        """Number of users with an event."""
        return int((self.events_of_user > 0).sum())

    def train_counts(self, item_ids: Sequence[str]) -> dict[str, int]:
        """Count the positive training events of each item that has any, whatever their weights; ids ascending."""
        return dict(
            sorted((item_ids[at], int(self.train_positives[at])) for at in np.flatnonzero(self.train_positives))
        )

    def split_info(self, split: str) -> dict[str, Any]:
        """Return the fields of `SplitInfo` other than its shards."""
        facts = self.splits[split]
        names = ("examples", "events", "users", "queries", "negatives", "first_time", "last_time")
        return {name: getattr(facts, name) for name in names}

    def context_schemas(self, texts: Mapping[str, Sequence[str]]) -> tuple[ContextSchema, ...]:
        """Return the context of a request, with vocabularies and scales from the training events alone.

        Args:
          texts: context column -> its texts, where it has categories.
        """
        return tuple(self._context_schema(name, texts) for name in self._source.context)

    def _context_schema(self, name: str, texts: Mapping[str, Sequence[str]]) -> ContextSchema:
        if self._source.from_time(name):
            return ContextSchema(name=name, kind="categories", source="time", vocabulary=_TIME_VOCABULARY[name])
        counts = self.context[name]
        if isinstance(counts, Moments):
            mean, std = counts.scale()
            return ContextSchema(name=name, kind="number", source="column", mean=mean, std=std)
        ordered = sorted(np.flatnonzero(counts).tolist(), key=lambda at: (-counts[at], texts[name][at]))
        return ContextSchema(
            name=name, kind="categories", source="column", vocabulary=tuple(texts[name][at] for at in ordered)
        )
