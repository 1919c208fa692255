"""What the model finds among the items that are allowed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.app.catalogue import Catalogue
from serving.app.ranking.asks import Asked, Found, Settings
from serving.app.ranking.profile import History
from serving.client.queries import Scored
from serving.wire.errors import FailedPreconditionError, InvalidRequestError


async def candidates(
    client: Asked,
    catalogue: Catalogue,
    settings: Settings,
    history: History,
    query: str,
    allowed: np.ndarray,
    want: int,
    context: Mapping[str, Any],
) -> Found:
    """The `want` best allowed items for a history, those of the history itself among them where they are allowed.

    Ids that are not allowed are sent to be left out, as long as they are few; where they are many, twice as much is
    asked for until there is enough, or `settings.max_results` is reached.
    """
    user: dict[str, Any] = {
        "history_ids": history.ids,
        "history_values": history.values,
        "history_times": history.times,
        "now": int(time.time()),
        "query": query,
    }
    own = set(history.ids)
    refused = [catalogue.ids[row] for row in np.flatnonzero(~allowed) if catalogue.ids[row] not in own]
    most = min(len(catalogue), settings.max_results)
    found: Sequence[Scored] = []
    if len(refused) <= settings.max_excluded:
        if len(refused) < len(catalogue):
            found = await client.recommend(k=min(want, most), exclude_ids=refused, **user, **context)
        result = _found(catalogue, found, allowed)
    else:
        k = min(2 * want, most)
        while True:
            found = await client.recommend(k=k, **user, **context)
            result = _found(catalogue, found, allowed)
            if len(result.rows) >= want or k >= most or len(found) < k:
                break
            k = min(2 * k, most)
    seen = [item for item in history.ids if item in catalogue.position and allowed[catalogue.position[item]]]
    if seen:  # the model leaves out what the history has
        ranked = _found(catalogue, await client.rank(seen, **user, **context), allowed)
        because = [_nearest_other(catalogue, row, history.ids) for row in ranked.rows]
        result = Found(
            np.concatenate([result.rows, ranked.rows]),
            np.concatenate([result.scores, ranked.scores]),
            [*result.labels, *ranked.labels],
            [*result.because, *because],
        )
    best = np.argsort(-result.scores, kind="stable")[:want]
    return result.where(best)


async def searched(
    client: Asked, catalogue: Catalogue, settings: Settings, query: str, allowed: np.ndarray, want: int
) -> Found:
    """The `want` best allowed items for words alone. Raises InvalidRequestError where the model takes no text."""
    if not allowed.any():
        return _found(catalogue, [], allowed)
    k = min(want + int((~allowed).sum()), len(catalogue), settings.max_results)
    try:
        found = _found(catalogue, await client.search(query, k=k), allowed)
    except FailedPreconditionError as error:
        raise InvalidRequestError(f"turn: this model takes no words ({error})") from error
    return found.where(np.arange(min(want, len(found.rows))))


def _found(catalogue: Catalogue, items: Sequence[Scored], allowed: np.ndarray) -> Found:
    """Without what is not allowed, and what another version of the model has that this catalogue does not know."""
    rows = [catalogue.position.get(item.id, -1) for item in items]
    kept = [(row, item) for row, item in zip(rows, items, strict=True) if row >= 0 and allowed[row]]
    return Found(
        np.array([row for row, _ in kept], np.int64),
        np.array([item.score for _, item in kept], np.float64),
        [item.labels for _, item in kept],
        [getattr(item, "because_id", "") for _, item in kept],
    )


def _nearest_other(catalogue: Catalogue, row: int, history: Sequence[str]) -> str:
    """As the model chooses `because_ids`, but not the item itself."""
    others = [catalogue.position[item] for item in history if catalogue.position.get(item, row) != row]
    if not others:
        return ""
    return catalogue.ids[others[int(np.argmax(catalogue.vectors[others] @ catalogue.vectors[row]))]]
