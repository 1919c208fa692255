"""The one shape in which evaluation hands requests to whatever scores them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Queries", "Scorer"]


@dataclass(frozen=True)
class Queries:
    """Q requests, each with the past it may use and the items that count as hits.

    Items are positions in the catalogue, 0 to N - 1.

    Attributes:
      user_ids: str [Q].
      times: int64 [Q], unix seconds, the moment of the request; 0 where unknown.
      histories: Q arrays int32, oldest event first: everything the user did before the request. It is also what is
        never recommended again, so a target that sits in its own history cannot be hit.
      targets: Q arrays int32: one item where events have an order, the user's held-out set where they have none.
      rows: int64 [Q], which request each one is in the set it was taken from: a scorer that knows more of the requests
        than stands here finds it by this.
    """

    user_ids: NDArray[np.str_]
    times: NDArray[np.int64]
    histories: list[NDArray[np.int32]]
    targets: list[NDArray[np.int32]]
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        sizes = {len(self.user_ids), len(self.times), len(self.histories), len(self.targets), len(self.rows)}
        if len(sizes) != 1:
            raise ValueError(f"user_ids, times, histories, targets and rows differ in length: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, indices: ArrayLike) -> Queries:
        """The queries at those positions (int) or under that mask (bool [Q]), in the order given."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return Queries(
            user_ids=self.user_ids[chosen],
            times=self.times[chosen],
            histories=[self.histories[index] for index in chosen],
            targets=[self.targets[index] for index in chosen],
            rows=self.rows[chosen],
        )

    def slice(self, start: int, stop: int) -> Queries:
        """The queries start to stop - 1, without copying their arrays."""
        part = slice(start, stop)
        return Queries(self.user_ids[part], self.times[part], self.histories[part], self.targets[part], self.rows[part])


Scorer = Callable[[Queries], NDArray[np.float32]]
"""Scores the whole catalogue for each query: q queries -> float32 [q, N], higher is better, -inf is never recommended.

It is called on slices, so that no Q x N matrix ever exists, and must score a query alike whatever slice it comes in.
"""
