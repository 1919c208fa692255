"""What the engine is asked, is set to and stands on, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving.app.ranking.profile import Scale
from serving.client.queries import Recommendation, Scored
from serving.wire.metadata import Metadata


class Asked(Protocol):
    """What the engine needs of a client: `serving.client.aio.AsyncClient` has it."""

    async def metadata(self, version: int | None = None) -> Metadata: ...

    async def recommend(
        self,
        *,
        k: int,
        history_ids: Sequence[str] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        exclude_ids: Sequence[str] = (),
        **context: Any,
    ) -> list[Recommendation]: ...

    async def rank(
        self,
        candidate_ids: Sequence[str],
        *,
        history_ids: Sequence[str] = (),
        history_values: Sequence[float] | None = None,
        history_times: Sequence[int] | None = None,
        now: int | None = None,
        query: str = "",
        **context: Any,
    ) -> list[Scored]: ...

    async def search(self, query: str, *, k: int) -> list[Scored]: ...

    async def similar(self, item_id: str, *, k: int) -> list[Scored]: ...


@dataclass(frozen=True)
class Settings:
    """Numbers of the engine.

    Attributes:
      scale: how events become numbers.
      short_term: items of the history that the model is sent.
      taste_rate: a of the long-term taste.
      taste_weight, unwanted_weight: logits for a cosine of 1 with the taste, with what less is wanted of.
      least_cosine: below which no reason speaks of nearness.
      pool: candidates that are ordered anew, as a multiple of k.
      max_k: largest k.
      max_excluded: ids that are sent to be left out; where there are more, more is asked for than is needed.
      max_results: the most that is ever asked of the model.
      picker_candidates, picker_demand: see `serving.app.ranking.picker.pick`.
      rating_words: words that verdicts are put into, at most.
      shown_events: events that a profile lists. shown_categories: that `/about` lists, the largest.
      examples: questions that the page suggests.
    """

    scale: Scale
    short_term: int
    taste_rate: float
    taste_weight: float
    unwanted_weight: float
    least_cosine: float
    pool: int
    max_k: int
    max_excluded: int
    max_results: int
    picker_candidates: int
    picker_demand: int
    rating_words: int
    shown_events: int
    shown_categories: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Ask:
    """One request for a list; see `/recommend` in API.md. `user` "": nobody; `search`: words alone."""

    user: str
    k: int
    turns: tuple[str, ...]
    dropped: tuple[str, ...]
    categories: tuple[str, ...]
    media: tuple[str, ...]
    without: tuple[str, ...]
    diversity: float
    hide_seen: bool
    rating_words: bool
    context: Mapping[str, str]
    search: bool


@dataclass(frozen=True)
class Found:
    """Candidates of the catalogue.

    Attributes:
      rows: int64 [n].
      scores: float64 [n], the model's.
      labels: label -> prediction, of each.
      because: item id of the history that speaks most for each; "" = none.
    """

    rows: np.ndarray
    scores: np.ndarray
    labels: list[Mapping[str, float]]
    because: list[str]

    def where(self, keep: np.ndarray) -> Found:
        """Those at positions or where true."""
        places = np.flatnonzero(keep) if keep.dtype == bool else keep
        return Found(
            self.rows[places],
            self.scores[places],
            [self.labels[place] for place in places],
            [self.because[place] for place in places],
        )
