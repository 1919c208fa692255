"""What is taken of late: the events of the validation split, which come after those of training, as counts of items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.model.session import Session
from pipelines.runs.progress import progress
from pipelines.scoring.requests import Queries
from tfrecs.reading.reader import Histories, UserHistory

__all__ = ["LateEvents", "late_events"]


@dataclass(frozen=True)
class LateEvents:
    """Which items were taken in the validation split; of a user each item once.

    Attributes:
      items: int32 [E], positions in the catalogue.
      times: int64 [E], ascending; 0 = unknown.
      num_items: N.
    """

    items: np.ndarray
    times: np.ndarray
    num_items: int

    @classmethod
    def of(cls, histories: Iterable[UserHistory], num_items: int) -> LateEvents:
        """Collect the held-out positives of the users of a split."""
        items, times = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for history in histories:
            late = np.flatnonzero(history.target & history.positive)
            different, first = np.unique(history.items[late], return_index=True)
            items.append(different.astype(np.int32))
            times.append(history.times[late[first]])
        order = np.argsort(np.concatenate(times), kind="stable")
        return cls(np.concatenate(items)[order], np.concatenate(times)[order], num_items)

    @property
    def counts(self) -> np.ndarray:
        """int64 [N]: users who took each item."""
        return np.bincount(self.items, minlength=self.num_items)

    def known_to(self, queries: Queries, items: np.ndarray, is_cold: np.ndarray) -> np.ndarray:
        """Return the part of the score that validation requests would have got, for the weights that are learned from them.

        The events before a request are counted; where times are unknown, all but its own. Were its own events or later
        ones counted as well, the part would be trusted more than a new request can trust it.

        Args:
          queries: Q requests of the validation split, the first target of each is the one that counts.
          items: int64 [C], positions in the catalogue.
          is_cold: bool [N], items that have no such part.

        Returns:
          float32 [Q, 1 + C], log(1 + count): of the first target, then of `items`.
        """
        result = np.zeros((len(queries), 1 + len(items)), np.float32)
        counts, done, total = np.zeros(self.num_items, np.int64), 0, self.counts
        for row in np.argsort(queries.times, kind="stable"):
            target, moment = queries.targets[row][0], queries.times[row]
            if moment > 0:
                before = int(np.searchsorted(self.times, moment))
                np.add.at(counts, self.items[done:before], 1)
                done = max(done, before)
                result[row, 0], result[row, 1:] = counts[target], counts[items]
            else:
                own = np.isin(items, queries.targets[row])
                result[row, 0], result[row, 1:] = total[target] - 1, total[items] - own
        cold = is_cold[[targets[0] for targets in queries.targets]] if len(queries) else np.zeros(0, bool)
        result *= ~np.concatenate([cold[:, None], np.broadcast_to(is_cold[items], (len(queries), len(items)))], axis=1)
        return np.log1p(np.maximum(result, 0.0))


def late_events(session: Session) -> LateEvents:
    """Read the validation split of a session."""
    with progress("events of late", "users") as advance:
        histories = Histories(session.records, session.manifest, "valid", session.catalogue.ids, advance)
        return LateEvents.of(histories, len(session.catalogue))
