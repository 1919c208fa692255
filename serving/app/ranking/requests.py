"""Request, settings and model client of the ranking engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.app.ranking.profile import EventScale
from serving.client.queries import Recommendation, Scored
from serving.wire.metadata import Metadata


class RecommendClient(Protocol):
    """The calls of a model client that the engine needs; `serving.client.aio.AsyncClient` has them."""

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
class RankingSettings:
    """Settings of the engine; all but `scale` are those of the configuration section `app`.

    Attributes:
      scale: converts events to model inputs and to preference strengths.
      languages: grammars of the conditions in queries (`language.languages.load_grammar`), the likeliest first.
      short_term: number of history items that are sent to the model.
      taste_rate: learning rate of the long-term taste.
      taste_weight, unwanted_weight: logits per unit of cosine with the taste, and with the nearest unwanted item.
      least_cosine: reasons that state a cosine are left out below it.
      pool: candidates per list item that are reranked.
      max_k: largest list.
      max_excluded: the most ids that are sent as exclusions; beyond it more results are requested and filtered here.
      max_results: the most results requested from the model.
      picker_candidates, picker_demand: see `taste_picker.pick_items`.
      rating_words: the most categories in the words that ratings are put into.
      shown_events, shown_categories: the most events in a profile, and categories in `/about`.
      examples: example queries of the page.
    """

    scale: EventScale
    languages: tuple[str, ...]
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
class ListRequest:
    """One request for a list; API.md describes the parameters of `/recommend`.

    Attributes:
      k: length of the list.
      turns: the query, oldest turn first.
      dropped: keys of conditions that the user removed.
      categories, media: filters.
      without: ids of items to leave out.
      diversity: 0 to 1.
      hide_seen: leave out items that the user has events with.
      rating_words: add the categories that the user rates highly to the text query.
      context: values of context inputs of the model.
      search: rank by the query alone.
    """

    k: int
    turns: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    diversity: float = 0.0
    hide_seen: bool = True
    rating_words: bool = False
    context: Mapping[str, str] | None = None
    search: bool = False
