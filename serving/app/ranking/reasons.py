"""Reasons for each list item, from the numbers of the model. Every reason states its number.

A reason is left out if its number does not support it: no nearby history item, no "close to"; no query word in the text
of the item, no word reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from serving.app.catalogue import AppCatalogue
from serving.app.language.query_parser import fold_words
from serving.app.ranking.candidates import Candidates
from serving.app.ranking.profile import seen_items
from serving.app.ranking.requests import RankingSettings
from serving.app.ranking.rules import ResolvedRule
from serving.app.schemas import ListItem, Reason
from serving.app.store.base import Event

_VERBS = {
    "like": "you liked",
    "rating": "you rated {value:g}",
    "click": "you chose",
    "view": "you looked at",
}


@dataclass(frozen=True)
class ReasonContext:
    """What the reasons of one list refer to.

    Attributes:
      catalogue, settings: those of the engine.
      events: of the user, oldest first.
      taste: long-term taste, float [D], if it took part in the ranking.
      query: the user's text query.
      personal: the list has a history or an item to go by, so that popularity is no reason.
      rules, day: business rules and the day they apply to.
    """

    catalogue: AppCatalogue
    settings: RankingSettings
    events: Sequence[Event]
    taste: np.ndarray | None
    query: str
    personal: bool
    rules: Sequence[ResolvedRule]
    day: date


def list_item(context: ReasonContext, candidates: Candidates, scores: np.ndarray, row: int) -> ListItem:
    """Describe one item of a list.

    Args:
      context: of the list.
      candidates: those of the model; an item that is not among them was pinned by a rule.
      scores: float [n], reranked scores of the candidates.
      row: of the catalogue.
    """
    catalogue = context.catalogue
    positions = np.flatnonzero(candidates.rows == row)
    position = int(positions[0]) if len(positions) else None
    labels = {} if position is None else candidates.labels[position]
    return ListItem(
        **catalogue.card(catalogue.ids[row]),
        score=None if position is None else _finite(float(scores[position])),
        labels={name: _finite(value) for name, value in labels.items()},
        modality_weights=catalogue.modality_weights(row),
        reasons=_reasons(context, row, "" if position is None else candidates.because[position]),
        rules=[
            resolved.rule.name
            for resolved in context.rules
            if resolved.rows[row] and resolved.rule.action != "block" and resolved.rule.active_on(context.day)
        ],
        seen=catalogue.ids[row] in seen_items(context.events),
    )


def _reasons(context: ReasonContext, row: int, because: str) -> list[Reason]:
    catalogue, least_cosine = context.catalogue, context.settings.least_cosine
    reasons: list[Reason | None] = []
    event = _explaining_event(context.events, because) if because in catalogue.position else None
    if event is not None:
        cosine = catalogue.cosine(row, catalogue.position[because])
        title = catalogue.title(because)
        reasons.append(history_reason(because, title, cosine, least_cosine, event.kind, event.value))
    if context.query:
        words = fold_words(context.query)
        items_with = {word: len(catalogue.rows_by_word[word]) for word in set(words) if word in catalogue.rows_by_word}
        reasons += word_reasons(words, catalogue.word_counts(row), items_with, len(catalogue))
    if context.taste is not None:
        reasons.append(taste_reason(float(catalogue.embeddings[row] @ context.taste), least_cosine))
    reasons.append(modality_reason(catalogue.modality_weights(row)))
    if not context.personal and not context.query:
        reasons.append(popularity_reason(int(catalogue.facts.counts[row])))
    return [reason for reason in reasons if reason is not None]


def _explaining_event(events: Sequence[Event], item: str) -> Event | None:
    """Return the user's newest event with an item, a like or rating before other kinds."""
    of_item = [event for event in events if event.item == item]
    verdicts = [event for event in of_item if event.kind in ("like", "rating")]
    return next(reversed(verdicts or of_item), None)


def history_reason(
    item: str, title: str, cosine: float, least_cosine: float, kind: str, value: float | None
) -> Reason | None:
    """State the nearest item of the user's history, if it is near.

    Args:
      item, title: the history item (`because_ids` of the model).
      cosine: of the embeddings of the two items.
      least_cosine: below it there is no reason.
      kind, value: of the user's newest event with the history item.
    """
    if cosine < least_cosine or kind not in _VERBS or (kind == "rating" and value is None):
        return None
    did = _VERBS[kind].format(value=value)
    text = _history_text(title, did, cosine)
    return Reason(kind="history", text=text, value=cosine, item=item, title=title, did=did)


def modality_reason(weights: Mapping[str, float]) -> Reason | None:
    """State the modality with the largest weight, if the item has several. `weights`: modality -> weight."""
    present = {name: weight for name, weight in weights.items() if weight > 0}
    if len(present) < 2:
        return None
    name = max(present, key=lambda modality: (present[modality], modality))
    return Reason(kind="modality", text=f"Mostly its {name} ({present[name]:.0%})", value=present[name], name=name)


def word_reasons(
    query: Sequence[str], counts: Mapping[str, int], items_with: Mapping[str, int], total: int
) -> list[Reason]:
    """State the query words in the text of the item, the rarest in the catalogue first.

    Args:
      query: folded words of the query.
      counts: word -> its number of occurrences in the text of the item.
      items_with: word -> number of items whose text contains it.
      total: items in the catalogue; words that more than half of them contain are left out.
    """
    matches = [word for word in dict.fromkeys(query) if counts.get(word) and 2 * items_with.get(word, 0) <= total]
    matches.sort(key=lambda word: (items_with[word], word))
    reasons = []
    for word in matches:
        times = "once" if counts[word] == 1 else f"{counts[word]} times"
        text = f"Its text has “{word}” {times} ({items_with[word]:,} of {total:,} items have it)"
        reasons.append(Reason(kind="word", text=text, value=float(counts[word]), name=word))
    return reasons


def taste_reason(cosine: float, least_cosine: float) -> Reason | None:
    """State the cosine with the long-term taste, if the item is near it."""
    if cosine < least_cosine:
        return None
    return Reason(kind="taste", text=f"Near to your taste over time (cosine {cosine:.2f})", value=cosine)


def popularity_reason(events: int) -> Reason | None:
    """State the number of training events, for lists without a history."""
    if events <= 0:
        return None
    return Reason(kind="popular", text=f"{events:,} events of others in the training data", value=float(events))


def similarity_reason(item: str, title: str, cosine: float) -> Reason:
    """State the cosine with an item, which orders the list of `/similar`."""
    return Reason(kind="similar", text=_similar_text(title, cosine), value=cosine, item=item, title=title)


def text_without_title(reason: Reason) -> str:
    """Return the sentence of a reason with the id of the item that it mentions in place of the title."""
    if reason.kind == "history":
        return _history_text(f"item {reason.item}", str(reason.did), reason.value)
    return _similar_text(f"item {reason.item}", reason.value) if reason.kind == "similar" else reason.text


def _history_text(name: str, did: str, cosine: float) -> str:
    return f"Close to {name}, which {did} (cosine {cosine:.2f})"


def _similar_text(name: str, cosine: float) -> str:
    return f"Cosine with {name}: {cosine:.2f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
