"""The item-item model: linear neighbours, successors, random walks and popularity, completed for cold items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from pipelines.config import HybridConfig
from pipelines.item_item.cold_start import ColdStart
from pipelines.item_item.ease import EaseSettings
from pipelines.item_item.linear import LinearModel
from pipelines.item_item.neighbours import interaction_matrix, successor_similarities
from pipelines.item_item.random_walk import random_walk
from pipelines.item_item.sparse_top import Links, top_links
from tfrecs.reading.training_events import TrainingEvents
from towers.hybrid import NEIGHBOURS, RECENT, SUCCESSORS, WALK, HybridScore

__all__ = ["ItemItemModel", "training_matrix"]


@dataclass(frozen=True)
class ItemItemModel:
    """What training events say about N items; `hybrid_score` scores requests with it.

    Attributes:
      links: `NEIGHBOURS`, with `walk_hops` `WALK`, and where events have an order `SUCCESSORS` -> of each item those it
        speaks for.
      popularity: float32 [N], log(1 + number of training events, or sum of their weights).
      is_cold: bool [N], items without a training event.
      last: part of the score -> how many of the newest events of a history it takes; `RECENT` is `NEIGHBOURS` of fewer.
    """

    links: Mapping[str, Links]
    popularity: np.ndarray
    is_cold: np.ndarray
    last: Mapping[str, int]

    @classmethod
    def fit(
        cls,
        events: TrainingEvents,
        num_items: int,
        settings: HybridConfig,
        ease: EaseSettings,
        content_similarity: np.ndarray | None = None,
        features: Mapping[str, sp.csr_matrix] | None = None,
        *,
        history: int,
        ordered: bool,
        linear: Links | None = None,
    ) -> ItemItemModel:
        """Fit the model to training events.

        Args:
          events: of training.
          num_items: N, of the catalogue.
          settings: section `hybrid`.
          ease, content_similarity: see `LinearModel`.
          features: plain content, see `random_walk`; None: there is none.
          history: how many events of a history the towers take.
          ordered: whether the events of a user have an order; without one there are no successors and no recent events.
          linear: what `LinearModel.links` gave for the same events and settings; None: fit it.
        """
        train = training_matrix(events, num_items)
        if linear is None:
            linear = LinearModel(train, settings, content_similarity).links(ease)
        links = {NEIGHBOURS: linear}
        last = {NEIGHBOURS: history}
        if settings.walk_hops:
            links[WALK], last[WALK] = random_walk(train, features or {}, settings), history
        if ordered:
            successors = successor_similarities(
                events.users,
                events.items,
                num_items,
                events.weights,
                window=settings.window,
                shrinkage=settings.shrinkage,
                neighbours=settings.kept_links(num_items),
            )
            links[SUCCESSORS] = top_links(successors, settings.kept_links(num_items))
            last |= {RECENT: min(settings.recent, history), SUCCESSORS: min(settings.last_successors, history)}
        counts = np.bincount(events.items, events.weights, minlength=num_items)
        return cls(links, np.log1p(counts).astype(np.float32), counts == 0, last)

    def for_catalogue(
        self, trained: np.ndarray, cold_start: ColdStart, cold_links: int, rows: np.ndarray | None = None
    ) -> ItemItemModel:
        """Return the model of another catalogue, or of the same one with its cold items completed.

        The neighbours and successors of a cold item, and how much others lead to it, are predicted from those of the
        warm items; so is by how much its popularity differs from the mean.

        Args:
          trained: int64 [N], position of each item in the catalogue of this model, -1 for none.
          cold_start: of the other catalogue.
          cold_links: how many links of each item may lead to cold items, beside those that lead to warm ones.
          rows: int64 [R], ascending, the items whose links are asked for: the tables are [R, K] then, row r that of item
            `rows[r]`. None: all.
        """
        warm, cold, coefficients = cold_start.warm, cold_start.cold, cold_start.coefficients
        if not len(cold) and np.array_equal(trained, np.arange(len(self.popularity))):
            if rows is None:
                return self
            return replace(
                self, links={name: Links(*(table[rows] for table in own)) for name, own in self.links.items()}
            )
        before, after = len(self.popularity), len(trained)
        select = sp.csr_matrix(
            (np.ones(len(warm), np.float32), (np.arange(len(warm)), trained[warm])), (len(warm), before)
        )
        warm_popularity = select @ self.popularity
        mean = warm_popularity.mean() if len(warm) else 0.0
        popularity = np.zeros(after, np.float32)
        popularity[warm], popularity[cold] = warm_popularity, mean + coefficients @ (warm_popularity - mean)
        of_warm, of_cold = (np.arange(len(kind)) if rows is None else np.isin(kind, rows) for kind in (warm, cold))
        asked = np.arange(after) if rows is None else rows
        places = np.searchsorted(asked, warm[of_warm]), np.searchsorted(asked, cold[of_cold])
        links = {}
        for name, own in self.links.items():
            warm_to_warm = select @ own.to_csr(before) @ select.T
            sources = warm_to_warm[of_warm], coefficients[of_cold] @ warm_to_warm
            links[name] = _links_to(warm, sources, places, own.columns.shape[1])
            if len(cold):
                k = min(cold_links, len(cold))
                to_cold = _links_to(cold, [source @ coefficients.T for source in sources], places, k)
                links[name] = Links(*(np.concatenate(pair, axis=1) for pair in zip(links[name], to_cold, strict=True)))
        return replace(self, links=links, popularity=popularity, is_cold=np.isin(np.arange(after), cold))

    def padded(self, rows: int) -> ItemItemModel:
        """Return the model with items behind the others, up to `rows`, about which nothing is known."""
        missing = rows - len(self.popularity)
        links = {
            name: Links(*(np.pad(array, [[0, missing], [0, 0]]) for array in own)) for name, own in self.links.items()
        }
        return replace(
            self,
            links=links,
            popularity=np.pad(self.popularity, [0, missing]),
            is_cold=np.pad(self.is_cold, [0, missing]),
        )

    def hybrid_score(
        self, weights: Mapping[str, float], cold_weights: Mapping[str, float], softness: Mapping[str, float]
    ) -> HybridScore:
        """Return the TensorFlow module that scores with this model; see there for the arguments."""
        return HybridScore(self.links, self.last, self.popularity, self.is_cold, weights, cold_weights, softness)


def training_matrix(events: TrainingEvents, num_items: int) -> sp.csr_matrix:
    """Return float32 csr [users, N]: 1 for the items that a user took in training, however often.

    With weights their sum, however often no more than the largest weight of any event.
    """
    count = len(events.user_ids)
    train = interaction_matrix(events.users, events.items, events.weights, num_users=count, num_items=num_items)
    most = 1.0 if events.weights is None else events.weights.max(initial=0.0)
    np.minimum(train.data, most, out=train.data)
    return train


def _links_to(columns: np.ndarray, sources: Sequence[Any], places: Sequence[np.ndarray], k: int) -> Links:
    """The `k` largest links to the items `columns`: matrices [R_i, columns], whose rows come to the places int64 [R_i]."""
    count = sum(map(len, places))
    result = Links(np.zeros((count, k), np.int32), np.zeros((count, k), np.float32))
    for rows, matrix in zip(places, sources, strict=True):
        if len(rows) and len(columns):
            links = top_links(sp.csr_matrix(matrix), k)
            result.columns[rows], result.values[rows] = columns[links.columns], links.values
    return result
