"""Candidates: the items that the model retrieves among those that are allowed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.ranking.profile import ProfileHistory
from serving.app.ranking.requests import RankingSettings, RecommendClient
from serving.client.queries import Scored
from serving.wire.errors import FailedPreconditionError, InvalidRequestError


@dataclass(frozen=True)
class Candidates:
    """n items of the catalogue with the predictions of the model.

    Attributes:
      rows: int64 [n], rows of the catalogue.
      scores: float64 [n], the model's logits.
      labels: n mappings of label -> prediction.
      because: n item ids, the history item nearest to each candidate; "" if there is none.
    """

    rows: np.ndarray
    scores: np.ndarray
    labels: list[Mapping[str, float]]
    because: list[str]

    def take(self, positions: np.ndarray) -> Candidates:
        """Return the candidates at these positions, int [m]."""
        return Candidates(
            self.rows[positions],
            self.scores[positions],
            [self.labels[position] for position in positions],
            [self.because[position] for position in positions],
        )


async def retrieve_candidates(
    client: RecommendClient,
    catalogue: AppCatalogue,
    settings: RankingSettings,
    history: ProfileHistory,
    query: str,
    allowed: np.ndarray,
    count: int,
    context: Mapping[str, Any],
) -> Candidates:
    """Retrieve the best allowed items for a history and a text query.

    Items that are not allowed are sent to the model as exclusions if they are few. If they are many, results are
    filtered here and twice as many requested until there are enough or `settings.max_results` is reached. The model
    never returns items of the history; those that are allowed are ranked in a second call.

    Args:
      client: calls the model.
      catalogue: N items.
      settings: limits of a request.
      history: the newest events of the user.
      query: text query, "" for none.
      allowed: bool [N].
      count: the most candidates.
      context: context inputs of the model.

    Returns:
      At most `count` candidates, best first.
    """
    user = _user_inputs(history, query)
    history_ids = set(history.ids)
    excluded = [catalogue.ids[row] for row in np.flatnonzero(~allowed) if catalogue.ids[row] not in history_ids]
    limit = min(len(catalogue), settings.max_results)
    if len(excluded) <= settings.max_excluded:
        results: Sequence[Scored] = []
        if len(excluded) < len(catalogue):
            results = await client.recommend(k=min(count, limit), exclude_ids=excluded, **user, **context)
        candidates = _to_candidates(catalogue, results, allowed)
    else:
        k = min(2 * count, limit)
        while True:
            results = await client.recommend(k=k, **user, **context)
            candidates = _to_candidates(catalogue, results, allowed)
            if len(candidates.rows) >= count or k >= limit or len(results) < k:
                break
            k = min(2 * k, limit)
    seen = [item for item in history.ids if item in catalogue.position and allowed[catalogue.position[item]]]
    if seen:
        ranked = await rank_items(client, catalogue, history, query, seen, context)
        candidates = Candidates(
            np.concatenate([candidates.rows, ranked.rows]),
            np.concatenate([candidates.scores, ranked.scores]),
            [*candidates.labels, *ranked.labels],
            [*candidates.because, *ranked.because],
        )
    return candidates.take(np.argsort(-candidates.scores, kind="stable")[:count])


async def rank_items(
    client: RecommendClient,
    catalogue: AppCatalogue,
    history: ProfileHistory,
    query: str,
    items: Sequence[str],
    context: Mapping[str, Any],
) -> Candidates:
    """Let the model score given items of the catalogue for a history and a text query; arguments as above."""
    results = await client.rank(items, **_user_inputs(history, query), **context)
    ranked = _to_candidates(catalogue, results, np.ones(len(catalogue), bool))
    return replace(ranked, because=[_nearest_other(catalogue, row, history.ids) for row in ranked.rows])


async def search_candidates(
    client: RecommendClient,
    catalogue: AppCatalogue,
    settings: RankingSettings,
    query: str,
    allowed: np.ndarray,
    count: int,
) -> Candidates:
    """Retrieve the best allowed items for a text query alone.

    Raises:
      InvalidRequestError: the model takes no text queries.
    """
    if not allowed.any():
        return _to_candidates(catalogue, [], allowed)
    k = min(count + int((~allowed).sum()), len(catalogue), settings.max_results)
    try:
        candidates = _to_candidates(catalogue, await client.search(query, k=k), allowed)
    except FailedPreconditionError as error:
        raise InvalidRequestError(f"turn: this model takes no text queries ({error})") from error
    return candidates.take(np.arange(min(count, len(candidates.rows))))


def _user_inputs(history: ProfileHistory, query: str) -> dict[str, Any]:
    return {
        "history_ids": history.ids,
        "history_values": history.values,
        "history_times": history.times,
        "now": int(time.time()),
        "query": query,
    }


def _to_candidates(catalogue: AppCatalogue, results: Sequence[Scored], allowed: np.ndarray) -> Candidates:
    """Drop items that are not allowed, and those of another model version that the catalogue does not have."""
    rows = [catalogue.position.get(result.id, -1) for result in results]
    kept = [(row, result) for row, result in zip(rows, results, strict=True) if row >= 0 and allowed[row]]
    return Candidates(
        np.array([row for row, _ in kept], np.int64),
        np.array([result.score for _, result in kept], np.float64),
        [result.labels for _, result in kept],
        [getattr(result, "because_id", "") for _, result in kept],
    )


def _nearest_other(catalogue: AppCatalogue, row: int, history: Sequence[str]) -> str:
    """Return the history item nearest to an item, as `because_ids` of the model, but never the item itself."""
    others = [catalogue.position[item] for item in history if catalogue.position.get(item, row) != row]
    if not others:
        return ""
    return catalogue.ids[others[int(np.argmax(catalogue.embeddings[others] @ catalogue.embeddings[row]))]]
